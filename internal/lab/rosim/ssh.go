package rosim

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/unit"
)

// loginGrace is how long a connection may take to log in.
const loginGrace = 2 * time.Minute

func newHostKey(kind string) (ssh.Signer, error) {
	switch kind {
	case "", "ed25519":
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("rosim: make an ed25519 host key: %w", err)
		}
		return ssh.NewSignerFromKey(k)
	case "rsa":
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, fmt.Errorf("rosim: make an RSA host key: %w", err)
		}
		return ssh.NewSignerFromKey(k)
	}
	return nil, fmt.Errorf("rosim: host key type %q (want ed25519 or rsa)", kind)
}

// gate is a connection that can be made silent: half-open, as after a lost route. A silent connection stays so.
type gate struct {
	net.Conn
	silent atomic.Bool
	cancel context.CancelFunc
}

func (g *gate) Read(b []byte) (int, error) {
	for {
		n, err := g.Conn.Read(b)
		if err != nil || !g.silent.Load() {
			return n, err
		}
	}
}

func (g *gate) Write(b []byte) (int, error) {
	if g.silent.Load() {
		return len(b), nil
	}
	return g.Conn.Write(b)
}

func (g *gate) Close() error {
	g.cancel()
	return g.Conn.Close()
}

// Serve answers SSH connections on ln until ctx ends, then closes every connection, waits for all its goroutines and
// returns nil. It returns an error only when it cannot listen any more. A router serves once.
func (r *Router) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	if r.serving {
		r.mu.Unlock()
		return errors.New("rosim: the router serves already")
	}
	r.serving, r.addr, r.life = true, ln.Addr(), ctx
	if r.fault.refused {
		_ = ln.Close()
	} else {
		r.listener = ln
	}
	r.mu.Unlock()
	close(r.ready)

	stop := context.AfterFunc(ctx, r.shut)
	defer stop()
	for _, f := range r.opt.Faults {
		r.wg.Go(func() {
			if r.sleep(ctx, f.After) == nil {
				_ = r.Inject(f.Fault)
			}
		})
	}
	err := r.accept(ctx)
	cancel()
	r.shut()
	r.wg.Wait()
	return err
}

// shut closes the listener and every connection for good.
func (r *Router) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.unlisten()
	r.disconnect()
	r.notify()
}

// unlisten closes the listener; the caller holds the lock.
func (r *Router) unlisten() {
	if r.listener != nil {
		_ = r.listener.Close()
		r.listener = nil
	}
}

// disconnect closes every connection; the caller holds the lock.
func (r *Router) disconnect() {
	for g := range r.conns {
		_ = g.Close()
	}
}

func (r *Router) accept(ctx context.Context) error {
	for {
		r.mu.Lock()
		ln, event := r.listener, r.changed
		r.mu.Unlock()
		if ln == nil {
			select {
			case <-event:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		c, err := ln.Accept()
		if err != nil {
			if r.listens(ln) {
				return fmt.Errorf("rosim: accept on %v: %w", r.Addr(), err)
			}
			continue // the listener was closed: by the end of ctx, or by a fault that may bring another
		}
		r.admit(ctx, c)
	}
}

func (r *Router) listens(ln net.Listener) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listener == ln && !r.closed
}

// admit takes a connection in, or closes it when the router is full or gone. How RouterOS turns away a connection
// above max-sessions is not published; here it is closed before the banner.
func (r *Router) admit(ctx context.Context, c net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	g := &gate{Conn: c, cancel: cancel}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.listener == nil || r.fault.full || len(r.conns) >= r.opt.MaxSessions {
		r.rejected++
		r.notify()
		_ = g.Close()
		return
	}
	g.silent.Store(r.fault.halfOpen)
	r.conns[g] = struct{}{}
	r.notify()
	r.wg.Go(func() {
		r.session(ctx, g)
		_ = g.Close()
		r.mu.Lock()
		delete(r.conns, g)
		r.notify()
		r.mu.Unlock()
	})
}

// session serves one connection until it ends.
func (r *Router) session(ctx context.Context, g *gate) {
	_ = g.SetDeadline(time.Now().Add(loginGrace))
	conn, chans, reqs, err := ssh.NewServerConn(g, r.serverConfig())
	if err != nil {
		r.mu.Lock()
		r.rejected++
		r.notify()
		r.mu.Unlock()
		return
	}
	_ = g.SetDeadline(time.Time{})
	r.mu.Lock()
	r.logins++
	r.notify()
	r.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { ssh.DiscardRequests(reqs) })
	open := make(chan struct{}, r.opt.MaxChannels)
	for nc := range chans {
		if nc.ChannelType() != "session" {
			_ = nc.Reject(ssh.UnknownChannelType, "only sessions are served")
			continue
		}
		select {
		case open <- struct{}{}:
		default:
			_ = nc.Reject(ssh.ResourceShortage, "too many channels")
			continue
		}
		ch, chReqs, err := nc.Accept()
		if err != nil {
			<-open
			continue
		}
		wg.Go(func() {
			r.channel(ctx, g, conn.User(), ch, chReqs)
			<-open
		})
	}
	g.cancel()
	wg.Wait()
}

