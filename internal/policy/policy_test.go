package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"wanctl/internal/flow"
)

func testOptions() Options {
	return Options{
		Name: "my-house", Mask: DefaultMask, Priority: DefaultPriority, LAN: []string{"br-lan"},
		Lines: []Line{
			{Name: cable, Interface: "wan1", Table: 100, NAT: true},
			{Name: dsl, Interface: "wan2", Table: 101, NAT: true},
		},
		Policy: flow.Policy{
			Primary: cable, Alternates: []string{dsl}, Idle: flow.DefaultIdle,
			Classes: []flow.Class{
				{Name: "voip", Matches: []flow.Match{{Protocol: flow.UDP, Ports: flow.Ports{{First: 5060, Last: 5061}}, DSCP: -1}}},
				{Name: "web", Matches: []flow.Match{{Protocol: flow.TCP, Ports: flow.Ports{{First: 443, Last: 443}}, DSCP: -1}}, Light: true},
			},
		},
	}
}

func TestOptionsAreJudged(t *testing.T) {
	o := testOptions()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"narrow mask":  {func(o *Options) { o.Mask = 0x7 }, "is not at least 4 bits in a row"},
		"holes":        {func(o *Options) { o.Mask = 0x00f500 }, "is not at least 4 bits in a row"},
		"too few bits": {func(o *Options) { o.Mask = 0xf0; o.Lines = append(o.Lines, o.Lines...) }, "4 lines are more than the 3"},
		"priority":     {func(o *Options) { o.Priority = 32766 }, "the priority 32766"},
		"lan":          {func(o *Options) { o.LAN = nil }, "no interface of the LAN"},
		"one line":     {func(o *Options) { o.Lines = o.Lines[:1] }, "needs two lines"},
		"own table":    {func(o *Options) { o.Lines[0].Table = 254 }, "the table 254 is one of the kernel's own"},
		"same table":   {func(o *Options) { o.Lines[0].Table = 101 }, "two lines have the same table"},
		"family":       {func(o *Options) { o.Lines[0].Gateway = netip.MustParseAddr("fe80::1") }, "a gateway is of the other family"},
		"IPv6":         {func(o *Options) { o.Policy.Six = true }, "IPv6 is steered only where every line translates it"},
		"names":        {func(o *Options) { o.Lines[1].Name = "X" }, "those of the policy Cable, DSL"},
		"interface":    {func(o *Options) { o.Lines[1].Interface = "an-interface-too-long" }, "is no name of an interface"},
		"one for two":  {func(o *Options) { o.Lines[1].Interface = "wan1" }, "the interface wan1 is named twice"},
	} {
		o := testOptions()
		c.change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if _, err := o.Plan(); err == nil {
			t.Errorf("%s: it is planned", name)
		}
		if _, err := o.Apply(); err == nil {
			t.Errorf("%s: it is applied", name)
		}
	}
}

