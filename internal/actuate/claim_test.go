package actuate

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// board is the router's list of marks, by a clock of its own.
type board struct {
	now    unit.Time
	marks  []boardMark
	nextID int
	refuse error
}

type boardMark struct {
	id, address, comment string
	until                unit.Time // 0: for ever
}

func (b *board) expire() {
	b.marks = slices.DeleteFunc(b.marks, func(m boardMark) bool { return m.until != 0 && m.until <= b.now })
}

// do carries an operation out.
func (b *board) do(op MarkOp) MarkResult {
	b.expire()
	r := MarkResult{Op: op}
	if b.refuse != nil {
		r.Err, r.Class = b.refuse, Misconfigured
		return r
	}
	if op.ID == "" && (op.Kind == MarkRefresh || op.Kind == MarkRemove) { // the hand sends no such thing
		r.Err, r.Class = errors.New("no item id"), Misconfigured
		return r
	}
	switch op.Kind {
	case MarkLook:
		for _, m := range b.marks {
			o, ok := link.ParseOwner(m.comment)
			mark := Mark{ID: m.id, Address: m.address, Owner: o, Known: ok}
			if m.until != 0 {
				mark.Left = m.until.Sub(b.now).Truncate(time.Second)
			}
			r.Marks = append(r.Marks, mark)
		}
	case MarkMake:
		if slices.ContainsFunc(b.marks, func(m boardMark) bool { return m.address == op.Address }) {
			r.Err, r.Class, r.Taken = errors.New("already have such entry"), Unknown, true
			return r
		}
		b.nextID++
		b.marks = append(b.marks, boardMark{fmt.Sprint("*", b.nextID), op.Address, op.Comment, b.now.Add(link.MarkLife)})
	case MarkRefresh:
		for i := range b.marks {
			if b.marks[i].id == op.ID {
				b.marks[i].until = b.now.Add(link.MarkLife)
				return r
			}
		}
		r.Err, r.Class, r.Gone = errors.New("no such item"), Misconfigured, true
	case MarkRemove:
		b.marks = slices.DeleteFunc(b.marks, func(m boardMark) bool { return m.id == op.ID })
	}
	return r
}

var lineThings = []string{link.QueueThing("WAN-Download"), link.QueueThing("WAN-Upload")}

func ownerOn(host string, things ...string) link.Owner {
	if things == nil {
		things = lineThings
	}
	return link.Owner{ID: fmt.Sprintf("%016x", host[0]), Host: host, PID: 7, Controls: things}
}

// claimant is a claim with what it was told last.
type claimant struct {
	*Claim
	out     ClaimOutput
	session uint64
	up      bool
	notes   []string
}

func newClaimant(o link.Owner) *claimant { return &claimant{Claim: NewClaim(o), session: 1, up: true} }

// settle lets a claimant do what is due, one operation after the other.
func (c *claimant) settle(b *board) {
	var r *MarkResult
	for range 20 {
		c.out = c.Step(ClaimInput{Now: b.now, Up: c.up, Session: c.session, Result: r})
		for _, n := range c.out.Notes {
			c.notes = append(c.notes, n.Key)
		}
		if c.out.Op == nil {
			return
		}
		res := b.do(*c.out.Op)
		r = &res
	}
}

// pass lets time go by, second by second, for everybody.
func (b *board) pass(d time.Duration, all ...*claimant) {
	for end := b.now.Add(d); b.now < end; {
		b.now = b.now.Add(time.Second)
		for _, c := range all {
			c.settle(b)
		}
	}
}

func newBoard() *board { return &board{now: unit.Time(time.Hour)} }

