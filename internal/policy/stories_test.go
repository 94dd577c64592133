package policy

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/flow"
	"wanctl/internal/lab/flows"
	"wanctl/internal/unit"
)

// backend is the kernel as the made-up stories see it.
type backend struct {
	*house
	opened []opened
}

type opened struct {
	packet flow.Packet
	line   int // as send numbers them
	sent   int64
}

func (b *backend) name(line int) (string, error) {
	switch {
	case line < 0:
		return "", errors.New("the packet does not leave")
	case line == 0:
		return "", nil
	}
	return b.opt.Lines[line-1].Name, nil
}

func (b *backend) number(name string) int {
	for i, l := range b.opt.Lines {
		if l.Name == name {
			return i + 1
		}
	}
	return 0
}

// Steer switches the kernel.
func (b *backend) Steer(alternate string) error { b.steer(alternate); return nil }

// Open passes a first packet. TCP's is answered, so that the connection stands.
func (b *backend) Open(_ int, k flow.Packet) (string, error) {
	line := 0
	switch {
	case k.In != "":
		line = b.number(k.In)
		b.receive(line, k, tcpSYN)
		line, _ = b.sendWith(flow.Packet{Protocol: k.Protocol, From: k.To, To: k.From}, tcpSYN|tcpACK, 0)
	default:
		line = b.send(k, 0)
		if line >= 0 && k.Protocol == flow.TCP && !k.Pickup {
			b.answer(line, k, tcpSYN|tcpACK)
		}
	}
	b.opened = append(b.opened, opened{packet: k, line: line})
	return b.name(line)
}

// More passes as many packets as it takes, at least a small one, and stays a little below what shall have been moved: the
// kernel counts headers and answers, too.
func (b *backend) More(n int, k flow.Packet, moved int64) (string, error) {
	const size, headers, spare = 1400, 44, 10_000
	c := &b.opened[n]
	more := k
	more.Pickup = true
	if k.In != "" {
		b.receive(b.number(k.In), k, tcpACK)
		more = flow.Packet{Protocol: k.Protocol, From: k.To, To: k.From, Pickup: true}
	}
	line := b.send(more, 0)
	for c.sent += headers; line == c.line && c.sent+size+spare < moved; c.sent += size + headers {
		line = b.send(more, size)
	}
	return b.name(line)
}

// Wait waits.
func (b *backend) Wait(d time.Duration) error { time.Sleep(d); return nil }

// TestMadeUpHousesOnTheKernel plays the stories that every backend is held to.
func TestMadeUpHousesOnTheKernel(t *testing.T) {
	if err := possible(); err != nil {
		t.Skip(err)
	}
	cases := 25
	if os.Getenv("WANCTL_LONG") != "" {
		cases = 300
	}
	houses := map[int]*house{}
	r := rapid.Custom(func(r *rapid.T) flows.Story {
		return flows.Draw(r, flows.Options{
			Waits: []time.Duration{time.Millisecond}, Idle: []time.Duration{0, time.Minute, flow.DefaultIdle}, NoHeavy: true,
		})
	})
	for seed := range cases {
		s := r.Example(seed)
		for i := range s.Steps {
			s.Steps[i].Packet = sensible(s.Steps[i].Packet)
		}
		n := len(s.Policy.Lines())
		h := houses[n]
		if h == nil {
			h = build(t, n, false)
			houses[n] = h
		}
		h.opt.Policy = s.Policy
		h.in(func() error { _, err := h.opt.Remove(); return errors.Join(err, forgetConnections()) })
		h.apply()
		if err := flows.Play(s, flow.NewHouse(s.Policy), &backend{house: h}, unit.Time(time.Hour)); err != nil {
			t.Fatalf("story %d: %v\n%s\n%s", seed, err, s, fmt.Sprint(h.opt.ruleset([]int{1, 2, 3}[:n])))
		}
	}
}
