package actuate

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const (
	// ClaimRefresh is how often an owner refreshes its mark.
	ClaimRefresh = time.Minute
	// ClaimAlive is how old a mark's newest refresh may be for its owner to count as alive.
	ClaimAlive = 3 * time.Minute

	claimLook  = 15 * time.Second // how often one looks that waits for another's end
	claimAgain = 10 * time.Minute // and one that the router refuses its mark
	// claimMargin is how much sooner than another may take over an owner stops writing: the router tells whole seconds, and a
	// write may be under way.
	claimMargin = 15 * time.Second
	claimTries  = 3 // answers that do not come, or make no sense, before shaping goes on without a mark
)

// Mark is one controller's mark as the router shows it.
type Mark struct {
	// ID is the router's, of this connection; Address is the entry's.
	ID, Address string
	// Owner is who left it; Known is false where it cannot be read.
	Owner link.Owner
	Known bool
	// Left is how long it will stay; 0 is for ever, which no controller asks for.
	Left time.Duration
}

// alive says that its owner has refreshed it lately.
func (m Mark) alive() bool { return m.Left > link.MarkLife-ClaimAlive }

// rivals says that its owner is alive, and another that controls what somebody controls.
func (m Mark) rivals(self link.Owner) bool {
	return m.Known && m.alive() && m.Owner.ID != self.ID && m.Owner.Overlaps(self.Controls)
}

// MarkOpKind is what is to be done with marks.
type MarkOpKind uint8

// The operations.
const (
	// MarkLook reads all marks.
	MarkLook MarkOpKind = iota
	// MarkMake adds ours, MarkRefresh lets it stay on, MarkRemove removes one.
	MarkMake
	MarkRefresh
	MarkRemove
)

// MarkOp is one operation; one is in flight at a time.
type MarkOp struct {
	Kind MarkOpKind
	// ID is the mark to refresh or to remove, Address and Comment are what a new one has.
	ID, Address, Comment string
}

// MarkResult is what became of an operation.
type MarkResult struct {
	Op MarkOp
	// Marks are what a look found, oldest first.
	Marks []Mark
	Err   error
	Class ErrClass
	// Gone says that the mark to refresh is not there, Taken that there is one with the address already.
	Gone, Taken bool
}

// ClaimInput is what happened since the last Step.
type ClaimInput struct {
	Now unit.Time
	// Up says that the router answers other operations: nothing is asked of it before.
	Up bool
	// Session counts connections: ids are of one.
	Session uint64
	Result  *MarkResult
}

// ClaimOutput is what to do now and what is known.
type ClaimOutput struct {
	// Op is to be started now; nil is none.
	Op *MarkOp
	// Withheld says that nothing may be written to the router.
	Withheld bool
	// Holder is who controls the same things, nil while nobody else does.
	Holder *link.Owner
	// Notes are new with this Step.
	Notes []link.Note
}

// claimIs is what is known of the marks.
type claimIs uint8

const (
	claimOpen   claimIs = iota // nothing yet
	claimOurs                  // our mark is the oldest that is alive
	claimTheirs                // another's is
	claimNone                  // the router does not let us leave one
)

// Claim decides whether a controller may write to the router: only while its mark is the oldest of those that control the same
// things and are alive. It is a pure state machine, beside the [Actuator]. It is not safe for concurrent use.
type Claim struct {
	self    link.Owner
	address string

	now     unit.Time
	is      claimIs
	holder  link.Owner
	next    MarkOpKind
	due     unit.Time
	flight  bool
	asked   unit.Time // when the operation in flight was issued: what it did was done later
	session uint64
	// id is our mark's of this connection, refreshed when it was last set; verify says that it was to be looked for again
	// before the next write, because the connection is another.
	id        string
	seen      unit.Time // when the holder was last seen alive
	refreshed unit.Time
	verify    bool
	looked    unit.Time
	yielding  bool   // our mark is to be removed, because another's counts
	victim    string // the mark that is to be removed
	// lapsed says that our mark was not refreshed for so long that another may have taken over: then that one counts, whichever is
	// older.
	lapsed bool
	vain   int // operations in a row that led nowhere
	way    Backoff
	notes  []link.Note
}