func TestClaim(t *testing.T) {
	t.Run("alone", func(t *testing.T) {
		b, a := newBoard(), newClaimant(ownerOn("a"))
		a.up = false
		a.settle(b)
		if !a.out.Withheld || a.out.Op != nil || a.Leave() != nil {
			t.Fatalf("before the router answers: %+v", a.out)
		}
		a.up = true
		a.settle(b)
		if a.out.Withheld || len(b.marks) != 1 || a.out.Holder != nil || a.notes != nil {
			t.Fatalf("%+v %+v %q", a.out, b.marks, a.notes)
		}
		b.pass(2*time.Hour, a)
		if a.out.Withheld || len(b.marks) != 1 || b.nextID != 1 {
			t.Errorf("after two hours: %+v %+v, %d marks made", a.out, b.marks, b.nextID)
		}
		if op := a.Leave(); op == nil || op.Kind != MarkRemove || op.ID != b.marks[0].id {
			t.Errorf("it leaves by %+v", op)
		}
	})
	t.Run("a second one waits, and takes over", func(t *testing.T) {
		b, a, z := newBoard(), newClaimant(ownerOn("a")), newClaimant(ownerOn("z"))
		a.settle(b)
		b.pass(time.Hour, a, z)
		if a.out.Withheld || !z.out.Withheld || z.out.Holder == nil || z.out.Holder.Host != "a" || !slices.Equal(z.notes, []string{"owner_other"}) {
			t.Fatalf("%+v %+v %q", a.out, z.out, z.notes)
		}
		b.pass(ClaimAlive-ClaimRefresh-time.Second, z)
		if !z.out.Withheld {
			t.Fatal("it took over from one that had shown a sign")
		}
		b.pass(ClaimRefresh+claimLook+2*time.Second, z)
		if z.out.Withheld || z.out.Holder != nil || !slices.Equal(z.notes, []string{"owner_other", "owner_ours"}) {
			t.Fatalf("%+v %q", z.out, z.notes)
		}
		// The first comes back after its host stood still: it writes nothing, and stands back.
		a.out = a.Step(ClaimInput{Now: b.now, Up: true, Session: 1})
		if !a.out.Withheld {
			t.Error("it would write without having looked")
		}
		res := b.do(*a.out.Op)
		a.out = a.Step(ClaimInput{Now: b.now, Up: true, Session: 1, Result: &res})
		a.settleFrom(b)
		if !a.out.Withheld || a.out.Holder == nil || a.out.Holder.Host != "z" {
			t.Errorf("%+v", a.out)
		}
	})
	t.Run("a clean stop hands over at once", func(t *testing.T) {
		b, a, z := newBoard(), newClaimant(ownerOn("a")), newClaimant(ownerOn("z"))
		a.settle(b)
		z.settle(b)
		b.do(*a.Leave())
		b.pass(claimLook+time.Second, z)
		if z.out.Withheld {
			t.Errorf("%+v", z.out)
		}
	})
	t.Run("the same owner goes on at once", func(t *testing.T) {
		b, a := newBoard(), newClaimant(ownerOn("a"))
		a.settle(b)
		b.pass(8*time.Minute, newClaimant(ownerOn("q", "rule=x")))
		again := newClaimant(ownerOn("a"))
		again.PID(99)
		again.settle(b)
		if again.out.Withheld || len(b.marks) != 2 || b.marks[1].until != b.now.Add(link.MarkLife) {
			t.Errorf("%+v %+v", again.out, b.marks)
		}
	})
	t.Run("a restart of the router", func(t *testing.T) {
		b, a := newBoard(), newClaimant(ownerOn("a"))
		a.settle(b)
		b.marks = nil
		b.pass(2*ClaimRefresh, a)
		if a.out.Withheld || len(b.marks) != 1 {
			t.Fatalf("noticed by a refresh: %+v %+v", a.out, b.marks)
		}
		b.marks, a.session, a.up = nil, 2, false
		a.settle(b)
		if !a.out.Withheld {
			t.Error("it would write over a new connection without having looked")
		}
		a.up = true
		a.settle(b)
		if a.out.Withheld || len(b.marks) != 1 || a.notes != nil {
			t.Errorf("noticed by the connection: %+v %+v %q", a.out, b.marks, a.notes)
		}
	})
	t.Run("a refresh that connects anew", func(t *testing.T) {
		b, a := newBoard(), newClaimant(ownerOn("a"))
		a.settle(b)
		b.now = b.now.Add(ClaimRefresh)
		a.out = a.Step(ClaimInput{Now: b.now, Up: true, Session: a.session})
		if a.out.Op == nil || a.out.Op.Kind != MarkRefresh {
			t.Fatalf("%+v", a.out.Op)
		}
		a.session++
		for a.out.Op != nil {
			res := b.do(*a.out.Op)
			b.now = b.now.Add(time.Second)
			a.out = a.Step(ClaimInput{Now: b.now, Up: true, Session: a.session, Result: &res})
		}
		b.pass(2*ClaimRefresh, a)
		if a.out.Withheld || len(b.marks) != 1 || a.notes != nil {
			t.Errorf("%+v %+v %q", a.out, b.marks, a.notes)
		}
	})
	t.Run("other things are nobody's business", func(t *testing.T) {
		b, a, z := newBoard(), newClaimant(ownerOn("a")), newClaimant(ownerOn("z", link.RuleThing("steer")))
		a.settle(b)
		z.settle(b)
		if a.out.Withheld || z.out.Withheld || len(b.marks) != 2 {
			t.Errorf("%+v %+v", a.out, z.out)
		}
	})
	t.Run("one queue in common", func(t *testing.T) {
		b, a, z := newBoard(), newClaimant(ownerOn("a")), newClaimant(ownerOn("z", lineThings[1], link.QueueThing("other")))
		// Both make their marks before either looks: the older mark counts, and the younger goes.
		for _, c := range []*claimant{a, z} {
			first := c.Step(ClaimInput{Now: b.now, Up: true, Session: 1})
			looked := b.do(*first.Op)
			c.out = c.Step(ClaimInput{Now: b.now, Up: true, Session: 1, Result: &looked})
		}
		for _, c := range []*claimant{z, a} {
			made := b.do(*c.out.Op)
			c.out = c.Step(ClaimInput{Now: b.now, Up: true, Session: 1, Result: &made})
		}
		for _, c := range []*claimant{a, z} {
			c.settleFrom(b)
		}
		if !a.out.Withheld || z.out.Withheld || len(b.marks) != 1 {
			t.Errorf("%+v %+v %+v", a.out, z.out, b.marks)
		}
	})
	t.Run("what nobody can read is removed", func(t *testing.T) {
		b, a := newBoard(), newClaimant(ownerOn("a"))
		b.marks = []boardMark{{"*9", link.MarkAddress(lineThings...), "somebody's note", 0}}
		a.settle(b)
		if a.out.Withheld || len(b.marks) != 1 || b.marks[0].until == 0 {
			t.Errorf("%+v %+v", a.out, b.marks)
		}
	})
	t.Run("refused", func(t *testing.T) {
		b, a := newBoard(), newClaimant(ownerOn("a"))
		b.refuse = errors.New("not enough permissions (9)")
		b.pass(time.Hour, a)
		if a.out.Withheld || !slices.Equal(a.notes, []string{"owner_unmarked"}) || a.Leave() != nil {
			t.Fatalf("%+v %q", a.out, a.notes)
		}
		b.refuse = nil
		b.pass(claimAgain, a)
		if a.out.Withheld || len(b.marks) != 1 || !slices.Equal(a.notes, []string{"owner_unmarked", "owner_ours"}) {
			t.Errorf("%+v %q", a.out, a.notes)
		}
	})
	t.Run("refused while another is seen", func(t *testing.T) {
		b, a, z := newBoard(), newClaimant(ownerOn("a")), newClaimant(ownerOn("z"))
		a.settle(b)
		z.settle(b)
		b.refuse = errors.New("no")
		b.pass(link.MarkLife-time.Minute, z)
		if !z.out.Withheld {
			t.Fatalf("%+v", z.out)
		}
		b.pass(2*time.Minute, z)
		if z.out.Withheld {
			t.Errorf("%+v", z.out)
		}
	})
}

