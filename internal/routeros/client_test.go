package routeros

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

func TestExchangeReadsAndWrites(t *testing.T) {
	s := start(t, &server{password: secret, handle: say(figures(95*unit.Mbps, 18*unit.Mbps), 0)})
	o := s.options(t)
	var clock atomic.Int64
	o.Now = func() unit.Time { return unit.Time(clock.Add(100)) } // 100 before, 200 after: the middle is 150
	c := dialer(t, o)
	if c.Connected() || c.Logins() != 0 || s.logins.Load() != 0 {
		t.Error("New connected")
	}
	got, err := c.Exchange(t.Context(), att, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := link.Report{
		At:     150,
		Uptime: 26*time.Hour + 3*time.Minute + 4*time.Second,
		Pair: link.Pair[link.Queue]{
			Down: link.Queue{MaxLimit: 95 * unit.Mbps, Bytes: 1000, Packets: 10, QueuedBytes: 1514, QueuedPackets: 1, Parent: "bridge"},
			Up:   link.Queue{MaxLimit: 18 * unit.Mbps, Bytes: 2000, Packets: 20, Parent: "ether1"},
		},
		HasWAN: true, WANRx: 3000, WANTx: 4000,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("report (-want +got):\n%s", d)
	}
	if _, err := c.Exchange(t.Context(), att, &link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}); err != nil {
		t.Fatal(err)
	}
	wantLines := []string{
		built(exchangeLine(att, nil, downFirst)),
		built(exchangeLine(att, &link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}, downFirst)),
	}
	if d := cmp.Diff(wantLines, s.sent()); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
	if s.logins.Load() != 1 || c.Logins() != 1 || !c.Connected() {
		t.Errorf("%d logins for two commands", s.logins.Load())
	}
	if c.String() != "wanctl@"+s.addr() {
		t.Errorf("called %s", c)
	}
}

// TestDecreaseGoesFirst: the direction whose rate falls is written before the one that rises.
func TestDecreaseGoesFirst(t *testing.T) {
	const m = unit.Mbps
	for _, tt := range []struct {
		name       string
		have, want link.Rates
		upFirst    bool
	}{
		{"down falls", link.Rates{Down: 90 * m, Up: 10 * m}, link.Rates{Down: 80 * m, Up: 12 * m}, false},
		{"up falls", link.Rates{Down: 90 * m, Up: 10 * m}, link.Rates{Down: 95 * m, Up: 8 * m}, true},
		{"up falls, down stays", link.Rates{Down: 90 * m, Up: 10 * m}, link.Rates{Down: 90 * m, Up: 8 * m}, true},
		{"both fall", link.Rates{Down: 90 * m, Up: 10 * m}, link.Rates{Down: 80 * m, Up: 8 * m}, false},
		{"both rise", link.Rates{Down: 90 * m, Up: 10 * m}, link.Rates{Down: 95 * m, Up: 12 * m}, false},
		{"up was unlimited", link.Rates{Down: 90 * m, Up: 0}, link.Rates{Down: 95 * m, Up: 18 * m}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answers := []string{figures(tt.have.Down, tt.have.Up), figures(tt.want.Down, tt.want.Up)}
			var n atomic.Int64
			s, c := scripted(t, func(c *call) { say(answers[n.Add(1)-1], 0)(c) })
			for _, w := range []*link.Rates{nil, &tt.want} {
				if _, err := c.Exchange(t.Context(), att, w); err != nil {
					t.Fatal(err)
				}
			}
			line := s.sent()[1]
			if got := strings.Index(line, "tree set $u") < strings.Index(line, "tree set $d"); got != tt.upFirst {
				t.Errorf("upload first is %t: %s", got, line)
			}
		})
	}
}

func TestOneQueueMissing(t *testing.T) {
	out := strings.Replace(figures(95*unit.Mbps, 1), "found|1|1", "found|1|0", 1)
	lines := strings.SplitAfter(out, "\r\n")
	out = lines[0] + "wanctl|set|download|.\r\n" + lines[1] + strings.Join(lines[4:], "")
	_, c := scripted(t, say(out, 0))
	report, err := c.Exchange(t.Context(), att, &link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps})
	e := failure(t, err, NoSuchItem, `"WAN-Upload-ATT"`, "/queue/tree/print", "set rates on router wanctl@127.0.0.1")
	if contains(e.Error(), `"WAN-Download-ATT"`) {
		t.Errorf("the queue that exists is blamed: %v", e)
	}
	if e.Read != (link.Pair[bool]{Down: true}) || !e.Sent || report.Down.MaxLimit != 95*unit.Mbps || report.Up != (link.Queue{}) {
		t.Errorf("read %+v, sent %t, report %+v", e.Read, e.Sent, report)
	}
	if !c.Connected() {
		t.Error("a missing queue cost the connection")
	}
}

