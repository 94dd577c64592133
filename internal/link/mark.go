package link

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A controller leaves a mark on the router whose queues or rule it writes, so that a second one does not write there, too,
// and so that the router knows when it is gone: an entry of an address list that lives in RAM and goes by itself.

const (
	// MarkList is the address list of the marks. No rule may use it.
	MarkList = "wanctl-owner"
	// SteerLists begins the names of the lists that switch the steering to a line.
	SteerLists = "wanctl-steer-"
	// MarkLife is how long a mark stays on the router after it was set or refreshed.
	MarkLife = 10 * time.Minute
	// OwnerIDLength is the length of an owner's id in hexadecimal digits.
	OwnerIDLength = 16
)

// SteerList is the address list whose entries switch the steering to a line, where lists do that.
func SteerList(line string) string { return SteerLists + line }

// Owner is who left a mark.
type Owner struct {
	// ID tells one installation of wanctl from another, and stays the same over restarts: OwnerIDLength hexadecimal digits.
	ID string
	// Host is the name of its host, PID its process: for people.
	Host string
	PID  int
	// Controls are the things that it writes: see [QueueThing], [SimpleThing] and [RuleThing].
	Controls []string
}

// QueueThing names a queue among the things that an owner controls, by its name on the router.
func QueueThing(name string) string { return "queue=" + escape(name) }

// SimpleThing names a simple queue, by its name.
func SimpleThing(name string) string { return "simple=" + escape(name) }

// RuleThing names a mangle rule by its comment.
func RuleThing(comment string) string { return "rule=" + escape(comment) }

// String is the owner as a person is told of it.
func (o Owner) String() string { return fmt.Sprintf("wanctl on %s (process %d)", o.Host, o.PID) }

// Comment is the text of the owner's mark, in plain characters whatever the names hold.
func (o Owner) Comment() string {
	return strings.Join(append([]string{"wanctl:", "owner=" + o.ID, "host=" + escape(o.Host), "pid=" + strconv.Itoa(o.PID)}, o.Controls...), " ")
}

// ParseOwner reads what [Owner.Comment] wrote; false for anything else.
func ParseOwner(comment string) (o Owner, ok bool) {
	words := strings.Split(comment, " ")
	if len(words) < 5 || words[0] != "wanctl:" {
		return Owner{}, false
	}
	for i, key := range []string{"owner=", "host=", "pid="} {
		value, has := strings.CutPrefix(words[1+i], key)
		if !has || value == "" {
			return Owner{}, false
		}
		words[1+i] = value
	}
	pid, err := strconv.Atoi(words[3])
	if err != nil || pid <= 0 || len(words[1]) != OwnerIDLength || strings.Trim(words[1], "0123456789abcdef") != "" {
		return Owner{}, false
	}
	for _, thing := range words[4:] {
		if kind, _, ok := strings.Cut(thing, "="); !ok || !slices.Contains([]string{"queue", "simple", "rule"}, kind) {
			return Owner{}, false
		}
	}
	return Owner{ID: words[1], Host: words[2], PID: pid, Controls: words[4:]}, true
}

// Overlaps says whether the owner controls one of these things.
func (o Owner) Overlaps(things []string) bool {
	return slices.ContainsFunc(o.Controls, func(t string) bool { return slices.Contains(things, t) })
}

// MarkAddress is the address of the mark of whoever controls these things, in whatever order: the same for every
// installation, because two entries of one list cannot have one address. It is in 240.0.0.0/5, which is reserved (RFC 1112,
// section 4): no host has such an address, so that no packet ever matches, and there is room for a hash, which the
// documentation networks with their 256 addresses have not.
func MarkAddress(things ...string) string {
	sum := fnv.New32a()
	for _, t := range slices.Sorted(slices.Values(things)) {
		_, _ = sum.Write([]byte(t + "\n")) // it never fails
	}
	h := sum.Sum32()
	return fmt.Sprintf("%d.%d.%d.%d", 240|h>>24&7, h>>16&0xff, h>>8&0xff, h&0xff)
}

// longestWord bounds a name in a mark, in bytes; of a longer one the beginning and a hash stand there.
const longestWord = 96

// escape spells a name in letters, digits and a few signs, which need no quoting anywhere.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	if b.Len() <= longestWord {
		return cmp.Or(b.String(), "-")
	}
	return b.String()[:longestWord-16] + "~" + strings.ReplaceAll(MarkAddress(s), ".", "-")
}
