package routeros

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"wanctl/internal/link"
)

// Kind is what kind of failure an [Error] is: a closed list, so that a caller can decide by it.
type Kind uint8

// The kinds. The zero Kind belongs to no error.
const (
	// Unreachable: no connection, or it ended before anything was sent. Trying again later is right.
	Unreachable Kind = iota + 1
	// Auth: the router refused our credentials, or our key or password could not be read. Trying again is useless
	// and fills the router's log.
	Auth
	// HostKey: the router's host key is unknown or is not the recorded one. No secret was sent.
	HostKey
	// Certificate: the router has none, or one that is neither pinned nor verified. No secret was sent.
	Certificate
	// NoSuchItem: no queue or rule carries the name or comment.
	NoSuchItem
	// Ambiguous: more than one does; nothing was changed there.
	Ambiguous
	// Permission: the router's user may not do this.
	Permission
	// Syntax: the router does not understand the command or a value, or this package refused to send it.
	Syntax
	// Timeout: no answer in time, or the caller gave up. The connection was closed.
	Timeout
	// Lost: the connection ended after the command had been sent.
	Lost
	// Mismatch: the router's read-back differs from what was written.
	Mismatch
	// Reply: the answer is incomplete, too long, or a failure this package has no kind for.
	Reply
)

var kindNames = [...]string{
	Unreachable: "unreachable", Auth: "authentication failed", HostKey: "host key", Certificate: "certificate", NoSuchItem: "no such item",
	Ambiguous: "ambiguous", Permission: "permission denied", Syntax: "syntax", Timeout: "timeout",
	Lost: "connection lost", Mismatch: "read-back differs", Reply: "unusable reply",
}

// String returns the kind in words: "no such item".
func (k Kind) String() string {
	if k > 0 && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Error is every error this package returns. It never holds a password or a private key.
type Error struct {
	Kind Kind
	// Op is what was tried ("set rates"), Router is user@host:port, and Command what was to be sent, of several the last
	// or, where nothing was, the first; empty when the failure came before there was one.
	Op, Router, Command string
	// Reply is what the router said, on one line and of bounded length; empty when it said nothing.
	Reply string
	// Hint is the way out, in a sentence or a command; may be empty.
	Hint string
	// Sent says that the command had left when it failed. A write that ends in Lost, Timeout or Reply with Sent set
	// may or may not have happened: read before writing again.
	Sent bool
	// Read says which directions of the report that came with this error were read back and stand, for an
	// Exchange that failed in part.
	Read link.Pair[bool]
	// gone says that the item of a change may not be there: REST answers so where a right is missing, too.
	gone bool
	// Err is the cause; never nil.
	Err error
}

// Error prints operation, router, kind, cause, reply and hint. The command is left out for its length.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on router %s: %s: %v", e.Op, e.Router, e.Kind, e.Err)
	if e.Reply != "" {
		fmt.Fprintf(&b, "; the router said %q", e.Reply)
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// maxQuoted bounds what an error repeats of a router's reply, in bytes: enough for RouterOS's longest known text.
const maxQuoted = 300

// clip makes router text fit for a log: one line, no control characters, at most maxQuoted bytes.
func clip(s string) string {
	s = strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n"))
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(" / ")
		case r == utf8.RuneError || unicode.IsControl(r):
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
		if b.Len() >= maxQuoted {
			b.WriteString("…")
			break
		}
	}
	return b.String()
}

// phrases types RouterOS's error texts, newest spellings and old ones, lower case. The first hit counts. They only
// name a failure: that there was one is known from the missing marks, the exit status or the text itself.
var phrases = []struct {
	text string
	kind Kind
}{
	{"not enough permissions", Permission},
	{"not allowed", Permission},
	{"permission denied", Permission},
	{"no such item", NoSuchItem},
	{"expected item id", NoSuchItem},
	{"action timed out", Timeout},
	{"interrupted", Lost},
	{"bad command name", Syntax},
	{"syntax error", Syntax},
	{"expected end of command", Syntax},
	{"expected command name", Syntax},
	{"expected closing", Syntax},
	{"bad parameter", Syntax},
	{"unknown parameter", Syntax},
	{"missing closing", Syntax},
	{"missing value", Syntax},
	{"no such command", Syntax},
	{"invalid value", Syntax},
	{"invalid internal item number", NoSuchItem},
	{"input does not match", Syntax},
	{"ambiguous value", Syntax},
	{"out of range", Syntax},
	{"contents too long", Syntax},
	{"script error", Syntax},
	{"failure:", Reply},
}

// classify types a text the router printed beside or instead of the marks; ok is false for a text that is not a
// known error.
func classify(text string) (Kind, bool) {
	text = strings.ToLower(text)
	for _, p := range phrases {
		if strings.Contains(text, p.text) {
			return p.kind, true
		}
	}
	return Reply, false
}

// ourFault is the way out where a guard kept what our own code had built.
const ourFault = "this is a fault of wanctl's: please report it"

// hintFor is the way out of an error the router itself reported.
func hintFor(k Kind, o Options) string {
	switch k {
	case Permission:
		return fmt.Sprintf("give the group of user %q the policies %[2]s (/user/group/set GROUP policy=%[2]s), "+
			"then end its open sessions: rights are fixed at login", o.User, o.Transport.policies())
	case Syntax:
		return "wanctl needs RouterOS 7.12 or newer; please report the version (/system/resource/print) with this text"
	case NoSuchItem:
		return "the item vanished while the command ran; look whether somebody is editing the router"
	case Timeout, Lost, Reply:
		return "look at the router's log (/log/print) and its load"
	case Unreachable, Auth, HostKey, Certificate, Ambiguous, Mismatch:
	}
	return ""
}

// policies are the rights a user needs for a door.
func (t Transport) policies() string {
	switch t {
	case API:
		return "read,write,api"
	case REST:
		return "read,write,api,rest-api"
	case SSH, Auto:
	}
	return "read,write,ssh"
}