// serverConfig is made for each connection, so that a changed host key or account counts from the next one on.
func (r *Router) serverConfig() *ssh.ServerConfig {
	refuse := errors.New("login failure")
	password := func(user string, given []byte) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		u := r.users[user]
		if u == nil || u.Locked || len(u.Keys) > 0 && !r.dialect.AllowPasswordWithKey {
			return refuse
		}
		if u.Open && len(given) == 0 {
			return nil
		}
		if u.Password == "" || subtle.ConstantTimeCompare([]byte(u.Password), given) != 1 {
			return refuse
		}
		return nil
	}
	c := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-ROSSSH",
		MaxAuthTries:  r.opt.MaxAuthTries,
		NoClientAuth:  true,
		NoClientAuthCallback: func(m ssh.ConnMetadata) (*ssh.Permissions, error) {
			return nil, password(m.User(), nil)
		},
		PasswordCallback: func(m ssh.ConnMetadata, pass []byte) (*ssh.Permissions, error) {
			return nil, password(m.User(), pass)
		},
		KeyboardInteractiveCallback: func(m ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil || len(answers) != 1 {
				return nil, refuse
			}
			return nil, password(m.User(), []byte(answers[0]))
		},
		PublicKeyCallback: func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if u := r.users[m.User()]; u != nil && !u.Locked {
				for _, k := range u.Keys {
					if subtle.ConstantTimeCompare(k.Marshal(), key.Marshal()) == 1 {
						return nil, nil
					}
				}
			}
			return nil, refuse
		},
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.hostKeys {
		c.AddHostKey(k)
	}
	return c
}

// channel serves one session channel: exactly one exec request, nothing else.
func (r *Router) channel(ctx context.Context, g *gate, user string, ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer ch.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	for req := range reqs {
		switch req.Type {
		case "exec":
			var p struct{ Line string }
			if ssh.Unmarshal(req.Payload, &p) != nil {
				reply(req, false)
				continue
			}
			reply(req, true)
			wg.Go(func() { ssh.DiscardRequests(reqs) })
			r.exec(ctx, g, user, ch, p.Line)
			ch.Close()
			return
		case "shell":
			reply(req, true)
			_, _ = io.WriteString(ch.Stderr(), "the interactive console is not emulated: send one command line per exec request\r\n")
			exitStatus(ch, 1)
			wg.Go(func() { ssh.DiscardRequests(reqs) })
			ch.Close()
			return
		default: // pty-req, env, subsystem, signal: an exec request gets no terminal here
			reply(req, false)
		}
	}
}

func reply(req *ssh.Request, ok bool) {
	if req.WantReply {
		_ = req.Reply(ok, nil)
	}
}

func exitStatus(ch ssh.Channel, code uint32) {
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
}

// arrive enters a request in the log and takes the faults that are meant for it.
func (r *Router) arrive(user, line string) (seq uint64, p plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.opt.Now()
	r.seq++
	r.inFlight++
	r.commands = trimmed(append(r.commands, Command{Seq: r.seq, At: now, User: user, Line: line, Outcome: OutcomePending}))
	p = r.fault.take()
	p.wait = r.fault.latency
	if r.fault.jitter > 0 {
		p.wait += time.Duration(r.random.Int64N(int64(r.fault.jitter) + 1))
	}
	p.wait += r.clamp(now)
	r.notify()
	return r.seq, p
}

// The slow-down of one measured virtual router: bursts beyond a certain number of commands cost 20 ms each until
// 5 s have passed without one.
const (
	clampDelay = 20 * time.Millisecond
	clampIdle  = 5 * time.Second
)

func (r *Router) clamp(now unit.Time) time.Duration {
	if r.opt.ClampAfter <= 0 {
		return 0
	}
	if now.Sub(r.burstLast) >= clampIdle {
		r.burst = 0
	}
	r.burstLast = now
	if r.burst++; r.burst > r.opt.ClampAfter {
		return clampDelay
	}
	return 0
}

// depart enters a request's end in the log.
func (r *Router) depart(seq uint64, out string, how Outcome, wrote bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight--
	if i := int64(len(r.commands)) - 1 - int64(r.seq-seq); i >= 0 {
		c := &r.commands[i]
		c.Reply, c.Outcome, c.Wrote = out, how, wrote
	}
	r.notify()
}

// exec serves one command: faults, latency, the command itself, its reply.
func (r *Router) exec(ctx context.Context, g *gate, user string, ch ssh.Channel, line string) {
	seq, p := r.arrive(user, line)
	if p.cut == CutBefore {
		_ = g.Close()
		r.depart(seq, "", OutcomeCutBefore, false)
		return
	}
	if r.awaitClear(ctx) != nil || r.sleep(ctx, p.wait) != nil || g.silent.Load() {
		r.depart(seq, "", OutcomeLost, false)
		return
	}
	var out string
	var failed, wrote bool
	how := OutcomeDone
	if p.text != "" {
		out, failed, how = p.text+"\n", true, OutcomeInjected
	} else {
		out, failed, wrote = r.execute(ctx, user, line)
		if failed {
			how = OutcomeFailed
		}
	}
	switch p.cut {
	case CutAfter:
		_ = g.Close()
		r.depart(seq, out, OutcomeCutAfter, wrote)
		return
	case CutReply:
		half := r.wire(out)
		_, _ = io.WriteString(ch, half[:len(half)/2])
		_ = g.Close()
		r.depart(seq, out, OutcomeCutReply, wrote)
		return
	case CutNone, CutBefore:
	}
	// The log is complete before the client can read the reply, so a test that has the reply has the entry.
	r.depart(seq, out, how, wrote)
	if _, err := io.WriteString(ch, r.wire(out)); err != nil {
		return
	}
	switch {
	case r.dialect.ExitStatus == ExitMissing:
	case r.dialect.ExitStatus == ExitReflect && failed:
		exitStatus(ch, 1)
	default:
		exitStatus(ch, 0)
	}
}

// wire gives the reply the line ends of the console.
func (r *Router) wire(out string) string {
	if r.dialect.LF {
		return out
	}
	return strings.ReplaceAll(out, "\n", "\r\n")
}