// NewClaim returns a claim that nothing is known of yet.
func NewClaim(self link.Owner) *Claim {
	return &Claim{self: self, address: link.MarkAddress(self.Controls...)}
}

// Step takes in what happened and says what to do. It never blocks, logs or fails.
func (c *Claim) Step(in ClaimInput) ClaimOutput {
	c.now, c.notes = max(c.now, in.Now, 1), nil
	if in.Session != c.session {
		c.session, c.id = in.Session, ""
		if c.way.Stopped() { // somebody has logged in since: what kept us out, a password for one, does not any more
			c.way.Succeeded()
		}
		c.verify = c.is == claimOurs
		c.lapsed = c.lapsed || c.verify && c.now.Sub(c.refreshed) >= ClaimAlive-claimMargin
		if c.next == MarkRefresh {
			c.look(0)
		}
	}
	if c.next == MarkRefresh && !c.flight && c.now.Sub(max(c.refreshed, c.looked)) >= ClaimAlive-claimMargin {
		c.lapsed, c.verify = true, true
		c.look(0)
	}
	if in.Result != nil && c.flight {
		c.flight = false
		c.take(*in.Result)
	}
	out := ClaimOutput{Withheld: c.withheld()}
	if in.Up && !c.flight && c.now >= c.due && c.way.May(c.now) {
		c.flight, c.asked = true, c.now
		out.Op = &MarkOp{Kind: c.next}
		switch c.next {
		case MarkLook:
		case MarkMake:
			out.Op.Address, out.Op.Comment = c.address, c.self.Comment()
		case MarkRefresh:
			out.Op.ID = c.id
		case MarkRemove:
			out.Op.ID = c.victim
		}
	}
	if c.is == claimTheirs {
		holder := c.holder
		out.Holder = &holder
	}
	out.Notes = c.notes
	return out
}

// withheld says whether writing must wait. A mark that was not refreshed for so long that another may have taken over holds, too.
func (c *Claim) withheld() bool {
	switch c.is {
	case claimOurs:
		return c.verify || c.now.Sub(c.refreshed) >= ClaimAlive-claimMargin
	case claimNone:
		return false
	case claimOpen, claimTheirs:
	}
	return true
}

// Self is who claims.
func (c *Claim) Self() link.Owner { return c.self }

// Leave is the operation that a clean stop ends with: it removes our mark, so that another need not wait. Nil where the mark
// is not ours.
func (c *Claim) Leave() *MarkOp {
	if c.is != claimOurs || c.id == "" || c.withheld() {
		return nil
	}
	return &MarkOp{Kind: MarkRemove, ID: c.id}
}

func (c *Claim) note(level link.Level, key, text string) {
	c.notes = append(c.notes, link.Note{Level: level, Key: key, Text: text})
}

// then makes an operation the next, after a wait.
func (c *Claim) then(kind MarkOpKind, wait time.Duration) {
	c.next, c.due = kind, c.now.Add(wait)
}

func (c *Claim) look(wait time.Duration) { c.then(MarkLook, wait) }

// take judges the result of the operation in flight.
func (c *Claim) take(r MarkResult) {
	if r.Err != nil {
		c.fail(r)
		return
	}
	c.way.Succeeded()
	switch r.Op.Kind {
	case MarkLook:
		c.looked = c.asked
		c.judge(r.Marks)
	case MarkMake: // whether it is the oldest is seen by looking
		c.look(0)
	case MarkRefresh:
		c.vain = 0
		if r.Op.ID != c.id { // it made a new connection on its way, of which the id is not: what it refreshed is seen by looking
			c.look(0)
			return
		}
		c.refreshed = c.asked
		c.next, c.due = MarkRefresh, c.refreshed.Add(ClaimRefresh)
	case MarkRemove:
		if c.yielding {
			c.yielding = false
			c.look(claimLook)
			return
		}
		c.then(MarkMake, 0)
	}
}

// fail books an operation that failed.
func (c *Claim) fail(r MarkResult) {
	switch {
	case r.Gone: // after a restart of the router, for one
		c.id = ""
		c.again(r.Err)
	case r.Taken: // somebody was quicker
		c.again(r.Err)
	case r.Class == Misconfigured:
		c.refuse(r.Err)
	case r.Class == Unknown:
		c.way.Failed(c.now, Unknown, 0.5)
		c.again(r.Err)
	default:
		c.way.Failed(c.now, r.Class, 0.5)
	}
}

