package probe

import (
	"context"
	"sync"
	"time"

	"wanctl/internal/link"
)

// Once sends count echoes to each target, in use or not, and none to an IRTT server, at the fastest legal pace, waits for the replies, at most the timeout after
// the last echo, and returns those that came in time. Names are looked up first. No reply at all is no error: Stats
// says what happened. It takes the signals of Arrived for itself. It fails with [ErrClosed] or [ErrRunning], or when no echo could leave; the sockets are closed
// when it returns.
func (p *Pinger) Once(ctx context.Context, count int) ([]link.Reply, error) {
	ctx, end, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	p.resolveAll(ctx)
	hosts := len(p.o.Targets)
	before := p.sums()
	if count > 0 {
		pace(ctx, newGait(plan{hosts: everyone(hosts)}, time.Now()), count*hosts, nil, nil, p.probe)
	}
	timer := time.NewTimer(p.o.Timeout)
	defer timer.Stop()
	for done := false; !done; {
		now := p.sums()
		if now.received-before.received >= now.sent-before.sent {
			break
		}
		select {
		case <-p.arrived:
		case <-timer.C:
			done = true
		case <-ctx.Done():
			done = true
		}
	}
	if now := p.sums(); count > 0 && now.sent == before.sent {
		if now.err != nil {
			return nil, now.err
		}
		return nil, ctx.Err()
	}
	return p.Drain(nil), nil
}

// resolveAll looks up all names without an address at once and waits.
func (p *Pinger) resolveAll(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range p.targets {
		p.mu.Lock()
		known := p.targets[i].addr.IsValid()
		p.mu.Unlock()
		if !known {
			wg.Go(func() { _ = p.resolve(ctx, i) }) // kept in the target's account
		}
	}
	wg.Wait()
}

// sums adds up what Once waits for.
type sums struct {
	sent, received uint64
	err            error
}

func (p *Pinger) sums() (s sums) {
	for _, t := range p.Stats() {
		s.sent += t.Sent
		s.received += t.Received
		if s.err == nil {
			s.err = t.Err
		}
	}
	return s
}
