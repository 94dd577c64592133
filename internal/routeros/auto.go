package routeros

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"wanctl/internal/link"
)

// autoDoor tries the doors in the order of their worth, API, REST and SSH, and keeps to the first that lets us in.
//
// A secret is never tried from door to door: RouterOS counts failed logins, and a firewall often does. So a password that was refused
// once is not shown again, at no door and in no later call; a key still may be, it is another secret. A user who is known and may
// not use the API may not use REST either, which logs in through it; that password was right, and SSH gets it. A certificate
// that is not the pinned one ends the search: what guards against somebody in between must not be walked around. One
// that cannot be verified and is not pinned does not: nothing secret was sent, and SSH has its own proof of who answers.
type autoDoor struct {
	opt   Options
	tries []attempt
	// share is the time of one attempt but the last: a port that swallows what is sent must not keep us from the next.
	share time.Duration

	mu sync.Mutex
	// in is the index of the chosen door, -1 while there is none; lost counts its failures to connect since.
	in, lost int
	// refused says that the router refused the password.
	refused bool
}

// attempt is one door on the list.
type attempt struct {
	transport Transport
	door      door
}

// lostForGood is after how many failures in a row the chosen door is given up. With the pauses of the caller's backoff
// (1, 2, 4, 5 s while a cut waits) that is longer than a hiccup and shorter than most reboots: and after a reboot the
// search begins anew, with the best door.
const lostForGood = 5

// Doors are the doors that [Auto] tries, the best first.
func Doors() []Transport { return autoOrder[:] }

func newAutoDoor(o Options) *autoDoor {
	d := &autoDoor{opt: o, share: o.Timeout / 4, in: -1}
	for _, t := range autoOrder {
		if t != SSH && (o.Password == nil || t == REST && strings.Contains(o.User, ":")) {
			continue
		}
		d.tries = append(d.tries, attempt{t, d.made(t)})
	}
	return d
}

// made makes a door of the list, with no more secrets than may be shown.
func (d *autoDoor) made(t Transport) door {
	o := d.opt
	o.Transport, o.Port, o.Plain = t, *o.Ports.of(t), false
	if d.refused {
		o.Password = nil
	}
	return doorOf(o)
}

// chosen returns the door that was chosen, or the best.
func (d *autoDoor) chosen() (door, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tries[max(d.in, 0)].door, d.in >= 0
}

func (d *autoDoor) String() string {
	if c, ok := d.chosen(); ok {
		return c.String()
	}
	return d.opt.User + "@" + d.opt.Host
}

func (d *autoDoor) say(t task) (string, error) {
	c, _ := d.chosen()
	return c.say(t)
}

func (d *autoDoor) fingerprint(ctx context.Context) (string, *Error) {
	c, _ := d.chosen()
	return c.fingerprint(ctx)
}

func (d *autoDoor) enter(ctx context.Context, op string) (line, *Error) {
	if c, ok := d.chosen(); ok {
		l, failed := c.enter(ctx, op)
		if d.keeps(failed) {
			return l, failed
		}
	}
	return d.search(ctx, op)
}

// keeps says whether the chosen door stays the chosen one after an attempt to connect.
func (d *autoDoor) keeps(failed *Error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if failed == nil {
		d.lost = 0
		return true
	}
	switch failed.Kind {
	case Unreachable, Timeout, Permission, Syntax:
		if d.lost++; d.lost < lostForGood {
			return true
		}
	case Auth, HostKey, Certificate, NoSuchItem, Ambiguous, Lost, Mismatch, Reply:
		// The router is there and will not have us, or is another: that is for a person to see.
		return true
	}
	d.in, d.lost = -1, 0
	return false
}

// search tries the doors and chooses the first that opens.
func (d *autoDoor) search(ctx context.Context, op string) (line, *Error) {
	if d.spent() {
		return nil, &Error{
			Kind: Auth, Op: op, Router: d.String(), Err: fmt.Errorf("%w before, and it is not shown again", errPassword),
			Hint: "correct router.password or the router's user, then restart or reload wanctl",
		}
	}
	var why []string
	var failed *Error
	for i := range d.tries {
		t := d.tries[i].transport
		if d.skips(t, failed) {
			continue
		}
		var l line
		l, failed = d.try(ctx, op, i)
		if failed == nil {
			d.choose(i, why)
			return l, nil
		}
		why = append(why, fmt.Sprintf("%s: %s: %v", t, failed.Kind, failed.Err))
		if d.over(ctx, failed) {
			break
		}
	}
	failed.Router = d.String()
	if len(why) > 1 {
		failed.Err = fmt.Errorf("no door of the router opened (%s): %w", strings.Join(why[:len(why)-1], "; "), failed.Err)
	}
	return nil, failed
}

// spent says whether nothing is left to log in with.
func (d *autoDoor) spent() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused && d.opt.KeyFile == ""
}

// skips says whether a door cannot open after the last failure.
func (d *autoDoor) skips(t Transport, failed *Error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch t {
	case API:
		return d.refused
	case REST:
		return d.refused || failed != nil && errors.Is(failed.Err, errPolicy)
	case SSH, Auto:
	}
	return false
}

// over says whether no further door may be tried after a failure, and remembers a refused password.
func (d *autoDoor) over(ctx context.Context, failed *Error) bool {
	if errors.Is(failed.Err, errPassword) {
		d.mu.Lock()
		d.refused = true
		for i, t := range d.tries {
			d.tries[i].door = d.made(t.transport)
		}
		d.mu.Unlock()
	}
	noPassword := errors.Is(failed.Err, errPassword) || errors.Is(failed.Err, errNoSecret)
	return ctx.Err() != nil || errors.Is(failed.Err, errPin) || noPassword && d.opt.KeyFile == ""
}

// try makes one attempt in its share of the call's time.
func (d *autoDoor) try(ctx context.Context, op string, i int) (line, *Error) {
	if i+1 < len(d.tries) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d.share, fmt.Errorf("no answer within %v: %w", d.share, context.DeadlineExceeded))
		defer cancel()
	}
	return d.tries[i].door.enter(ctx, op)
}

func (d *autoDoor) choose(i int, why []string) {
	d.mu.Lock()
	d.in, d.lost = i, 0
	d.mu.Unlock()
	if d.opt.Log == nil {
		return
	}
	c := d.tries[i]
	text := fmt.Sprintf("the router %s is reached by transport %s, the best there is", c.door, c.transport)
	level := link.Info
	if len(why) > 0 {
		text = fmt.Sprintf("the router %s is reached by transport %s, because the better ones did not open (%s); name the transport to be told when it fails",
			c.door, c.transport, strings.Join(why, "; "))
		level = link.Warning
	}
	d.opt.Log(link.Note{Level: level, Key: "router_door", Text: text})
}
