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
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
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

// session serves one SSH connection until it ends.
func (r *Router) session(ctx context.Context, g *gate) {
	_ = g.SetDeadline(time.Now().Add(loginGrace))
	conn, chans, reqs, err := ssh.NewServerConn(g, r.serverConfig(g))
	if err != nil {
		r.turnAway()
		return
	}
	_ = g.SetDeadline(time.Time{})
	r.loggedIn(g, conn.User())
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
func (r *Router) serverConfig(g *gate) *ssh.ServerConfig {
	refuse := errors.New("login failure")
	password := func(user string, given []byte) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		u := r.account(user)
		if u == nil || len(r.keys(user)) > 0 && !r.dialect.AllowPasswordWithKey || !r.admits(u, user, g, policySSH) || !u.knows(given) {
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
			if u := r.account(m.User()); u != nil && r.admits(u, m.User(), g, policySSH) {
				for _, k := range r.keys(m.User()) {
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
				answerRequest(req, false)
				continue
			}
			answerRequest(req, true)
			wg.Go(func() { ssh.DiscardRequests(reqs) })
			r.exec(ctx, g, user, ch, p.Line)
			ch.Close()
			return
		case "shell":
			answerRequest(req, true)
			_, _ = io.WriteString(ch.Stderr(), "the interactive console is not emulated: send one command line per exec request\r\n")
			exitStatus(ch, 1)
			wg.Go(func() { ssh.DiscardRequests(reqs) })
			ch.Close()
			return
		default: // pty-req, env, subsystem, signal: an exec request gets no terminal here
			answerRequest(req, false)
		}
	}
}

func answerRequest(req *ssh.Request, ok bool) {
	if req.WantReply {
		_ = req.Reply(ok, nil)
	}
}

func exitStatus(ch ssh.Channel, code uint32) {
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
}

// sshVoice answers one exec request.
type sshVoice struct {
	router *Router
	ch     ssh.Channel
}

func (v sshVoice) failure(text string) reply {
	return reply{log: text + "\n", wire: []byte(v.router.wire(text + "\n")), failed: true}
}

func (v sshVoice) send(b []byte) error {
	_, err := v.ch.Write(b)
	return err
}

func (v sshVoice) spoil(how Garble, _ reply) []byte {
	if how == GarbleHTML {
		return []byte(htmlPage)
	}
	return []byte("\x00\xff\x1b[2J\r\n")
}

// exec serves one command: faults, latency, the command itself, its reply.
func (r *Router) exec(ctx context.Context, g *gate, user string, ch ssh.Channel, line string) {
	a, sent := r.transact(ctx, g, user, line, sshVoice{r, ch}, func(ctx context.Context) reply {
		out, failed, wrote := r.execute(ctx, user, line)
		return reply{log: out, wire: []byte(r.wire(out)), failed: failed, wrote: wrote}
	})
	switch {
	case !sent || r.dialect.ExitStatus == ExitMissing:
	case r.dialect.ExitStatus == ExitReflect && a.failed:
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
