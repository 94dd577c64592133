package cake

import (
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

var update = flag.Bool("update", false, "write the golden files anew (needs root)")

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// golden holds wire data as hexadecimal, one message a line. It was recorded on a little-endian machine.
func golden(t testing.TB, name string) [][]byte {
	t.Helper()
	if native.Uint16([]byte{1, 0}) != 1 {
		t.Skip("needs a little-endian machine: the recorded messages are")
	}
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for l := range strings.Lines(string(b)) {
		m, err := hex.DecodeString(strings.TrimSpace(l))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// The classes of one interface as a kernel (6.18) dumped them while its leaves were full.
func TestDecodeClassesAsRecorded(t *testing.T) {
	if *update {
		record(t)
	}
	var all []Class
	for _, m := range golden(t, "classes.hex") {
		c, ok, err := decodeClass(m)
		if err != nil || !ok {
			t.Fatalf("decode: %v, %v", ok, err)
		}
		all = append(all, c)
	}
	h := func(s string) Handle {
		p, err := ParseHandle(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	got := map[string]Class{}
	for _, s := range []string{"1:1", "1:10", "1:20"} {
		c, err := gather(all, h(s))
		if err != nil {
			t.Fatal(err)
		}
		if c.Packets == 0 && s != "1:10" || c.burst == 0 {
			t.Errorf("%s: no packets or no burst: %+v", s, c)
		}
		got[s] = Class{
			Handle: c.Handle, Parent: c.Parent, Rate: c.Rate, Ceil: c.Ceil, Prio: c.Prio, Quantum: c.Quantum, Level: c.Level,
			QueuedBytes: c.QueuedBytes, QueuedPackets: c.QueuedPackets, Dropped: c.Dropped,
		}
	}
	full := got["1:20"]
	if full.QueuedPackets == 0 || full.QueuedBytes < 1000*unit.Bytes(full.QueuedPackets) || full.Dropped == 0 {
		t.Errorf("the full leaf shows no backlog: %+v", full)
	}
	want := map[string]Class{
		"1:1": {
			Handle: 0x10001, Parent: Root, Rate: 19 * unit.Mbps, Ceil: 19 * unit.Mbps, Level: 7,
			QueuedBytes: full.QueuedBytes, QueuedPackets: full.QueuedPackets, Dropped: full.Dropped,
		},
		"1:10": {Handle: 0x10010, Parent: 0x10001, Rate: 200 * unit.Kbps, Ceil: 40 * unit.Gbps, Quantum: 1514},
		"1:20": {
			Handle: 0x10020, Parent: 0x10001, Rate: 200 * unit.Kbps, Ceil: unit.Gbps, Prio: 1, Quantum: 1514,
			QueuedBytes: full.QueuedBytes, QueuedPackets: full.QueuedPackets, Dropped: full.Dropped,
		},
	}
	for s, w := range want {
		g := got[s]
		if s == "1:1" {
			g.Quantum = 0 // means nothing for a class with children
		}
		if d := cmp.Diff(w, g, cmp.AllowUnexported(Class{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", s, d)
		}
	}
	if _, err := gather(all, h("1:99")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a class that is not there: %v", err)
	}
}

func TestDecodeInterfaceAsRecorded(t *testing.T) {
	got, err := decodeLink(golden(t, "interface.hex")[0])
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "wanctl0" || got.Index <= 0 || got.Tx == 0 || got.Rx != 0 {
		t.Errorf("got %+v", got)
	}
}

// The request that sets a class, byte by byte: struct tcmsg, kind "htb", struct tc_htb_opt in its option.
func TestEncodeClass(t *testing.T) {
	if native.Uint16([]byte{1, 0}) != 1 {
		t.Skip("needs a little-endian machine: the expected bytes are")
	}
	got, err := encodeClass(7, Class{
		Handle: 0x10001, Parent: Root, Rate: 19 * unit.Mbps, Ceil: 40 * unit.Gbps, Prio: 2, Quantum: 1514, burst: 31250, cburst: 31251,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "" +
		"00000000" + "07000000" + "01000100" + "ffffffff" + "00000000" + // family, interface, handle, parent, info
		"0800" + "0100" + "68746200" + // kind
		"4000" + "0280" + // options, nested
		"3000" + "0100" + // parameters
		"00010000" + "00000000" + "583d2400" + // rate: Ethernet, 2 375 000 B/s
		"00010000" + "00000000" + "ffffffff" + // ceiling: beyond 32 bits
		"127a0000" + "137a0000" + "ea050000" + "00000000" + "02000000" + // bursts, quantum, level, priority
		"0c00" + "0700" + "00f2052a01000000" // ceiling in 64 bits: 5 000 000 000 B/s
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
}

func TestWhatIsSentCanBeRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := func(n string) unit.Rate {
			return wireRate(unit.Rate(rapid.Int64Range(1000, int64(unit.MaxRate)).Draw(t, n)))
		}
		u := func(n string) uint32 { return rapid.Uint32().Draw(t, n) }
		want := Class{
			Handle: Handle(u("handle")), Parent: Handle(u("parent")), Rate: rate("rate"), Ceil: rate("ceil"),
			Prio: u("prio"), Quantum: u("quantum"), Level: u("level"), burst: u("burst"), cburst: u("cburst"),
		}
		b, err := encodeClass(1, want)
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := decodeClass(b)
		if err != nil || !ok || got != want {
			t.Fatalf("%v %v\ngot  %+v\nwant %+v", ok, err, got, want)
		}
	})
}

func TestBurst(t *testing.T) {
	for _, c := range []struct {
		rate unit.Rate
		want unit.Millis
	}{
		{MinRate, 24224},         // two frames
		{unit.Mbps, 24.224},      // two frames
		{12 * unit.Mbps, 2.0187}, // two frames
		{19 * unit.Mbps, 2},
		{unit.MaxRate, 2},
	} {
		if got := (Class{burst: burstTicks(c.rate)}).Burst(); got < c.want*0.999 || got > c.want*1.001 {
			t.Errorf("at %v: %v, want %v", c.rate, got, c.want)
		}
	}
}

func TestHandles(t *testing.T) {
	for _, s := range []string{"1:", "1:1", "1a:ffff", "ffff:"} {
		h, err := ParseHandle(s)
		if err != nil || h.String() != s {
			t.Errorf("%q reads as %v, %v", s, h, err)
		}
	}
	for _, s := range []string{"", ":", "1", "1:x", "x:1", "10000:1", "1:10000", "1:1:1", "-1:1"} {
		if h, err := ParseHandle(s); err == nil {
			t.Errorf("%q reads as %v", s, h)
		}
	}
}

// Answers that are cut short or belong to something else are errors or passed over, never nonsense.
func TestDecodeRefuses(t *testing.T) {
	whole, err := encodeClass(1, Class{Handle: 1, Rate: unit.Mbps, Ceil: 40 * unit.Gbps})
	if err != nil {
		t.Fatal(err)
	}
	head := whole[:tcmsgLen]
	attr := func(f func(*netlink.AttributeEncoder)) []byte {
		ae := netlink.NewAttributeEncoder()
		f(ae)
		b, err := ae.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return append(append([]byte(nil), head...), b...)
	}
	htb := func(options []byte, stats func(*netlink.AttributeEncoder)) []byte {
		return attr(func(ae *netlink.AttributeEncoder) {
			ae.String(unix.TCA_KIND, kindHTB)
			ae.Bytes(unix.TCA_OPTIONS, options)
			if stats != nil {
				ae.Nested(unix.TCA_STATS2, func(ae *netlink.AttributeEncoder) error { stats(ae); return nil })
			}
		})
	}
	good := whole[tcmsgLen+8+4:] // inside the options
	for name, b := range map[string][]byte{
		"nothing":          nil,
		"half a header":    head[:10],
		"no options":       attr(func(ae *netlink.AttributeEncoder) { ae.String(unix.TCA_KIND, kindHTB) }),
		"short parameters": htb([]byte{8, 0, attrParms, 0, 1, 2, 3, 4}, nil),
		"torn options":     htb([]byte{60, 0, attrParms, 0}, nil),
		"short rate":       htb(append(append([]byte(nil), good...), 8, 0, attrRate64, 0, 1, 2, 3, 4), nil),
		"absurd rate":      htb(append(append([]byte(nil), good...), 12, 0, attrRate64, 0, 255, 255, 255, 255, 255, 255, 255, 255), nil),
		"short counters":   htb(good, func(ae *netlink.AttributeEncoder) { ae.Bytes(statsBasic, make([]byte, 8)) }),
		"short packets":    htb(good, func(ae *netlink.AttributeEncoder) { ae.Bytes(statsPkt64, make([]byte, 4)) }),
		"short backlog":    htb(good, func(ae *netlink.AttributeEncoder) { ae.Bytes(statsQueue, make([]byte, 4)) }),
	} {
		if c, ok, err := decodeClass(b); err == nil || !errors.Is(err, errReply) {
			t.Errorf("%s: %+v, %v, %v", name, c, ok, err)
		}
	}
	other := attr(func(ae *netlink.AttributeEncoder) { ae.String(unix.TCA_KIND, "hfsc") })
	if _, ok, err := decodeClass(other); ok || err != nil {
		t.Errorf("a class of another kind: %v, %v", ok, err)
	}
	if _, err := decodeLink(make([]byte, 3)); !errors.Is(err, errReply) {
		t.Errorf("a short interface: %v", err)
	}
	for _, name := range []string{"", "an-interface-name-too-long"} {
		if _, err := encodeLinkRequest(name); err == nil {
			t.Errorf("%q is taken for an interface", name)
		}
	}
}

// A loop of parents, which no kernel makes, must not hang the reader.
func TestGatherEnds(t *testing.T) {
	c, err := gather([]Class{{Handle: 1, Parent: 2}, {Handle: 2, Parent: 1}, {Handle: 3, Parent: 9, QueuedBytes: 5}}, 9)
	if err == nil {
		t.Errorf("got %+v", c)
	}
	if c, err = gather([]Class{{Handle: 9}, {Handle: 1, Parent: 2}, {Handle: 2, Parent: 1}, {Handle: 3, Parent: 9, QueuedBytes: 5}}, 9); err != nil || c.QueuedBytes != 5 {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestErrorsNameTheWayOut(t *testing.T) {
	c := &Conn{where: "router"}
	for _, tc := range []struct {
		op   string
		err  error
		kind Kind
		has  string
	}{
		{"set rate of class", unix.EPERM, Permission, "CAP_NET_ADMIN"},
		{"open the network namespace", os.ErrNotExist, NoSuchNamespace, "ip netns"},
		{"read interface", unix.ENODEV, NoSuchInterface, "ip link"},
		{"read class", unix.ENOENT, NoSuchClass, "tc class show"},
		{"set rate of class", errRate, Range, "1000 bit/s"},
		{"set rate of class", errReadBack, Mismatch, "something else"},
		{"read class", errReply, Reply, ""},
		{"read class", unix.EIO, Other, ""},
	} {
		err := c.fail(tc.op, "1:1 of eth0", tc.err)
		var e *Error
		if !errors.As(err, &e) || e.Kind != tc.kind || !errors.Is(err, tc.err) ||
			!strings.Contains(err.Error(), tc.has) || !strings.Contains(err.Error(), "1:1 of eth0 in namespace router") {
			t.Errorf("%s: %v: kind %d, %v", tc.op, tc.err, e.Kind, err)
		}
	}
}

// What is wrong both ways names both, and the way out once where it is the same.
func TestErrorsOfBothDirections(t *testing.T) {
	c := &Conn{}
	missing := func(thing string) error { return c.fail(opReadLink, thing, unix.ENODEV) }
	err := both([2]error{missing("ifb4wan"), missing("wan")}, link.Pair[bool]{}, false)
	if s := err.Error(); !strings.Contains(s, "ifb4wan: ") || !strings.Contains(s, " wan: ") || strings.Count(s, "`ip link`") != 1 {
		t.Error(s)
	}
	err = both([2]error{missing("ifb4wan"), c.fail(opReadQdisc, "of wan", errNotCake)}, link.Pair[bool]{}, false)
	if s := err.Error(); !strings.Contains(s, "`ip link`") || !strings.Contains(s, "qdisc plan") {
		t.Error(s)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"classes.hex", "interface.hex"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		for l := range strings.Lines(string(b)) {
			m, err := hex.DecodeString(strings.TrimSpace(l))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(m)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok, err := decodeClass(b)
		if err == nil && ok && (c.Rate < 0 || c.Ceil < 0 || c.Bytes < 0 || c.Packets < 0 || c.QueuedBytes < 0) {
			t.Errorf("a negative figure: %+v", c)
		}
		if i, err := decodeLink(b); err == nil && (i.Rx < 0 || i.Tx < 0) {
			t.Errorf("a negative figure: %+v", i)
		}
	})
}
