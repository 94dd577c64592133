package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

const (
	// began is what a script prints to standard error before it does anything: only then is its input sent. What sudo reads
	// before that is a password.
	began = "wanctl-began"
	// asks is sudo's prompt.
	asks = "wanctl-asks"
	// maxOutput bounds what is kept of a script's output, in bytes.
	maxOutput = 1 << 20
)

// Script is what is run: text of POSIX sh, and its positional parameters. Neither may hold a secret.
type Script struct {
	// Op says what it does, for errors.
	Op   string
	Text string
	Args []string
	// Plain keeps sudo out of it.
	Plain bool
	// Stdin is sent once the script runs; Stdout takes what it prints, nil lets [Host.Run] return it.
	Stdin  io.Reader
	Stdout io.Writer
}

// become finds out whether sudo wants a password, and which is right.
func (h *Host) become(ctx context.Context) error {
	const op = "become root with sudo"
	try := Script{Op: op, Text: "exec sudo -n -k true", Plain: true}
	_, err := h.Run(ctx, try)
	if err == nil || !IsKind(err, Failed) {
		return err
	}
	if strings.Contains(err.Error(), "not found") {
		return h.opt.fail(Become, op, "install sudo on the host, or log in as root with become: none", errors.New("there is no sudo"))
	}
	if h.opt.Password == nil {
		return h.opt.fail(Become, op, "allow the user to run it without one (NOPASSWD), or be at a terminal",
			errors.New("it asks for a password, and there is nobody to ask for it"))
	}
	if h.password, err = h.opt.Password(ctx); err != nil {
		return h.opt.fail(Become, op, "", err)
	}
	if strings.ContainsAny(h.password, "\r\n") || h.password == "" {
		return h.opt.fail(Become, op, "", errors.New("the password is empty or holds a line end"))
	}
	h.needs = true
	_, err = h.Run(ctx, Script{Op: op, Text: "true"})
	return err
}

// Run runs a script and returns what it printed, unless it goes to Stdout. It ends with ctx. Every error is an [*Error]: of
// kind Failed when the script itself ended with one, of kind Lost when nobody knows what became of it.
func (h *Host) Run(ctx context.Context, s Script) (string, error) {
	fail := func(kind Kind, hint string, err error) (string, error) {
		return "", h.opt.fail(kind, s.Op, hint, err)
	}
	sess, err := h.conn.NewSession()
	if err != nil {
		return fail(Lost, "look at the network and call it again", err)
	}
	defer func() { _ = sess.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = sess.Close() })
	defer stop()
	var out bounded
	said := &conversation{changed: make(chan struct{}, 1)}
	sess.Stdout, sess.Stderr = &out, said
	if s.Stdout != nil {
		sess.Stdout = s.Stdout
	}
	in, err := sess.StdinPipe()
	if err != nil {
		return fail(Lost, "", err)
	}
	if err := sess.Start(h.line(s)); err != nil {
		return fail(Lost, "look at the network and call it again", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- sess.Wait() }()
	refused := false
	answered := false
	sent := false
	for {
		select {
		case err := <-ended:
			return h.outcome(ctx, s, out.String(), said, refused, err)
		case <-said.changed:
		}
		prompts, runs := said.seen()
		switch {
		case runs && !sent:
			sent = true
			go func() {
				if s.Stdin != nil {
					_, _ = io.Copy(in, s.Stdin) // a script that did not take all of it says so itself
				}
				_ = in.Close()
			}()
		case !sent && prompts > 1 && !refused:
			refused = true
			_ = in.Close()
		case !sent && prompts == 1 && !answered:
			answered = true
			_, _ = io.WriteString(in, h.password+"\n")
		}
	}
}

// outcome says how a script ended.
func (h *Host) outcome(ctx context.Context, s Script, out string, said *conversation, refused bool, err error) (string, error) {
	var exit *ssh.ExitError
	_, runs := said.seen()
	text := said.text()
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return out, h.opt.fail(Lost, s.Op, "", context.Cause(ctx))
	case refused:
		return out, h.opt.fail(Become, s.Op, "check the password; it is the user's own, as sudo asks for it", errors.New("sudo does not accept the password"))
	case errors.As(err, &exit) && exit.Signal() == "":
		if !runs && !s.Plain && h.opt.Sudo {
			return out, h.opt.fail(Become, s.Op, "look at the user's rights in /etc/sudoers", fmt.Errorf("sudo refuses: %s", text))
		}
		if text == "" {
			text = fmt.Sprintf("exit status %d", exit.ExitStatus())
		}
		return out, h.opt.fail(Failed, s.Op, "", errors.New(text))
	}
	return out, h.opt.fail(Lost, s.Op, "look at the network and call it again", err)
}

// line is the command line that the login shell gets.
func (h *Host) line(s Script) string {
	words := []string{"sh", "-c", "echo " + began + " >&2\n" + s.Text, "sh"}
	if h.opt.Sudo && !s.Plain {
		sudo := []string{"sudo", "-n"}
		if h.needs {
			// -k: a remembered password would leave ours to the script.
			sudo = []string{"sudo", "-k", "-S", "-p", asks}
		}
		words = append(append(sudo, "--"), words...)
	}
	var b strings.Builder
	for i, w := range append(words, s.Args...) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(Quote(w))
	}
	return b.String()
}

// Quote makes one word of sh of any text.
func Quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:@%") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// bounded keeps the first maxOutput bytes.
type bounded struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if room := maxOutput - b.b.Len(); room > 0 {
		b.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *bounded) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// conversation is a script's standard error, watched for what it waits for.
type conversation struct {
	bounded
	changed chan struct{}
}

func (c *conversation) Write(p []byte) (int, error) {
	n, err := c.bounded.Write(p)
	select {
	case c.changed <- struct{}{}:
	default: // the last change has yet to be looked at
	}
	return n, err
}

// seen says how often sudo asked, and whether the script runs.
func (c *conversation) seen() (prompts int, runs bool) {
	s := c.String()
	return strings.Count(s, asks), strings.Contains(s, began+"\n")
}

// maxText bounds what of standard error goes into a message, in bytes.
const maxText = 600

// text is what was said, in one line, without what is ours.
func (c *conversation) text() string {
	s := c.String()
	if _, after, ok := strings.Cut(s, began+"\n"); ok {
		s = after
	}
	s = strings.Join(strings.Fields(strings.ReplaceAll(s, asks, "")), " ")
	if len(s) > maxText {
		s = "…" + s[len(s)-maxText:]
	}
	return strings.ToValidUTF8(s, "?")
}