func TestQueuesThatDoNotMatchOnce(t *testing.T) {
	for _, tt := range []struct {
		found string
		kind  Kind
		says  []string
	}{
		{"0|0", NoSuchItem, []string{`"WAN-Download-ATT"`, `"WAN-Upload-ATT"`}},
		{"2|0", NoSuchItem, []string{`2 of the kind queue tree entry are called "WAN-Download-ATT"`, `no queue tree entry is called "WAN-Upload-ATT"`}},
		{"0|2", NoSuchItem, nil},
		{"2|2", Ambiguous, []string{"name of its own"}},
	} {
		_, c := scripted(t, say("wanctl|found|"+tt.found+"|.\nwanctl|uptime|1s|.\nwanctl|end|.\n", 0))
		_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 1, Up: 1})
		if e := failure(t, err, tt.kind, tt.says...); e.Read != (link.Pair[bool]{}) {
			t.Errorf("%s: read %+v", tt.found, e.Read)
		}
	}
}

func TestReadBackDiffers(t *testing.T) {
	_, c := scripted(t, say(figures(95*unit.Mbps, 18*unit.Mbps), 0))
	report, err := c.Exchange(t.Context(), att, &link.Rates{Down: 95 * unit.Mbps, Up: 17 * unit.Mbps})
	e := failure(t, err, Mismatch, `"WAN-Upload-ATT" has max-limit 18000000 after 17000000`)
	if contains(e.Error(), `"WAN-Download-ATT"`) || e.Read != (link.Pair[bool]{Down: true, Up: true}) || report.Up.MaxLimit != 18*unit.Mbps {
		t.Errorf("%v, read %+v, report %+v", e, e.Read, report)
	}
}

// TestErrorTexts: every text RouterOS is known to print is typed, whatever the exit status says, and with the output
// that came before it.
func TestErrorTexts(t *testing.T) {
	texts := []struct {
		text string
		kind Kind
	}{
		{"bad command name queueX (line 1 column 2)", Syntax},
		{"syntax error (line 1 column 12)", Syntax},
		{"expected end of command (line 1 column 37)", Syntax},
		{"expected command name (line 1 column 1)", Syntax},
		{"bad parameter once (line 1 column 54)", Syntax},
		{"missing closing brace", Syntax},
		{"missing value for where", Syntax},
		{"no such item", NoSuchItem},
		{"no such item (4)", NoSuchItem},
		{"expected item id (line 1 column 24)", NoSuchItem},
		{"input does not match any value of interface", Syntax},
		{"ambiguous value of action, more than one possible value matches input", Syntax},
		{"invalid value for argument max-limit", Syntax},
		{"invalid internal item number", NoSuchItem},
		{"failure: already have such entry", Reply},
		{"interrupted", Lost},
		{"action timed out", Timeout},
		{"not enough permissions (9)", Permission},
		{"std failure: not allowed (9)", Permission},
		{"unknown parameter follow-only", Syntax},
		{"Script Error: missing value(s) of argument(s) parent (/queue/tree/add; line 1)", Syntax},
		{"contents too long", Syntax},
		{"value of max-limit out of range (0..4294967295)", Syntax},
	}
	for _, tt := range texts {
		for _, status := range []uint32{0, 1} {
			_, c := scripted(t, say("wanctl|found|1|1|.\r\n"+tt.text+"\r\n", status))
			_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 1})
			e := failure(t, err, tt.kind, tt.text, "set rates on router")
			if e.Reply != tt.text || !e.Sent || e.Command != built(exchangeLine(att, &link.Rates{Down: 1}, downFirst)) || e.Hint == "" {
				t.Errorf("%q, status %d: %#v", tt.text, status, e)
			}
		}
	}
}