func TestTheTextIsWhatNftTakes(t *testing.T) {
	o := testOptions()
	o.Lines[1].NAT6 = true
	text := o.Text()
	for _, want := range []string{
		"table inet wanctl_my_house {", "\tset together_ipv4_2_DSL { type ipv4_addr . ipv4_addr; flags dynamic,timeout; timeout 300s; size 65536; }",
		"udp dport 5060-5061 meta mark set meta mark and 0xff3fffff or 0x00400000 return", "tcp dport 443 goto light",
		"meta nfproto ipv4 oifname \"wan1\" masquerade", "\t\toifname \"wan2\" masquerade", "type route hook output priority -140; policy accept;",
		`oifname "wan2" ct mark and 0x003f0000 == 0x00000000 ct direction original jump pin_2_DSL`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	o.Lines[0].NAT, o.Lines[1].NAT = false, false
	if text := o.Text(); !strings.Contains(text, "meta nfproto ipv6 oifname \"wan2\" masquerade") || strings.Contains(text, "\"wan1\" masquerade") {
		t.Error(text)
	}
}

// Numbers: whatever there was, each line has its own, and one that had one keeps it.
func TestPropertyLinesAreNumbered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[A-D]`), 2, 4, rapid.ID[string]).Draw(t, "names")
		had := map[string]int{}
		for i, n := range rapid.Permutation([]string{"A", "B", "C", "D", "E"}).Draw(t, "had")[:rapid.IntRange(0, 5).Draw(t, "how many")] {
			had[n] = i + 1
		}
		var lines []Line
		for _, n := range names {
			lines = append(lines, Line{Name: n})
		}
		got := numbered(lines, had)
		seen := map[int]bool{}
		for i, n := range got {
			if n < 1 || seen[n] {
				t.Fatalf("%v of %v, had %v", got, names, had)
			}
			seen[n] = true
			if was := had[names[i]]; was > 0 && was != n {
				t.Fatalf("%s had %d and has %d", names[i], was, n)
			}
			for other, m := range had {
				if m == n && other != names[i] {
					t.Fatalf("%s has the number of %s", names[i], other)
				}
			}
		}
	})
}

// Ranges hold what the prefixes hold, and do not touch.
func TestPropertyRangesHoldThePrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var prefixes []netip.Prefix
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			bits := rapid.IntRange(0, 32).Draw(t, "bits")
			a := rapid.SampledFrom([]uint32{0, 1, 0x0a000000, 0x0a0000ff, 0x0a000100, 0xffffffff, 0xfffffffe}).Draw(t, "addr")
			prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), bits))
		}
		ranges := rangesOf(append(prefixes, netip.MustParsePrefix("2001:db8::/32")), v4)
		for i, r := range ranges {
			if r.last.Less(r.first) || i > 0 && !ranges[i-1].last.Next().Less(r.first) {
				t.Fatalf("%v", ranges)
			}
		}
		for _, s := range []string{"0.0.0.0", "0.0.0.1", "0.0.0.2", "10.0.0.0", "10.0.0.255", "10.0.1.0", "10.0.2.0", "255.255.255.254", "255.255.255.255", "172.16.0.1"} {
			a := netip.MustParseAddr(s)
			want := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
			got := slices.ContainsFunc(ranges, func(r addrRange) bool { return r.first.Compare(a) <= 0 && a.Compare(r.last) <= 0 })
			if got != want {
				t.Fatalf("%v in %v: %t, in %v: %t", a, ranges, got, prefixes, want)
			}
		}
	})
}

func TestWhatOthersDoToMarksIsRead(t *testing.T) {
	load := ct(unix.NFT_CT_MARK)
	store := ex("ct", be32(unix.NFTA_CT_KEY, unix.NFT_CT_MARK), be32(unix.NFTA_CT_SREG, reg(0)))
	storePacket := ex("meta", be32(unix.NFTA_META_KEY, unix.NFT_META_MARK), be32(unix.NFTA_META_SREG, reg(0)))
	target := func(name string, info ...uint32) expr {
		var b []byte
		for _, v := range info {
			b = native.AppendUint32(b, v)
		}
		return ex("target", text(unix.NFTA_TARGET_NAME, name), raw(unix.NFTA_TARGET_INFO, b))
	}
	for name, c := range map[string]struct {
		exprs              []expr
		connection, packet uint32
	}{
		"a constant":        {[]expr{ex("immediate"), store}, 0xffffffff, 0},
		"a field":           {[]expr{load, bitwise(host32(0xffffff00), host32(5)), store}, 0xff, 0},
		"a bit set":         {[]expr{load, bitwise(host32(0xffffffff), host32(4)), store}, 4, 0},
		"the packet's":      {[]expr{ex("immediate"), storePacket}, 0, 0xffffffff},
		"a lookup":          {[]expr{load, ex("lookup"), store}, 0xffffffff, 0},
		"a mark of another": {[]expr{meta(unix.NFT_META_IIFNAME), bitwise(host32(0xff), host32(0)), storePacket}, 0, 0xffffffff},
		"restored":          {[]expr{load, storePacket}, 0, 0}, // where it is ours, it is ours
		"compared":          {[]expr{load, cmp(cmpEq, host32(1))}, 0, 0},
		"MARK":              {[]expr{target("MARK", 0x10000, 0xff0000)}, 0, 0xff0000},
		"CONNMARK set":      {[]expr{target("CONNMARK", 1, 0xff, 0, 0)}, 0xff, 0},
		"CONNMARK save":     {[]expr{target("CONNMARK", 0, 0xf0, 0, 1)}, 0xf0, 0},
		"CONNMARK restore":  {[]expr{target("CONNMARK", 0, 0, 0xf, 2)}, 0, 0xf},
		"another target":    {[]expr{target("LOG", 1, 2, 3, 4)}, 0, 0},
	} {
		if a, b := marksChanged(c.exprs); a != c.connection || b != c.packet {
			t.Errorf("%s: changes %#x of connections and %#x of packets, want %#x and %#x", name, a, b, c.connection, c.packet)
		}
	}
	var f foreign
	f.look(&told{family: unix.NFPROTO_IPV6, name: "x", chains: []toldChain{{name: "y", rules: [][]expr{
		{ex("immediate"), storePacket}, {ex("flow_offload")}, {ex("immediate"), store},
	}}}}, DefaultMask)
	if len(f.problems) != 1 || len(f.notes) != 2 || !strings.Contains(f.problems[0], "a rule of chain y in table ip6 x") || !strings.Contains(f.notes[1], "offloads connections") {
		t.Errorf("%+v", f)
	}
	for family, want := range map[byte]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_BRIDGE: "of family 7"} {
		if got := familyName(family); got != want {
			t.Errorf("%d is %q", family, got)
		}
	}
}

func TestErrorsNameTheWayOut(t *testing.T) {
	for name, c := range map[string]struct {
		op   string
		err  error
		kind Kind
		want string
	}{
		"permission": {"read", fmt.Errorf("x: %w", unix.EPERM), Permission, "needs CAP_NET_ADMIN"},
		"missing":    {"read", errMissing, Missing, "wanctl policy apply FILE"},
		"read back":  {"apply", errReadBack, Mismatch, "does something else change it"},
		"no module":  {"make the nftables table", unix.ENOENT, NoModule, "nft_chain_nat"},
		"no family":  {"change", unix.EOPNOTSUPP, NoModule, "CONFIG_IP_MULTIPLE_TABLES"},
		"something":  {"change", unix.EINVAL, Other, "change: invalid argument"},
	} {
		err := fail(c.op, c.err)
		var e *Error
		if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(err.Error(), c.want) || !errors.Is(err, errors.Unwrap(err)) {
			t.Errorf("%s: %v (%v)", name, err, e.Kind)
		}
		if IsMissing(err) != (c.kind == Missing) {
			t.Errorf("%s: missing is %t", name, IsMissing(err))
		}
	}
	if s := Refused.String() + Kind(99).String(); s != "in the wayKind(99)" {
		t.Error(s)
	}
}

func TestSmallThings(t *testing.T) {
	b, err := json.Marshal(Plan{})
	if err != nil || string(b) != `{"steps":[]}` {
		t.Errorf("%s, %v", b, err)
	}
	if (Tracked{Count: 89, Max: 100}).Full() || !(Tracked{Count: 90, Max: 100}).Full() || (Tracked{Count: 1}).Full() {
		t.Error("a table of connections is full from 90 % on")
	}
	if s := (Counts{}).ShareIPv6(); s >= 0 {
		t.Errorf("of nothing, %v use IPv6", s)
	}
	if s := (Counts{New: 3, New6: 1}).ShareIPv6(); s != 0.25 {
		t.Errorf("%v", s)
	}
	if readNothing := sameElements(nil, []element{{key: []byte{1}}}); readNothing {
		t.Error("an element more is none")
	}
	if o := testOptions(); !o.ReadHost().Forward && o.ReadHost().Tracked.Max < 0 {
		t.Error("no host")
	}
	r := route{family: v6, to: netip.MustParsePrefix("2001:db8::/32"), via: netip.MustParseAddr("fe80::1"), dev: 7, onlink: true, table: 9, metric: 3}
	if got := r.words([]link{{name: "wan", index: 7}}); got != "2001:db8::/32 via fe80::1 dev wan onlink table 9 metric 3 protocol 0" {
		t.Error(got)
	}
	if got := r.words(nil); !strings.Contains(got, "dev 7") {
		t.Error(got)
	}
}

// Routes and rules read what they write.
func TestPropertyRoutesAndRulesAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		six := rapid.Bool().Draw(t, "six")
		a := netip.MustParseAddr(map[bool]string{false: "192.0.2.7", true: "2001:db8::7"}[six])
		r := route{
			family: family(six), table: rapid.Uint32Range(1, 1<<31).Draw(t, "table"), dev: rapid.Int32Range(1, 99).Draw(t, "dev"),
			onlink: rapid.Bool().Draw(t, "onlink"), metric: rapid.Uint32().Draw(t, "metric"), protocol: rapid.Byte().Draw(t, "protocol"),
		}
		if rapid.Bool().Draw(t, "via") {
			r.via = a
		}
		if rapid.Bool().Draw(t, "to") {
			r.to = netip.PrefixFrom(a, a.BitLen())
		}
		if got := routesOf(r.body()); len(got) != 1 || got[0] != r {
			t.Fatalf("%+v reads %+v", r, got)
		}
		u := ipRule{
			family: family(six), priority: rapid.Uint32().Draw(t, "priority"), table: r.table, suppress: rapid.Bool().Draw(t, "suppress"), protocol: r.protocol,
		}
		if rapid.Bool().Draw(t, "marked") {
			u.mark, u.mask = rapid.Uint32().Draw(t, "mark"), rapid.Uint32Min(1).Draw(t, "mask")
		}
		if rapid.Bool().Draw(t, "from") {
			u.from = a
		}
		if got, ok := ruleOf(u.body()); !ok || got != u {
			t.Fatalf("%+v reads %+v", u, got)
		}
		if !strings.HasPrefix(u.String(), fmt.Sprintf("priority %d", u.priority)) {
			t.Fatal(u)
		}
	})
}

func TestARouteOfSeveralHops(t *testing.T) {
	hop := func(dev uint32, via string, flags byte) []byte {
		body := raw(unix.RTA_GATEWAY, netip.MustParseAddr(via).AsSlice())
		h := make([]byte, nexthopLen)
		native.PutUint16(h, uint16(nexthopLen+len(body)))
		h[2] = flags
		native.PutUint32(h[4:], dev)
		return append(h, body...)
	}
	b := make([]byte, routeLen)
	b[0], b[4], b[7] = unix.AF_INET, mainTable, unix.RTN_UNICAST
	b = append(b, raw(unix.RTA_MULTIPATH, join(hop(3, "192.0.2.1", 0), hop(4, "192.0.2.2", unix.RTNH_F_ONLINK)))...)
	got := routesOf(b)
	want := []route{
		{table: mainTable, dev: 3, via: netip.MustParseAddr("192.0.2.1")},
		{table: mainTable, dev: 4, via: netip.MustParseAddr("192.0.2.2"), onlink: true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func FuzzKernelAnswers(f *testing.F) {
	f.Add((ipRule{priority: 1, table: 2, suppress: true}).body())
	f.Add((route{table: 2, dev: 3, via: netip.MustParseAddr("192.0.2.1")}).body())
	f.Add(join(nfgen(1, 0), text(unix.NFTA_TABLE_NAME, "x"), nest(4, be32(1, 2))))
	f.Add(append(make([]byte, routeLen), raw(unix.RTA_MULTIPATH, make([]byte, 20))...))
	f.Fuzz(func(_ *testing.T, b []byte) {
		ruleOf(b)
		routesOf(b)
		neighbourOf(b)
		_, as := identified(b, 1)
		chainOf(as)
		marksChanged(exprsOf(b))
		for _, e := range exprsOf(b) {
			e.same(expr{kind: e.kind})
		}
		getBE32(b)
		getBE64(b)
		getNE32(b)
		getText(b)
	})
}

// A step that fails takes back those before it.
func TestAStepThatFailsTakesBackTheOthers(t *testing.T) {
	var did []string
	step := func(name string, err error) Step {
		return Step{
			do:   func() error { did = append(did, "do "+name); return err },
			undo: func() error { did = append(did, "undo "+name); return os.ErrClosed },
		}
	}
	err := carryOut([]Step{step("a", nil), step("b", nil), step("c", unix.EBUSY), step("d", nil)})
	if !errors.Is(err, unix.EBUSY) || !errors.Is(err, os.ErrClosed) || strings.Join(did, ", ") != "do a, do b, do c, undo b, undo a" {
		t.Errorf("%v, %v", did, err)
	}
}

// A table that the kernel refuses leaves nothing behind, with the rules and routes that went before.
func TestWhatTheKernelRefusesIsTakenBack(t *testing.T) {
	h := build(t, 2, false)
	before := h.everything()
	lines, alternates := h.opt.Lines, h.opt.Policy.Alternates
	long := strings.Repeat("x", 300) // chains have names of less than 256 bytes
	h.opt.Lines, h.opt.Policy.Alternates = slices.Clone(lines), []string{long}
	h.opt.Lines[1].Name = long
	h.in(func() error {
		if _, err := h.opt.Apply(); err == nil {
			return errors.New("it was taken")
		}
		return nil
	})
	if after := h.everything(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	h.opt.Lines, h.opt.Policy.Alternates = lines, alternates
	h.in(func() error {
		for _, err := range []error{second(h.opt.Steered()), second(h.opt.Steer(dsl)), second(h.opt.Steer("")), second(h.opt.Counts())} {
			if !IsMissing(err) {
				return fmt.Errorf("without a table: %w", err)
			}
		}
		return nil
	})
	h.opt.Policy.Idle = time.Minute + 3*time.Millisecond // which not every kernel can tell
	h.apply()
	h.in(func() error {
		if _, err := h.opt.Steer(cable); err == nil {
			return errors.New("steered to the primary")
		}
		o := h.opt
		o.Lines = append(slices.Clone(o.Lines), Line{Name: lte})
		if _, err := o.Steer(dsl); !IsMissing(err) {
			return fmt.Errorf("a line that it does not know: %w", err)
		}
		return nil
	})
}

func second[T any](_ T, err error) error { return err }
