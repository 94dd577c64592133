package routeros

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// apiDoor is the binary API.
type apiDoor struct{ site }

// say returns the first sentence of a task.
func (d apiDoor) say(t task) (string, error) {
	words := firstAsk(t).words()
	return strings.Join(words, " "), guardWords(words)
}

func (d apiDoor) fingerprint(ctx context.Context) (string, *Error) { return d.certificate(ctx) }

// These tell apart what a failed login means for other doors.
var (
	// errPassword: the router refused the name or the password.
	errPassword = errors.New("the router refused the user name or the password")
	// errPolicy: it knows the user, who lacks the right to this door.
	errPolicy = errors.New("the router's user may not use this service")
	// errNoSecret: the password could not be had.
	errNoSecret = errors.New("cannot get the password")
)

// secret fetches the password.
func (s site) secret(op string) (string, *Error) {
	p, err := usable(s.opt.Password())
	if err != nil {
		return "", s.err(Auth, op, fmt.Errorf("%w: %w", errNoSecret, err), "check router.password, its file or environment variable")
	}
	return p, nil
}

// maxSecret bounds a password, in bytes.
const maxSecret = 1024

// usable refuses a password that no door could use.
func usable(password string, err error) (string, error) {
	switch {
	case err != nil:
		return "", err
	case password == "":
		return "", errors.New("it is empty")
	case len(password) > maxSecret:
		return "", fmt.Errorf("it is longer than %d bytes", maxSecret)
	}
	return password, nil
}

// enter connects and logs in, within ctx.
func (d apiDoor) enter(ctx context.Context, op string) (line, *Error) {
	conn, finish, failed := d.secure(ctx, op)
	if failed != nil {
		return nil, failed
	}
	password, failed := d.secret(op)
	if failed != nil {
		_ = conn.Close()
		return nil, failed
	}
	l := newAPILine(d.site, conn)
	finish() // from here on the line's own commands watch ctx
	p, failed := l.sendOne(ctx, op, []string{"/login", "=name=" + d.opt.User, "=password=" + password})
	switch {
	case failed != nil:
		failed = d.loginBroken(failed)
	case p.trap:
		failed = d.loginRefused(op, p.text)
	case p.result["ret"] != "" || len(p.rows) > 0:
		failed = d.err(Unreachable, op, errors.New("the router asks for a login of RouterOS before 6.43"), hintFor(Syntax, d.opt))
	default:
		return l, nil
	}
	l.close()
	return nil, failed
}

// loginBroken is a connection that ended under the login: nothing had been asked yet.
func (d apiDoor) loginBroken(e *Error) *Error {
	e.Sent = false
	var fatal errFatal
	switch {
	case errors.As(e.Err, &fatal) && strings.Contains(fatal.reason, "before login"):
		return d.err(Auth, e.Op, e.Err, d.authHint())
	case e.Kind == Lost, e.Kind == Reply:
		return d.err(Unreachable, e.Op, fmt.Errorf("the login did not end: %w", e.Err),
			"is this port the router's API service? It may also have as many sessions as /ip/service max-sessions allows (/user/active/print)")
	case e.Kind == Timeout:
		e.Err = fmt.Errorf("the login did not end: %w", e.Err)
	}
	return e
}

func (d apiDoor) loginRefused(op, text string) *Error {
	kind, cause := Unreachable, errors.New("the router refused the login")
	hint := "look at the router's log (/log/print)"
	switch low := strings.ToLower(text); {
	case strings.Contains(low, "user name or password"), strings.Contains(low, "cannot log in"):
		kind, cause, hint = Auth, errPassword, d.authHint()
	case strings.Contains(low, "not allowed"), strings.Contains(low, "not enough permissions"):
		kind, cause, hint = Auth, errPolicy, hintFor(Permission, d.opt)
	}
	e := d.err(kind, op, cause, hint)
	e.Reply = clip(text)
	return e
}

// authHint is the way out of a refused password.
func (s site) authHint() string {
	return fmt.Sprintf("check the password; user %q needs the policies %s, and its address restriction must allow this host", s.opt.User, s.opt.Transport.policies())
}