func TestUnusableAnswers(t *testing.T) {
	whole := figures(1, 1)
	for _, tt := range []struct {
		name   string
		handle func(*call)
		says   string
	}{
		{"silence", say("", 0), "ends early"},
		{"unknown text", say("moo\n", 0), "moo"},
		{"unknown text and status", say("moo\n", 1), "moo"},
		{"complete but status 1", say(whole, 1), "exit status 1"},
		{"cut line", say(whole[:len(whole)-55], 0), "is cut"},
		{"no end", say(strings.Replace(whole, "wanctl|end|.\r\n", "", 1), 0), "ends early"},
		{"of another command", say("wanctl|found|1|.\nwanctl|end|.\n", 0), "not the command's"},
		{"queue missing", say("wanctl|found|1|1|.\nwanctl|uptime|1s|.\nwanctl|end|.\n", 0), "not complete"},
		{"uptime missing", say(strings.Replace(whole, "wanctl|uptime|1d02:03:04|.\r\n", "", 1), 0), "not complete"},
		{"error on stderr", func(c *call) {
			_, _ = c.ch.Stderr().Write([]byte("something odd"))
			say(whole, 0)(c)
		}, "something odd"},
		{"no end and no status", func(c *call) {
			_, _ = c.ch.Write([]byte(strings.Replace(whole, "wanctl|end|.\r\n", "", 1)))
			_ = c.ch.Close()
		}, "without an exit status"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, c := scripted(t, tt.handle)
			_, err := c.Exchange(t.Context(), att, nil)
			failure(t, err, Reply, tt.says)
			if !c.Connected() {
				t.Error("the connection was given up")
			}
		})
	}
}

// TestACompleteAnswerNeedsNoStatus: some servers close the channel without one.
func TestACompleteAnswerNeedsNoStatus(t *testing.T) {
	_, c := scripted(t, func(c *call) {
		_, _ = c.ch.Write([]byte(figures(1, 1)))
		_ = c.ch.Close()
	})
	if _, err := c.Exchange(t.Context(), att, nil); err != nil {
		t.Error(err)
	}
}

func TestTextBesideACompleteAnswerIsNoError(t *testing.T) {
	_, c := scripted(t, say("Authorised access only\r\n"+figures(1, 1), 0))
	if _, err := c.Exchange(t.Context(), att, nil); err != nil {
		t.Error(err)
	}
}

func TestEndlessAnswer(t *testing.T) {
	for _, stream := range []string{"stdout", "stderr"} {
		t.Run(stream, func(t *testing.T) {
			_, c := scripted(t, func(c *call) {
				for block := []byte(strings.Repeat("x", 4096)); ; {
					w := c.ch.Write
					if stream == "stderr" {
						w = c.ch.Stderr().Write
					}
					if _, err := w(block); err != nil {
						return
					}
				}
			})
			_, err := c.Queue(t.Context(), "q")
			e := failure(t, err, Reply, "longer than")
			if len(e.Error()) > 1000 || c.Connected() {
				t.Errorf("%d bytes of error, connected %t", len(e.Error()), c.Connected())
			}
		})
	}
}