// again looks anew, but not for ever.
func (c *Claim) again(err error) {
	if c.vain++; c.vain >= claimTries {
		c.refuse(err)
		return
	}
	c.look(0)
}

// refuse gives up for a while: shaping is worth more than the mark.
func (c *Claim) refuse(err error) {
	c.vain, c.verify, c.yielding = 0, false, false
	c.way.Succeeded()
	if c.is == claimTheirs && c.now.Sub(c.seen) < link.MarkLife { // another was seen, and not its end
		c.look(ClaimRefresh)
		return
	}
	c.look(claimAgain)
	if c.is != claimNone {
		c.note(link.Warning, "owner_unmarked", "This controller cannot leave its mark on the router: "+clip(err.Error())+
			"; shaping goes on, but a second controller of the same queues or rule would not notice this one, and a scheduler of "+
			"router.heartbeat takes it for dead and restores the base every minute: disable that.")
	}
	c.is = claimNone
}

// HolderOf is who controls the same things as somebody and is alive, by the marks on a router, oldest first; nil for nobody.
func HolderOf(marks []Mark, self link.Owner) *link.Owner {
	address := link.MarkAddress(self.Controls...)
	for _, m := range marks {
		switch {
		case m.rivals(self):
			return &m.Owner
		case m.Known && m.alive() && m.Owner.ID == self.ID && m.Address == address:
			return nil
		}
	}
	return nil
}

// anyOther is who else controls the same things and is alive, whoever was first.
func anyOther(marks []Mark, self link.Owner) *link.Owner {
	for _, m := range marks {
		if m.rivals(self) {
			return &m.Owner
		}
	}
	return nil
}

// judge decides whose turn it is.
func (c *Claim) judge(marks []Mark) {
	own, taken := -1, -1
	for i, m := range marks {
		if m.Known && m.Owner.ID == c.self.ID && m.Address == c.address {
			own = i
		}
		if m.Address == c.address {
			taken = i
		}
	}
	holder := HolderOf(marks, c.self)
	if c.lapsed && holder == nil {
		holder = anyOther(marks, c.self)
	}
	c.lapsed = false
	switch {
	case holder != nil:
		c.yield(*holder)
		if own >= 0 {
			c.yielding = true
			c.remove(marks[own])
		}
	case own >= 0 && marks[own].alive():
		c.have(marks[own])
	case taken >= 0: // by one that is not alive, be it our own, or that nobody can read
		c.remove(marks[taken])
	default:
		c.then(MarkMake, 0)
	}
}

// remove takes a mark away that was just seen.
func (c *Claim) remove(m Mark) {
	c.victim = m.ID
	c.then(MarkRemove, 0)
}

// have takes our mark for the one that counts.
func (c *Claim) have(m Mark) {
	switch c.is {
	case claimTheirs:
		c.note(link.Info, "owner_ours", "The other controller has gone: this one controls the router now.")
	case claimNone:
		c.note(link.Info, "owner_ours", "This controller's mark is on the router now.")
	case claimOpen, claimOurs:
	}
	c.is, c.id, c.verify, c.holder = claimOurs, m.ID, false, link.Owner{}
	c.refreshed = c.asked.Add(-max(link.MarkLife-m.Left, 0))
	c.next, c.due = MarkRefresh, c.refreshed.Add(ClaimRefresh)
}

// yield lets another control the router.
func (c *Claim) yield(to link.Owner) {
	if c.is != claimTheirs || c.holder.ID != to.ID || c.holder.PID != to.PID {
		c.note(link.Alert, "owner_other", "The router is controlled by "+to.String()+": this controller writes nothing there and goes on measuring. "+
			"Stop one of the two; this one takes over when the other has stopped, or has shown no sign for "+ClaimAlive.String()+".")
	}
	c.is, c.holder, c.seen, c.verify, c.vain, c.id = claimTheirs, to, c.now, false, 0, ""
	c.look(claimLook)
}
