package cake

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Kind is what went wrong.
type Kind uint8

// The kinds of failure.
const (
	// Other is anything the kernel says that has no kind of its own.
	Other Kind = iota
	// Permission is a missing capability: CAP_NET_ADMIN to change a queue, CAP_SYS_ADMIN to enter a namespace.
	Permission
	// NoSuchNamespace, NoSuchInterface and NoSuchClass name something that is not there.
	NoSuchNamespace
	NoSuchInterface
	NoSuchClass
	// NotCake is an interface whose own qdisc is another kind, which the error names.
	NotCake
	// Gone is a CAKE qdisc that was there when it was read last, and is not any more.
	Gone
	// NoModule is a kernel that does not know a kind of qdisc, filter or interface.
	NoModule
	// Range is a rate the kernel cannot be asked for.
	Range
	// Mismatch is a change that was accepted and reads back otherwise.
	Mismatch
	// Reply is an answer that makes no sense.
	Reply
)

var kindNames = [...]string{
	Other: "kernel error", Permission: "permission denied", NoSuchNamespace: "no such namespace", NoSuchInterface: "no such interface",
	NoSuchClass: "no such class", NotCake: "not CAKE", Gone: "CAKE is gone", NoModule: "not in this kernel", Range: "out of range",
	Mismatch: "read-back differs", Reply: "unusable reply",
}

// String returns the kind in words: "no such interface".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Error is a failure with its operation, its object and a way out.
type Error struct {
	Kind  Kind
	Op    string // "set rate of class"
	Thing string // "1:1 of eth0"
	NetNS string // "" is the caller's own
	Hint  string
	// Sent says that the kernel was given a change before it failed.
	Sent bool
	// Read says which directions of the report that came with this error were read back and stand.
	Read link.Pair[bool]
	Err  error
}

// Error says all of it in one line.
func (e *Error) Error() string {
	s := e.Op + " " + e.Thing
	if e.NetNS != "" && e.Thing != e.NetNS {
		s += " in namespace " + e.NetNS
	}
	s += ": " + e.Err.Error()
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var (
	errReply    = errors.New("unexpected answer of the kernel")
	errReadBack = errors.New("the kernel has another rate than it was given")
	errRate     = errors.New("rate out of bounds")
	errNotCake  = errors.New("its own qdisc is not CAKE")
	errNoModule = errors.New("this kernel has no such thing")
	errGone     = errors.New("its CAKE qdisc is gone")
)

func (c *Conn) fail(op, thing string, err error) error {
	e := &Error{Op: op, Thing: thing, NetNS: c.where, Err: err}
	class := strings.HasSuffix(op, "class")
	change := !strings.HasPrefix(op, "read")
	switch {
	case errors.Is(err, errReply):
		e.Kind = Reply
	case errors.Is(err, errReadBack):
		e.Kind, e.Hint = Mismatch, "does something else change this class?"
	case errors.Is(err, errGone):
		e.Kind, e.Hint = Gone, "`wanctl qdisc plan FILE` shows what is missing, `wanctl qdisc apply FILE` makes it"
	case errors.Is(err, errNotCake):
		e.Kind, e.Hint = NotCake, "`wanctl qdisc plan FILE` says what to do"
	case errors.Is(err, errRate):
		e.Kind, e.Hint = Range, fmt.Sprintf("from %d bit/s to %d Mbit/s", int64(MinRate), int64(unit.MaxRate/unit.Mbps))
	case errors.Is(err, os.ErrPermission):
		e.Kind, e.Hint = Permission, "needs CAP_NET_ADMIN, and CAP_SYS_ADMIN to enter another namespace: run as root"
		if c.where == "" {
			e.Hint = "needs CAP_NET_ADMIN: run as root, or give the service that capability (AmbientCapabilities=CAP_NET_ADMIN)"
		}
	case op == "open the network namespace" && errors.Is(err, os.ErrNotExist):
		e.Kind, e.Hint = NoSuchNamespace, "`ip netns` lists those there are"
	case errors.Is(err, unix.ENODEV):
		e.Kind, e.Hint = NoSuchInterface, "`ip link` lists those there are"
	case errors.Is(err, errNoModule):
		e.Kind, e.Hint = NoModule, "the kernel needs sch_cake, sch_ingress, cls_matchall, act_mirred and ifb (Linux 4.19 or newer has them all; "+
			"a package such as linux-modules-extra or kmod-sched-cake may hold them)"
	case change && !class && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EINVAL)):
		// A change names the handle that was just read: these mean that the qdisc is not the same any more.
		e.Kind, e.Hint = Gone, "it was replaced or removed while it was changed; `wanctl qdisc plan FILE` shows what is there"
	case class && errors.Is(err, unix.ENOENT):
		e.Kind, e.Hint = NoSuchClass, "`tc class show dev IF` lists those there are; it must be of kind htb"
	}
	return e
}