func TestQueue(t *testing.T) {
	s, c := scripted(t, say("wanctl|found|1|.\r\nwanctl|queue|download|50M|1|2|3|4|5|global|.\r\nwanctl|end|.\r\n", 0))
	got, err := c.Queue(t.Context(), "WAN-DL")
	want := link.Queue{MaxLimit: 50 * unit.Mbps, Bytes: 1, Packets: 2, Dropped: 3, QueuedBytes: 4, QueuedPackets: 5, Parent: "global"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if d := cmp.Diff([]string{built(queueLine("WAN-DL"))}, s.sent()); d != "" {
		t.Error(d)
	}
	_, c = scripted(t, say("wanctl|found|1|.\nwanctl|end|.\n", 0))
	_, err = c.Queue(t.Context(), "WAN-DL")
	failure(t, err, Reply, "not complete")
	_, err = c.Queue(t.Context(), "WAN\nDL")
	if e := failure(t, err, Syntax, "U+000A"); e.Sent {
		t.Error("a refused name counts as sent")
	}
}

func ruleAnswer(disabled string) string {
	return "wanctl|found|1|.\r\nwanctl|rule|*1F|" + disabled + "|false|prerouting|mark-connection|new|c-wan2|||.\r\nwanctl|end|.\r\n"
}

func TestRule(t *testing.T) {
	var disabled atomic.Value
	disabled.Store("true")
	s, c := scripted(t, func(c *call) {
		if contains(c.line, " enable $r") {
			disabled.Store("no")
		}
		say(ruleAnswer(disabled.Load().(string)), 0)(c)
	})
	want := Rule{ID: "*1F", Comment: "STEER", Chain: "prerouting", Action: "mark-connection", ConnectionState: "new", NewConnectionMark: "c-wan2"}
	if got, err := c.Rule(t.Context(), "STEER"); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	want.Enabled = true
	if got, err := c.SetRule(t.Context(), "STEER", true); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err := c.SetRule(t.Context(), "STEER", false)
	failure(t, err, Mismatch, "enabled=true")
	if !got.Enabled {
		t.Error("the read-back is not handed up")
	}
	lines := []string{built(ruleLine("STEER", "")), built(ruleLine("STEER", "enable")), built(ruleLine("STEER", "disable"))}
	if d := cmp.Diff(lines, s.sent()); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
}

func TestRuleFailures(t *testing.T) {
	for out, want := range map[string]struct {
		kind Kind
		says string
	}{
		"wanctl|found|0|.\nwanctl|end|.\n":                                       {NoSuchItem, `add the rule, disabled: /ip/firewall/mangle/add`},
		"wanctl|found|2|.\nwanctl|end|.\n":                                       {Ambiguous, `print where comment="STEER"`},
		"wanctl|found|1|.\nwanctl|end|.\n":                                       {Reply, "not complete"},
		"wanctl|found|1|.\nnot enough permissions (9)\n":                         {Permission, `user "wanctl" the policies read,write,ssh`},
		"wanctl|found|1|.\nwanctl|set|rule|.\nwanctl|rule|*1|x|\nwanctl|end|.\n": {Reply, "is cut"},
	} {
		_, c := scripted(t, say(out, 0))
		_, err := c.SetRule(t.Context(), "STEER", true)
		failure(t, err, want.kind, want.says)
	}
}

// stall is a handler that says that a command arrived and then never answers.
func stall(arrived chan<- struct{}) func(*call) {
	return func(c *call) {
		arrived <- struct{}{}
		_ = c.conn.Wait() // until the client gives up
	}
}

func TestStallEndsWithTheCallersContext(t *testing.T) {
	arrived := make(chan struct{}, 9)
	stalled := stall(arrived)
	var n atomic.Int64
	s, c := scripted(t, func(c *call) {
		if n.Add(1) == 1 {
			stalled(c)
			return
		}
		say(figures(1, 1), 0)(c)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := c.Exchange(ctx, att, &link.Rates{Down: 1})
	e := failure(t, err, Timeout)
	if !e.Sent || !errors.Is(err, context.Canceled) || c.Connected() {
		t.Errorf("sent %t, connected %t, %v", e.Sent, c.Connected(), err)
	}
	if _, err := c.Exchange(t.Context(), att, &link.Rates{Down: 1}); err != nil {
		t.Errorf("no new connection: %v", err)
	}
	if s.logins.Load() != 2 {
		t.Errorf("%d logins", s.logins.Load())
	}
}

func TestStallEndsWithTheTimeout(t *testing.T) {
	s := start(t, &server{password: secret, handle: stall(make(chan struct{}, 1))})
	o := s.options(t)
	c := dialer(t, o)
	if err := c.warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.opt.Timeout = 50 * time.Millisecond
	_, err := c.Exchange(t.Context(), att, nil)
	if e := failure(t, err, Timeout, "no answer within 50ms"); !e.Sent || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%#v", e)
	}
}

// warm makes the connection without a command.
func (c *Client) warm(ctx context.Context) error {
	if _, _, e := c.connection(ctx, "connect"); e != nil {
		return e
	}
	return nil
}

func TestCutInTheMiddleOfACommand(t *testing.T) {
	var n atomic.Int64
	s, c := scripted(t, func(c *call) {
		if n.Add(1) == 1 {
			_, _ = c.ch.Write([]byte("wanctl|found|1|1|.\r\nwanctl|set|downl"))
			_ = c.conn.Close()
			return
		}
		say(figures(95*unit.Mbps, 18*unit.Mbps), 0)(c)
	})
	_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 95 * unit.Mbps})
	if e := failure(t, err, Lost, "not known"); !e.Sent || c.Connected() {
		t.Errorf("sent %t, connected %t", e.Sent, c.Connected())
	}
	report, err := c.Exchange(t.Context(), att, nil)
	if err != nil || report.Down.MaxLimit != 95*unit.Mbps || s.logins.Load() != 2 || c.Logins() != 2 {
		t.Errorf("after the cut: %+v, %v, %d logins", report, err, s.logins.Load())
	}
}

func TestKeptConnectionThatEnded(t *testing.T) {
	s, c := scripted(t, say(figures(1, 1), 0))
	if _, err := c.Exchange(t.Context(), att, nil); err != nil {
		t.Fatal(err)
	}
	gone := c.line.ended()
	s.cut()
	<-gone
	if c.Connected() {
		t.Error("still called connected")
	}
	if _, err := c.Exchange(t.Context(), att, nil); err != nil || c.Logins() != 2 {
		t.Errorf("%v, %d logins", err, c.Logins())
	}
}