// PID makes a claimant another process of its owner.
func (c *claimant) PID(n int) { c.self.PID = n }

// settleFrom goes on from an operation that was begun.
func (c *claimant) settleFrom(b *board) {
	for c.out.Op != nil {
		res := b.do(*c.out.Op)
		c.out = c.Step(ClaimInput{Now: b.now, Up: true, Session: c.session, Result: &res})
	}
}

// Answers that never come, or that make no sense, keep nobody from shaping for long.
func TestClaimGivesUp(t *testing.T) {
	for name, bad := range map[string]MarkResult{
		"no answer":     {Err: errors.New("no answer within 5s"), Class: Unknown},
		"always taken":  {Err: errors.New("already have such entry"), Class: Unknown, Taken: true},
		"always gone":   {Err: errors.New("no such item"), Class: Misconfigured, Gone: true},
		"cannot be had": {Err: errors.New("bad command name"), Class: Misconfigured},
	} {
		c := newClaimant(ownerOn("a"))
		now, session := unit.Time(time.Hour), uint64(1)
		out := c.Step(ClaimInput{Now: now, Up: true, Session: session})
		for range 60 {
			now = now.Add(time.Second)
			var r *MarkResult
			if out.Op != nil {
				res := bad
				res.Op = *out.Op
				r = &res
				session++ // the timeout closed it
			}
			if out = c.Step(ClaimInput{Now: now, Up: true, Session: session, Result: r}); !out.Withheld {
				break
			}
		}
		if out.Withheld {
			t.Errorf("%s: held after a minute", name)
		}
	}
	c := newClaimant(ownerOn("a"))
	out := c.Step(ClaimInput{Now: 1, Up: true})
	out = c.Step(ClaimInput{Now: 2, Up: true, Result: &MarkResult{Op: *out.Op, Err: errors.New("password"), Class: Fatal}})
	if out = c.Step(ClaimInput{Now: unit.Time(time.Hour), Up: true}); !out.Withheld || out.Op != nil {
		t.Errorf("after a refused login: %+v", out)
	}
	if out = c.Step(ClaimInput{Now: unit.Time(time.Hour) + 1, Up: true, Session: 1}); out.Op == nil {
		t.Errorf("after somebody has logged in again: %+v", out)
	}
}

