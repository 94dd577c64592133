package policy

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Kind is what went wrong.
type Kind uint8

// The kinds of failure.
const (
	// Other is anything the kernel says that has no kind of its own.
	Other Kind = iota
	// Permission is a missing CAP_NET_ADMIN.
	Permission
	// NoModule is a kernel that lacks something.
	NoModule
	// Missing is a table that is not there: nothing was set up, or somebody took it away.
	Missing
	// Refused is a plan that something stands in the way of.
	Refused
	// Mismatch is a change that was accepted and reads back otherwise.
	Mismatch
)

var kindNames = [...]string{
	Other: "kernel error", Permission: "permission denied", NoModule: "not in this kernel", Missing: "not set up", Refused: "in the way",
	Mismatch: "read-back differs",
}

// String returns the kind in words.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Error is a failure with its operation and a way out.
type Error struct {
	Kind Kind
	Op   string
	Hint string
	Err  error
}

// Error says all of it in one line.
func (e *Error) Error() string {
	s := e.Op + ": " + e.Err.Error()
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var (
	errMissing  = errors.New("wanctl's nftables table is not there")
	errReadBack = errors.New("the kernel tells something else than it was given")
)

func fail(op string, err error) error {
	e := &Error{Op: op, Err: reason(err)}
	switch {
	case errors.Is(err, os.ErrPermission):
		e.Kind, e.Hint = Permission, "needs CAP_NET_ADMIN: run as root, or give the service that capability (AmbientCapabilities=CAP_NET_ADMIN)"
	case errors.Is(err, errMissing):
		e.Kind, e.Hint = Missing, "`wanctl policy apply FILE` makes it, and so does `wanctl steer` within a cycle"
	case errors.Is(err, errReadBack):
		e.Kind, e.Hint = Mismatch, "does something else change it? `wanctl policy plan FILE` says what differs"
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT),
		isNone(err) && strings.HasPrefix(op, "make the nftables"):
		e.Kind, e.Hint = NoModule, "the kernel needs nf_tables with inet tables, nft_ct, nft_chain_nat, nft_masq and nf_conntrack, and policy routing "+
			"(CONFIG_IP_MULTIPLE_TABLES): Linux 5.4 or newer has them all, in packages such as linux-modules-extra or kmod-nft-nat"
	}
	return e
}

// IsMissing says that what was asked for is not there, because the table was not made yet or was taken away.
func IsMissing(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == Missing
}

// blocked is what stands in a plan's way.
func blocked(problems []string) error {
	return &Error{Kind: Refused, Op: "apply", Err: errors.New(strings.Join(problems, "; ")), Hint: "nothing was changed"}
}
