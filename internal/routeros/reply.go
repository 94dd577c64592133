package routeros

import (
	"fmt"
	"strings"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// reply is a router's answer, taken apart. A nil field was not answered.
type reply struct {
	// found counts the items each name matched, in the order of the command.
	found []int64
	// set says which writes the router went through without an error.
	set    map[string]bool
	queues link.Pair[*link.Queue]
	wan    *[2]unit.Bytes // received, sent
	uptime *time.Duration
	rule   *Rule
	// target is the simple queue's, and way the interface that a line which names none has for its WAN.
	target []string
	way    string
	// entries is how many a rule's list has.
	entries *int64
	path    Path
	marks   []Mark
	end     bool
	// at is the middle of the round trip that read the counters.
	at unit.Time
	// text is everything that is not ours: an error's text, or a notice.
	text string
}

// parseReply reads the marked lines of an answer and collects everything else as text. It fails for marked lines that
// are cut, doubled, unknown, or hold values we cannot read.
func parseReply(out string) (reply, error) {
	r := reply{set: map[string]bool{}}
	var text []string
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, " \t\r\n")
		body, ours := strings.CutPrefix(line, mark)
		if !ours {
			if strings.TrimSpace(line) != "" {
				text = append(text, strings.TrimSpace(line))
			}
			continue
		}
		body, whole := strings.CutSuffix(body, stop)
		if !whole {
			return r, fmt.Errorf("the line %q is cut", clip(line))
		}
		if err := r.take(strings.Split(body, "|")); err != nil {
			return r, fmt.Errorf("the line %q: %w", clip(line), err)
		}
	}
	r.text = strings.Join(text, "\n")
	return r, nil
}

// take enters one marked line.
func (r *reply) take(f []string) error {
	word := f[0]
	if r.end {
		return fmt.Errorf("comes after the end")
	}
	switch {
	case word == "found" && r.found == nil && len(f) > 1:
		for _, s := range f[1:] {
			n, err := parseCount(s)
			if err != nil {
				return err
			}
			r.found = append(r.found, n)
		}
		return nil
	case word == "set" && len(f) == 2 && !r.set[f[1]]:
		r.set[f[1]] = true
		return nil
	case word == "queue" && len(f) >= 9:
		for d := link.Down; d <= link.Up; d++ {
			if f[1] == d.String() && r.queues.Get(d) == nil {
				q, err := parseQueue(f[2:])
				r.queues.Set(d, q)
				return err
			}
		}
	case word == "simple" && r.queues.Down == nil && r.queues.Up == nil && len(f) == 9:
		return r.simple(f[1:])
	case word == "wan" && r.wan == nil && len(f) == 3:
		rx, err := parseCount(f[1])
		if err != nil {
			return err
		}
		tx, err := parseCount(f[2])
		r.wan = &[2]unit.Bytes{unit.Bytes(rx), unit.Bytes(tx)}
		return err
	case word == "uptime" && r.uptime == nil && len(f) == 2:
		d, err := parseDuration(f[1])
		r.uptime = &d
		return err
	case word == "list" && r.entries == nil && len(f) == 2:
		n, err := parseCount(f[1])
		r.entries = &n
		return err
	case word == "rule" && r.rule == nil && len(f) >= 9:
		rule, err := parseRule(f[1:])
		r.rule = rule
		return err
	case word == "echo" && len(f) == 3 && len(r.path.Echoes) < mostEchoes:
		e, err := parseEcho(f[1:])
		r.path.Echoes = append(r.path.Echoes, e)
		return err
	case word == "address" && len(f) >= 3:
		a, err := parseOwn(f[1:])
		r.path.Addresses = append(r.path.Addresses, a)
		return err
	case word == "mark" && len(f) >= 5 && len(r.marks) < mostMarks:
		m, err := parseMark(f[1:])
		r.marks = append(r.marks, m)
		return err
	case word == "end" && len(f) == 1:
		r.end = true
		return nil
	}
	return fmt.Errorf("unexpected here")
}

// parseQueue reads the fields max-limit, bytes, packets, dropped, queued-bytes, queued-packets and parent.
func parseQueue(f []string) (*link.Queue, error) {
	limit, err := parseRate(f[0])
	if err != nil {
		return nil, fmt.Errorf("max-limit: %w", err)
	}
	names := []string{"bytes", "packets", "dropped", "queued-bytes", "queued-packets"}
	var n [5]int64
	for i, name := range names {
		if n[i], err = parseCount(f[1+i]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return &link.Queue{
		MaxLimit: limit, Bytes: unit.Bytes(n[0]), Packets: n[1], Dropped: n[2],
		QueuedBytes: unit.Bytes(n[3]), QueuedPackets: n[4],
		Parent: strings.Join(f[6:], "|"),
	}, nil
}

// parseRule reads the fields id, disabled, invalid, chain, action, connection-state, new-connection-mark, new-routing-mark and
// src-address-list. A chain or mark whose name holds a bar cannot be told apart and is refused.
func parseRule(f []string) (*Rule, error) {
	if len(f) != 9 {
		return nil, fmt.Errorf("%d fields instead of 9", len(f))
	}
	id := f[0]
	if !isID(id) {
		return nil, fmt.Errorf("%q is not an item id", clip(id))
	}
	disabled, err := parseBool(f[1])
	if err != nil {
		return nil, fmt.Errorf("disabled: %w", err)
	}
	if f[1] == "" {
		return nil, fmt.Errorf("disabled is empty")
	}
	invalid, err := parseBool(f[2])
	if err != nil {
		return nil, fmt.Errorf("invalid: %w", err)
	}
	return &Rule{
		Enabled: !disabled, Invalid: invalid, ID: id, Chain: f[3], Action: f[4],
		ConnectionState: f[5], NewConnectionMark: f[6], NewRoutingMark: f[7], SrcAddressList: f[8],
	}, nil
}

// isID says whether s is an item's id: a star and upper-case hexadecimal digits.
func isID(s string) bool {
	hex, ok := strings.CutPrefix(s, "*")
	return ok && hex != "" && len(hex) <= 16 && strings.Trim(hex, "0123456789ABCDEF") == ""
}