// Whatever happens to connections, hosts and the router, two claims of the same things never both write.
func TestTwoClaimsNeverBothWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBoard()
		overlap := rapid.Bool().Draw(t, "one queue in common")
		second := ownerOn("z")
		if overlap {
			second = ownerOn("z", lineThings[0], link.QueueThing("other"))
		}
		all := []*claimant{newClaimant(ownerOn("a")), newClaimant(second)}
		type flying struct {
			res *MarkResult // carried out, not yet told
			op  *MarkOp     // sent, not yet carried out
		}
		var air [2]flying
		for range rapid.IntRange(20, 120).Draw(t, "events") {
			b.now = b.now.Add(time.Duration(rapid.SampledFrom([]int64{0, 1, 7, 30, 65, 170, 200, 601}).Draw(t, "seconds")) * time.Second)
			b.expire()
			i := rapid.IntRange(0, 1).Draw(t, "who")
			c := all[i]
			switch rapid.SampledFrom([]string{"settle", "settle", "settle", "step", "step", "step", "carry", "carry", "reconnect", "restart", "crash", "leave"}).Draw(t, "event") {
			case "settle": // all that is due, at once
				if air[i] == (flying{}) {
					c.settle(b)
				}
			case "step":
				in := ClaimInput{Now: b.now, Up: true, Session: c.session}
				if air[i].res != nil {
					in.Result = air[i].res
					air[i].res = nil
				}
				if c.out = c.Step(in); c.out.Op != nil {
					air[i].op = c.out.Op
				}
			case "carry":
				if op := air[i].op; op != nil {
					res := b.do(*op)
					air[i] = flying{res: &res}
				}
			case "reconnect": // the answer is lost, or the operation never left
				if op := air[i].op; op != nil {
					air[i] = flying{res: &MarkResult{Op: *op, Err: errors.New("lost"), Class: Transient}}
				}
				c.session++
			case "restart":
				b.marks = nil
				for _, c := range all {
					c.session++
				}
			case "crash": // the same owner, another process
				all[i] = newClaimant(c.self)
				all[i].out.Withheld = true
				air[i] = flying{}
			case "leave":
				if op := c.Leave(); op != nil && air[i].op == nil && air[i].res == nil {
					b.do(*op)
					all[i] = newClaimant(c.self)
					all[i].out.Withheld = true
				}
			}
			// Before each write a controller asks its claim.
			free := 0
			for _, c := range all {
				if out := c.Step(ClaimInput{Now: b.now, Session: c.session}); !out.Withheld && c.is == claimOurs {
					free++
				}
			}
			if free > 1 {
				t.Fatalf("both write: %+v", b.marks)
			}
		}
	})
}

// An actuator that has yielded reads, writes nothing and is surprised by nothing; when it may write again it reads first.
func TestYield(t *testing.T) {
	a := New(Config{Ceiling: link.Rates{Down: 100 * unit.Mbps, Up: 20 * unit.Mbps}})
	now := unit.Time(time.Hour)
	want := link.Rates{Down: 50 * unit.Mbps, Up: 10 * unit.Mbps}
	limits := link.Rates{Down: 100 * unit.Mbps, Up: 20 * unit.Mbps}
	step := func(d time.Duration) (out Output, wrote bool) {
		now = now.Add(d)
		out = a.Step(Input{Now: now, Want: want, Has: true, Jitter: 0.5})
		for out.Op != nil {
			op := *out.Op
			if op.Write {
				wrote = true
				limits = op.Want
			}
			var rep link.Report
			rep.At, rep.Uptime, rep.Down.MaxLimit, rep.Up.MaxLimit = now, time.Hour, limits.Down, limits.Up
			out = a.Step(Input{Now: now, Want: want, Has: true, Jitter: 0.5, Result: &Result{Op: op, Report: rep}})
		}
		return out, wrote
	}
	a.Yield(true)
	for i := range 10 {
		limits.Down = unit.Rate(60+i) * unit.Mbps // the owner works
		out, wrote := step(time.Minute)
		if wrote || out.Status.Hold.Down != HoldOwner || out.Status.Differences != 0 || out.Status.ForeignUntil != 0 {
			t.Fatalf("wrote %t, %+v", wrote, out.Status)
		}
	}
	if reads := a.status().Reads; reads < 9 {
		t.Errorf("%d reads in ten minutes", reads)
	}
	limits.Down = 70 * unit.Mbps // unread yet
	a.Yield(false)
	out := a.Step(Input{Now: now.Add(time.Second), Want: want, Has: true, Jitter: 0.5})
	if out.Op == nil || out.Op.Write {
		t.Fatalf("it begins with %+v", out.Op)
	}
	var rep link.Report
	rep.At, rep.Uptime, rep.Down.MaxLimit, rep.Up.MaxLimit = now, time.Hour, limits.Down, limits.Up
	out = a.Step(Input{Now: now.Add(2 * time.Second), Want: want, Has: true, Jitter: 0.5, Result: &Result{Op: *out.Op, Report: rep}})
	if out.Op == nil || !out.Op.Write || out.Op.Want != want {
		t.Errorf("then %+v", out.Op)
	}
}
