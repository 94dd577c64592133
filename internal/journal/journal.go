// Package journal is the format of the flight recorder: what went into one line's loop and what came out of it, call by
// call, so that the loop can be run again over the same inputs.
//
// A file is a line of text that names the version, and blocks; a block is a length, a CRC-32C and records; a record is a
// length, a kind and its fields, in variable-length integers, times and counters as differences. Only times, sizes and
// texts are bounded by the format: see docs/journal.md.
package journal

import (
	"errors"
	"fmt"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Version is what this package writes. A reader takes every version up to it and refuses a later one.
const Version = 1

// Limits of the format.
const (
	// MaxBlock bounds a block, in bytes: a header with the largest configuration and state fits.
	MaxBlock = 4 << 20
	// MaxText bounds the text of a note or an error. A longer one is cut.
	MaxText = 4096
	// maxNotes bounds the notes of one call.
	maxNotes = 64
	// maxHosts bounds the list of reflectors.
	maxHosts = 64
)

// ErrFormat marks what is no journal, or one that cannot be trusted.
var ErrFormat = errors.New("not a journal this version of wanctl can read")

// Record is one entry: a *[Header], *[Image], *[Call], *[Reconfigure], *[Probes], *[Router],
// *[Yield] or *[End].
type Record interface{ kind() recordKind }

type recordKind uint8

// The kinds of records. A number is never used again for something else.
const (
	kindHeader      recordKind = 1
	kindCall        recordKind = 2
	kindReconfigure recordKind = 3
	kindProbes      recordKind = 4
	kindRouter      recordKind = 5
	kindEnd         recordKind = 6
	kindImage       recordKind = 7
	kindYield       recordKind = 8
)

// Source is what made a journal.
type Source string

// The sources.
const (
	// FromAutorate was recorded by a controller at work.
	FromAutorate Source = "autorate"
	// FromRecord was recorded by `wanctl record`, which never writes to a router.
	FromRecord Source = "record"
	// FromSimulation was recorded in virtual time.
	FromSimulation Source = "simulation"
	// FromImport is another program's recording, with this program's decisions on it.
	FromImport Source = "import"
)

// Header begins every file. With its state it is what a loop started from.
type Header struct {
	// Program is wanctl's version, WAN the line's name.
	Program string
	WAN     string
	Source  Source
	// Boot names the boot of the host, Run the instant at which the recording began: together they name the recording.
	Boot string
	Run  unit.Time
	// Segment numbers the files of a recording from 0. Lost is how many records were lost before this one, because the
	// disk was too slow.
	Segment int
	Lost    uint64
	// Midway says that the loop had run before the recording began: State is then not all it knew, an [Image] is.
	Midway bool
	// Now is the instant this file begins at, and Wall the time of day then.
	Now  unit.Time
	Wall time.Time
	// Reflectors are the probed hosts; replies name them by index.
	Reflectors []string
	// Config is the configuration without secrets and comments, as [wanctl/internal/config.WAN.Text] has it.
	Config string
	// DryRun says that nothing could be written to the router; Burst and Daily are the line's share of its budgets.
	DryRun       bool
	Burst, Daily int
	// State is the content of a state file, nil for none.
	State []byte
}

func (*Header) kind() recordKind { return kindHeader }

// Image follows the header of a file that a loop was already at work for: all that it knew, for programs whose types have
// the same layout.
type Image struct {
	Layout uint64
	Data   []byte
}

func (*Image) kind() recordKind { return kindImage }

// CallKind is which of a loop's calls was made.
type CallKind uint8

// The calls.
const (
	// Tick is a cycle.
	Tick CallKind = iota
	// Deliver hands in the result of a router operation.
	Deliver
	// Wake is everything else: a reply arrived, or a wait is over.
	Wake
)

// String returns "tick", "deliver" or "wake".
func (k CallKind) String() string {
	switch k {
	case Tick:
		return "tick"
	case Deliver:
		return "deliver"
	case Wake:
		return "wake"
	}
	return fmt.Sprintf("CallKind(%d)", uint8(k))
}

// Call is one call of a loop: what went in, and what came out.
type Call struct {
	Kind CallKind
	Now  unit.Time
	// Replies, Probes and Counters are what the call took from the probes and from the line, in the order it got them.
	Replies  []link.Reply
	Probes   []link.Probe
	Counters []link.Counters
	// Result and Jitter are a Deliver's.
	Result actuate.Result
	Jitter float64
	// Outside is what was told beside them; zero in files of before there was such a thing.
	Outside link.Outside
	Output
}

func (*Call) kind() recordKind { return kindCall }

// Output is what a call answered.
type Output struct {
	// Decision is a Tick's, without its notes.
	Decision link.Decision
	// Wanted is what the line shall be shaped to.
	Wanted link.Rates
	// Law is the state of the policy that tracks capacity; zero under steps.
	Law Law
	// HasOp says that the router operation Op is to be carried out.
	HasOp bool
	Op    actuate.Op
	// Wake is when to call again if nothing happens before; 0 is never.
	Wake  unit.Time
	Notes []link.Note
}

// Law is what a policy that tracks capacity has found out.
type Law struct {
	// Capacity is what was last measured.
	Capacity link.Rates
	// Cause is why the rates are what they are, Queue where a queue is being drained.
	Cause link.Pair[link.Cause]
	Queue link.Pair[bool]
}

// Reconfigure is a reload that was taken over.
type Reconfigure struct {
	Now          unit.Time
	Config       string
	DryRun       bool
	Burst, Daily int
	Reflectors   []string
}

func (*Reconfigure) kind() recordKind { return kindReconfigure }

// Probes says that other probes took the place of the old ones.
type Probes struct{ Now unit.Time }

func (*Probes) kind() recordKind { return kindProbes }

// Router says that operations go to another router from here on.
type Router struct{ Now unit.Time }

func (*Router) kind() recordKind { return kindRouter }

// Yield says that another controller writes to the router from here on, or that it is not known yet that none does; off, that
// this one does.
// It tells no time: readers of before it was there pass it over, and times are differences.
type Yield struct{ On bool }

func (*Yield) kind() recordKind { return kindYield }

// End closes a file in good order. A file without one was cut off.
type End struct {
	Now unit.Time
	// More says that the recording goes on in the next segment.
	More bool
	// Why is for people.
	Why string
}

func (*End) kind() recordKind { return kindEnd }