// A write never travels over a connection that replaces a lost one before the queues were read on it.
func TestAReplacedConnectionReadsFirst(t *testing.T) {
	s, c := scripted(t, say(figures(50_000_000, 5_000_000), 0))
	want := link.Rates{Down: 50 * unit.Mbps, Up: 5 * unit.Mbps}
	if r, err := c.Exchange(t.Context(), att, &want); err != nil || r.Unwritten {
		t.Fatalf("the first connection's write: %+v, %v", r, err)
	}
	for range 2 {
		gone := c.line.ended()
		s.cut()
		<-gone
		before := len(s.sent())
		r, err := c.Exchange(t.Context(), att, &want)
		if err != nil || !r.Unwritten || r.Applied() != want {
			t.Errorf("after the cut: %+v, %v", r, err)
		}
		if r, err := c.Exchange(t.Context(), att, &want); err != nil || r.Unwritten {
			t.Errorf("the write after the reading: %+v, %v", r, err)
		}
		lines := s.sent()[before:]
		if len(lines) != 2 || strings.Contains(lines[0], "/queue/tree set") || !strings.Contains(lines[1], "/queue/tree set") {
			t.Errorf("it sent %q", lines)
		}
	}
	gone := c.line.ended()
	s.cut()
	<-gone
	if r, err := c.Exchange(t.Context(), att, nil); err != nil || r.Unwritten {
		t.Errorf("a reading over a new connection: %+v, %v", r, err)
	}
}

func TestNoChannelNoCommand(t *testing.T) {
	for _, tt := range []struct {
		server *server
		says   string
	}{
		{&server{refuse: true}, "max-sessions"},
		{&server{noExec: true}, "takes no command"},
	} {
		tt.server.password = secret
		s := start(t, tt.server)
		c := dialer(t, s.options(t))
		_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 1})
		if e := failure(t, err, Unreachable, tt.says); e.Sent || c.Connected() {
			t.Errorf("sent %t, connected %t", e.Sent, c.Connected())
		}
	}
}

func TestWaitingForAnotherCommandEnds(t *testing.T) {
	arrived := make(chan struct{}, 9)
	s, c := scripted(t, stall(arrived))
	var first error
	var wg sync.WaitGroup
	wg.Go(func() { _, first = c.Exchange(t.Context(), att, nil) })
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Exchange(ctx, att, &link.Rates{Down: 1})
	if e := failure(t, err, Timeout, "not sent"); e.Sent || e.Command != "" {
		t.Errorf("%#v", e)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if e := failure(t, first, Lost, "closed"); !e.Sent {
		t.Error("a command that ran when Close came counts as not sent")
	}
	_, err = c.Queue(t.Context(), "q")
	failure(t, err, Unreachable, "closed")
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if len(s.sent()) != 1 {
		t.Errorf("%d commands arrived", len(s.sent()))
	}
}

func TestCommandsTakeTurns(t *testing.T) {
	var open, most atomic.Int64
	s, c := scripted(t, func(c *call) {
		now := open.Add(1)
		for {
			m := most.Load()
			if now <= m || most.CompareAndSwap(m, now) {
				break
			}
		}
		_, _ = c.ch.Write([]byte(figures(1, 1)))
		open.Add(-1)
		c.end(0)
	})
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() { _, errs[i] = c.Exchange(t.Context(), att, nil) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if most.Load() != 1 || s.logins.Load() != 1 || len(s.sent()) != len(errs) {
		t.Errorf("%d at once, %d logins, %d commands", most.Load(), s.logins.Load(), len(s.sent()))
	}
}

func TestErrorSaysAll(t *testing.T) {
	cause := errors.New("cause")
	e := &Error{Kind: Permission, Op: "set rates", Router: "u@h:22", Reply: "not enough permissions (9)", Hint: "do this", Err: cause}
	want := `set rates on router u@h:22: permission denied: cause; the router said "not enough permissions (9)"; do this`
	if e.Error() != want || !errors.Is(e, cause) {
		t.Errorf("got  %s\nwant %s", e, want)
	}
}

func TestGuardStopsAnUnknownShape(t *testing.T) {
	s, c := scripted(t, say("", 0))
	if err := c.warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range []task{{purpose: 99}, {purpose: oneQueue, queue: "q\n/system/reboot"}} {
		_, e := c.line.carry(t.Context(), p)
		if e == nil || e.Kind != Syntax || e.Sent {
			t.Errorf("%#v", e)
		}
		if err := c.do(t.Context(), p, nil); err == nil {
			t.Error("carried out")
		}
	}
	if len(s.sent()) != 0 {
		t.Error("something was sent")
	}
}
