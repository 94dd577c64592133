package daemon

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

// marker is a router on which controllers leave marks.
type marker interface {
	Marks(ctx context.Context) ([]routeros.Mark, error)
	MakeMark(ctx context.Context, address, comment string) error
	RefreshMark(ctx context.Context, id string) error
	RemoveMark(ctx context.Context, id string) error
	// Logins counts connections: a mark's id is of one.
	Logins() uint64
}

// ownerFile is where the state directory keeps what tells this installation from another.
const ownerFile = "owner"

// OwnerOf is who this process is among the controllers of a router: the same after a restart, another on another host, with
// another state directory or another run directory. A state directory that cannot be written makes it another with each
// start, which costs the next one a wait.
func OwnerOf(d Dirs, things ...string) (link.Owner, error) {
	secret, err := ownerSecret(filepath.Join(d.State, ownerFile))
	return ownerBy(d, secret, things), err
}

func ownerBy(d Dirs, secret string, things []string) link.Owner {
	host, noName := os.Hostname()
	if noName != nil || host == "" {
		host = "unknown"
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{secret, host, d.Run}, "\x00")))
	return link.Owner{
		ID: hex.EncodeToString(sum[:])[:link.OwnerIDLength], Host: host, PID: os.Getpid(), Controls: things,
	}
}

// OtherOwner names another controller of the same things, by its mark on the router, for a person who asks; empty for none, and
// where it cannot be told. It writes nothing, here or there.
func OtherOwner(ctx context.Context, router any, d Dirs, timeout time.Duration, things ...string) string {
	b, _ := os.ReadFile(filepath.Join(d.State, ownerFile))
	self := ownerBy(d, strings.TrimSpace(string(b)), things)
	holder, err := ownedElsewhere(ctx, router, timeout, self)
	switch {
	case err != nil || holder == nil:
		return ""
	case holder.Host == self.Host:
		return holder.String() + ", which is this host, with other state or run directories than this command's"
	}
	return holder.String()
}

// ownerSecret reads the installation's id, or makes one.
func ownerSecret(path string) (string, error) {
	for range 2 {
		b, err := os.ReadFile(path)
		if id := strings.TrimSpace(string(b)); err == nil && len(id) == 2*link.OwnerIDLength {
			return id, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return rand.Text(), fmt.Errorf("read who this controller is: %w", err)
		}
		fresh := make([]byte, link.OwnerIDLength)
		_, _ = rand.Read(fresh) // it never fails
		if err := makeOnce(path, hex.EncodeToString(fresh)+"\n", err != nil); err != nil && !errors.Is(err, fs.ErrExist) {
			return rand.Text(), fmt.Errorf("write who this controller is: %w", err)
		}
	}
	return rand.Text(), fmt.Errorf("%s does not keep who this controller is: remove it", path)
}

