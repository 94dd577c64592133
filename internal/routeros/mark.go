package routeros

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"wanctl/internal/link"
)

// Mark is an entry of [link.MarkList] as the router reports it.
type Mark struct {
	// ID is the router's id, "*5"; it is another after a restart.
	ID string
	// Address and Comment are the entry's; Left is how long it stays unless it is refreshed, 0 for ever.
	Address, Comment string
	Left             time.Duration
}

// markVerb is what becomes of a mark.
type markVerb uint8

const (
	lookMarks   markVerb = iota // read all
	makeMark                    // add ours
	refreshMark                 // let ours stay for another [link.MarkLife]
	removeMark                  // take one away
)

// mostMarks bounds the marks that are read: a router has a few controllers.
const mostMarks = 32

// markLife is [link.MarkLife] as the router reads it.
const markLife = "10m"

// Marks reads the marks of all controllers of the router, oldest first.
func (c *Client) Marks(ctx context.Context) ([]Mark, error) {
	var marks []Mark
	err := c.do(ctx, task{purpose: marking, op: "read owner marks", mark: lookMarks}, func(r reply, err *Error, _ bool) *Error {
		marks = r.marks
		return err
	})
	return marks, err
}

// MakeMark adds a mark. It is an error when there is one with this address.
func (c *Client) MakeMark(ctx context.Context, address, comment string) error {
	return c.mark(ctx, task{op: "make owner mark", mark: makeMark, address: address, comment: comment})
}

// RefreshMark lets a mark that this connection has read stay for another [link.MarkLife].
func (c *Client) RefreshMark(ctx context.Context, id string) error {
	return c.mark(ctx, task{op: "refresh owner mark", mark: refreshMark, id: id})
}

// RemoveMark removes a mark that this connection has read; it is no error when it has gone.
func (c *Client) RemoveMark(ctx context.Context, id string) error {
	return c.mark(ctx, task{op: "remove owner mark", mark: removeMark, id: id})
}

// mark carries one change of a mark.
func (c *Client) mark(ctx context.Context, t task) error {
	t.purpose = marking
	return c.do(ctx, t, func(_ reply, err *Error, _ bool) *Error { return err })
}

// HasMark says whether err is the router's answer to a mark with an address that is taken.
func HasMark(err error) bool {
	var e *Error
	return errors.As(err, &e) && strings.Contains(strings.ToLower(e.Reply), "already have")
}

// IsGone says whether err is the router's answer to a change of a mark that is not there any more. Over REST it may also be
// that a right is missing.
func IsGone(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.gone || e.Kind == NoSuchItem)
}

// checkMark refuses what no mark of ours is.
func (t task) checkMark() error {
	if t.mark == refreshMark || t.mark == removeMark {
		if !isID(t.id) {
			return fmt.Errorf("%q is not an item id", clip(t.id))
		}
		return nil
	}
	if t.mark == lookMarks {
		return nil
	}
	if a, err := netip.ParseAddr(t.address); err != nil || !reserved.Contains(a) {
		return fmt.Errorf("%q is no address of a mark", clip(t.address))
	}
	if !plainComment.MatchString(t.comment) {
		return fmt.Errorf("%q is no comment of a mark", clip(t.comment))
	}
	return nil
}

var (
	reserved     = netip.MustParsePrefix("240.0.0.0/5")
	plainComment = regexp.MustCompile(`\Awanctl: ` + ownerComment + `\z`)
)

// markLine builds the line of a task about marks.
func markLine(t task) (string, error) {
	if err := t.checkMark(); err != nil {
		return "", err
	}
	var s script
	switch t.mark {
	case lookMarks:
		s.add(find("m", listMenu, "list", link.MarkList))
		of := func(property string) string { return get(listMenu, "i", property) }
		// The comment comes last: it alone can hold a bar.
		s.add(fmt.Sprintf(":foreach i in=[:pick $m 0 %d] do={%s}", mostMarks,
			put("mark", "$i", of("address"), of("timeout"), of("comment"))))
	case makeMark:
		s.add(listMenu+" add list="+quote(link.MarkList)+" address="+t.address+" timeout="+markLife+" comment="+quote(t.comment), put("set|mark"))
	case refreshMark:
		s.add(listMenu+" set "+t.id+" timeout="+markLife, put("set|mark"))
	case removeMark:
		s.add(":local m ["+listMenu+" find where list="+quote(link.MarkList)+" .id="+t.id+"]",
			":foreach i in=$m do={"+listMenu+" remove $i}", put("set|mark"))
	}
	return s.line(), nil
}

// parseMark reads the fields id, address, timeout and comment; the comment may hold bars.
func parseMark(f []string) (m Mark, err error) {
	m = Mark{ID: f[0], Address: f[1], Comment: strings.Join(f[3:], "|")}
	if !isID(m.ID) {
		return m, fmt.Errorf("%q is not an item id", clip(m.ID))
	}
	if f[2] != "" { // without one it stays for ever
		m.Left, err = parseDuration(f[2])
	}
	return m, err
}

var markList = []string{".id", "list", "address", "timeout", "comment"}

// askMarks asks for the marks, or for that with an id.
func askMarks(id string) ask {
	a := ask{menu: listMenu, verb: "print", list: markList, where: []string{"list=" + link.MarkList}}
	if id != "" {
		a.where = append(a.where, ".id="+id, "#&")
	}
	return a
}

// marks carries a task about marks.
func (p *sitting) marks(ctx context.Context) *Error {
	t := p.task
	switch t.mark {
	case makeMark, refreshMark:
		_, failed := p.ask(ctx, firstAsk(t))
		return failed
	case lookMarks, removeMark:
	}
	rows, failed := p.ask(ctx, firstAsk(t))
	if failed != nil {
		return failed
	}
	rows = having(rows, "list", link.MarkList)
	if t.mark == removeMark {
		for _, r := range having(rows, ".id", t.id) {
			if failed := p.change(ctx, r, ask{menu: listMenu, verb: "remove"}); failed != nil {
				return failed
			}
		}
		return nil
	}
	for _, r := range rows[:min(len(rows), mostMarks)] {
		m, err := parseMark([]string{r[".id"], r["address"], r["timeout"], r["comment"]})
		if err != nil {
			return p.unusable(fmt.Errorf("mark %s: %w", clip(r[".id"]), err))
		}
		p.reply.marks = append(p.reply.marks, m)
	}
	return nil
}