// makeOnce writes a file, whole; one that is there wins where it is missing to us.
func makeOnce(path, content string, missing bool) error {
	if !missing { // damaged
		return replaceFile(path, []byte(content), true)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ownerFile+".new-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(content)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	_ = leaveToTheDirectory(tmp.Name())
	return os.Link(tmp.Name(), path)
}

// ownership carries a claim out beside a loop: each operation on a goroutine of its own, one at a time, over the loop's
// connection.
type ownership struct {
	claim   *actuate.Claim
	router  marker
	timeout time.Duration
	results chan actuate.MarkResult
	flying  bool
	making  bool            // a mark was asked for, and may be there whether or not we have heard of it
	ctx     context.Context //nolint:containedctx // the life of operations, which stop ends
	end     context.CancelFunc
	// withheld and holder are what the newest step said.
	withheld bool
	holder   *link.Owner
}

// own begins a claim on a router's things for somebody; nil where the router knows no marks.
func own(router any, timeout time.Duration, d Dirs, log *Log, who string, things ...string) *ownership {
	m, ok := router.(marker)
	if !ok {
		return nil
	}
	owner, err := OwnerOf(d, things...)
	if err != nil {
		log.Warn(err.Error() + "; after a restart " + who + " will have to wait until its own mark is old")
	}
	ctx, end := context.WithCancel(context.Background())
	return &ownership{
		claim: actuate.NewClaim(owner), router: m, timeout: timeout, results: make(chan actuate.MarkResult, 1), ctx: ctx, end: end, withheld: true,
	}
}

// claim begins the claim on a configuration's queues, in the place of the one before.
func (a *Autorate) claim(cfg *config.WAN) {
	a.owner.stop(false)
	a.owner = nil
	if !a.DryRun && cfg.Enabled {
		a.owner = own(a.router, cfg.Timeouts.Router, a.Dirs, a.log, "this controller", QueueThings(cfg)...)
	}
}

// QueueThings are what a WAN's controller writes on its router.
func QueueThings(cfg *config.WAN) []string {
	if q := cfg.Queues; q.Simple != "" {
		return []string{link.SimpleThing(q.Simple)}
	}
	return []string{link.QueueThing(cfg.Queues.Download), link.QueueThing(cfg.Queues.Upload)}
}

// RuleThings are what a steering switches on its router.
func RuleThings(cfg *config.Steering) (things []string) {
	for _, a := range cfg.Alternates {
		things = append(things, link.RuleThing(a.RuleComment))
	}
	return things
}

// claim begins the claim on a configuration's rules, in the place of the one before.
func (s *Steer) claim(cfg *config.Steering) {
	s.owner.stop(false)
	s.owner = nil
	if !s.DryRun {
		s.owner = own(s.router, cfg.Timeouts.Router, s.Dirs, s.log, "steering", RuleThings(cfg)...)
	}
}

// step lets the claim look at what happened, and begins what it wants. up says that the router answers other operations.
// changed says that writing may begin or must end.
func (o *ownership) step(now unit.Time, up bool, log *Log) (changed bool) {
	if o == nil {
		return false
	}
	in := actuate.ClaimInput{Now: now, Up: up, Session: o.router.Logins()}
	select {
	case r := <-o.results:
		o.flying = false
		in.Result = &r
	default:
	}
	out := o.claim.Step(in)
	logNotes(log, out.Notes)
	changed = out.Withheld != o.withheld
	o.withheld, o.holder = out.Withheld, out.Holder
	if out.Op != nil {
		o.flying, o.making = true, o.making || out.Op.Kind == actuate.MarkMake
		go func(op actuate.MarkOp) { o.results <- markExchange(o.ctx, o.router, o.timeout, op) }(*out.Op)
	}
	return changed
}

// settle carries the claim out at once, for a single cycle.
func (o *ownership) settle(now func() unit.Time, log *Log) {
	if o == nil {
		return
	}
	var result *actuate.MarkResult
	for range mostMarkOps {
		out := o.claim.Step(actuate.ClaimInput{Now: now(), Up: true, Session: o.router.Logins(), Result: result})
		logNotes(log, out.Notes)
		o.withheld, o.holder = out.Withheld, out.Holder
		if out.Op == nil {
			return
		}
		r := markExchange(o.ctx, o.router, o.timeout, *out.Op)
		result = &r
	}
}

// mostMarkOps bounds what is done at once: a look, the removal of what is old, our mark, and a look at it.
const mostMarkOps = 8

// elsewhere is who controls the router in our place, at an exit: nil for nobody, or where it cannot be told.
func (o *ownership) elsewhere() *link.Owner {
	switch {
	case o == nil || !o.withheld:
		return nil
	case o.holder != nil:
		return o.holder
	}
	o.landed() // its answer is near
	holder, _ := ownedElsewhere(o.ctx, o.router, o.timeout, o.claim.Self())
	return holder
}

// stop ends the claim: an operation under way is cut off, and its goroutine has ended. leave also removes our mark, if it is
// ours.
func (o *ownership) stop(leave bool) {
	if o == nil {
		return
	}
	if op := o.claim.Leave(); leave && (op != nil || o.making) {
		o.landed() // its answer is near
		if op != nil {
			_ = markExchange(o.ctx, o.router, o.timeout, *op) // it would go by itself
		} else {
			removeMarks(o.router, o.timeout, o.claim.Self())
		}
	}
	o.end()
	o.landed()
}

// landed waits for the operation under way.
func (o *ownership) landed() {
	if o.flying {
		<-o.results
		o.flying = false
	}
}

// ours says that writing may go on, and else who may write, where that is known.
func (o *ownership) ours() (bool, string) {
	switch {
	case o == nil:
		return true, ""
	case o.holder != nil:
		return false, o.holder.String()
	}
	return !o.withheld, ""
}

// why is what a status says of a controller that may not write.
func (o *ownership) why() string {
	if o == nil || o.holder == nil {
		return ""
	}
	return controlledBy(o.holder) + ", and measuring goes on"
}

// controlledBy says that another controller writes.
func controlledBy(o *link.Owner) string {
	return fmt.Sprintf("the router is controlled by %s: nothing is written there", o)
}

// markExchange is one operation on a router's marks, with its error classed.
func markExchange(ctx context.Context, router marker, timeout time.Duration, op actuate.MarkOp) actuate.MarkResult {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res := actuate.MarkResult{Op: op}
	switch op.Kind {
	case actuate.MarkLook:
		var marks []routeros.Mark
		marks, res.Err = router.Marks(ctx)
		res.Marks = marksOf(marks)
	case actuate.MarkMake:
		res.Err = router.MakeMark(ctx, op.Address, op.Comment)
		res.Taken = routeros.HasMark(res.Err)
	case actuate.MarkRefresh:
		res.Err = router.RefreshMark(ctx, op.ID)
		res.Gone = routeros.IsGone(res.Err)
	case actuate.MarkRemove:
		res.Err = router.RemoveMark(ctx, op.ID)
	}
	res.Class, _ = classify(res.Err)
	return res
}

func marksOf(marks []routeros.Mark) []actuate.Mark {
	out := make([]actuate.Mark, 0, len(marks))
	for _, m := range marks {
		owner, known := link.ParseOwner(m.Comment)
		out = append(out, actuate.Mark{ID: m.ID, Address: m.Address, Owner: owner, Known: known, Left: m.Left})
	}
	return out
}

// vacate is what comes before somebody's command writes to a router: another controller's things are not touched. done
// removes our own mark afterwards, so that nobody waits for it.
func vacate(router any, timeout time.Duration, self link.Owner) (done func(), holder *link.Owner) {
	holder, err := ownedElsewhere(context.Background(), router, timeout, self)
	if err != nil || holder != nil { // a router without marks has no other controllers that could be seen
		return func() {}, holder
	}
	return func() {
		if m, ok := router.(marker); ok {
			removeMarks(m, timeout, self)
		}
	}, nil
}

// removeMarks removes our own marks, which would go by themselves.
func removeMarks(router marker, timeout time.Duration, self link.Owner) {
	address := link.MarkAddress(self.Controls...)
	for _, mark := range markExchange(context.Background(), router, timeout, actuate.MarkOp{Kind: actuate.MarkLook}).Marks {
		if mark.Known && mark.Owner.ID == self.ID && mark.Address == address {
			_ = markExchange(context.Background(), router, timeout, actuate.MarkOp{Kind: actuate.MarkRemove, ID: mark.ID})
		}
	}
}

// ownedElsewhere names another controller of the same things that is alive, as far as the router tells; nil for none.
func ownedElsewhere(ctx context.Context, router any, timeout time.Duration, self link.Owner) (*link.Owner, error) {
	m, ok := router.(marker)
	if !ok {
		return nil, nil
	}
	res := markExchange(ctx, m, timeout, actuate.MarkOp{Kind: actuate.MarkLook})
	if res.Err != nil {
		return nil, res.Err
	}
	return actuate.HolderOf(res.Marks, self), nil
}
