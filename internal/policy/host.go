package policy

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// isNone says that the kernel has no such thing.
func isNone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) || errors.Is(err, os.ErrNotExist)
}

// sysctl reads a number below /proc/sys/net; false where there is none.
func sysctl(path string) (int64, bool) {
	b, err := os.ReadFile("/proc/sys/net/" + path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// Tracked is how full the table of connections is; Max is 0 where that is not known.
type Tracked struct{ Count, Max int64 }

// full is the share of the table from which it is said, in percent.
const full = 90

// Full says that new connections will soon be refused.
func (t Tracked) Full() bool { return t.Max > 0 && t.Count*100 >= t.Max*full }

// Host is what the kernel is set to.
type Host struct {
	Forward, Forward6 bool
	// Accounting says that connections' bytes are counted. The kernel switches that on with our first rule that asks for
	// them, for connections that begin then.
	Accounting bool
	Tracked    Tracked
	// Strict are the lines' interfaces where the kernel drops what it would not send back there, without regard to marks.
	Strict []string
	// Legacy says that rules of the older iptables exist, which nobody can read here.
	Legacy bool
}

func readHost(lines []Line) Host {
	on := func(path string) bool { v, _ := sysctl(path); return v == 1 }
	h := Host{Forward: on("ipv4/ip_forward"), Forward6: on("ipv6/conf/all/forwarding"), Accounting: on("netfilter/nf_conntrack_acct")}
	h.Tracked.Count, _ = sysctl("netfilter/nf_conntrack_count")
	h.Tracked.Max, _ = sysctl("netfilter/nf_conntrack_max")
	all, _ := sysctl("ipv4/conf/all/rp_filter")
	for _, l := range lines {
		own, ok := sysctl("ipv4/conf/" + l.Interface + "/rp_filter")
		// The larger of the two is in force (ip-sysctl.rst), and 1 is strict.
		if ok && max(all, own) == 1 && !on("ipv4/conf/all/src_valid_mark") && !on("ipv4/conf/"+l.Interface+"/src_valid_mark") {
			h.Strict = append(h.Strict, l.Interface)
		}
	}
	b, err := os.ReadFile("/proc/net/ip_tables_names")
	h.Legacy = err == nil && strings.Contains(string(b), "mangle")
	return h
}

// foreign is what others' tables do to marks that are ours.
type foreign struct {
	problems, notes []string
}

// iptables' own targets, in xt_mark.h and xt_connmark.h: struct xt_mark_tginfo2, struct xt_connmark_tginfo1.
const (
	xtMarkLen     = 8
	xtConnmarkLen = 13
	xtSave        = 1 // XT_CONNMARK_SAVE
	xtRestore     = 2 // XT_CONNMARK_RESTORE
)

// look finds rules that change bits of the mask, and what takes packets past our rules.
func (f *foreign) look(t *told, mask uint32) {
	name := fmt.Sprintf("table %s %s", familyName(t.family), t.name)
	for _, c := range t.chains {
		for _, exprs := range c.rules {
			at := fmt.Sprintf("a rule of chain %s in %s", c.name, name)
			ct, packet := marksChanged(exprs)
			if ct&mask != 0 {
				f.problems = append(f.problems, fmt.Sprintf("%s changes the bits 0x%08x of connection marks, and wanctl's are 0x%08x: "+
					"set policy.mark_mask to bits that nobody uses, or take them out of that rule", at, ct, mask))
			}
			if packet&mask != 0 {
				f.notes = append(f.notes, fmt.Sprintf("%s changes the bits 0x%08x of packet marks, of which wanctl uses 0x%08x: where a packet "+
					"meets both, the later one counts", at, packet, mask))
			}
			for _, e := range exprs {
				if e.kind == "flow_offload" {
					f.notes = append(f.notes, at+" offloads connections: they keep their line, but their bytes are not counted, so that a "+
						"download is not seen as heavy, and two hosts are not kept together by what is offloaded")
				}
			}
		}
	}
}

// marksChanged are the bits that a rule changes in connection marks and in packet marks.
func marksChanged(exprs []expr) (connection, packet uint32) {
	bits := ^uint32(0) // what the newest value in a register may differ in from the mark itself
	for _, e := range exprs {
		switch e.kind {
		case "meta", "ct":
			mark, sreg := uint32(unix.NFT_META_MARK), find(e.attrs, unix.NFTA_META_SREG)
			if e.kind == "ct" {
				mark, sreg = unix.NFT_CT_MARK, find(e.attrs, unix.NFTA_CT_SREG)
			}
			switch key := getBE32(find(e.attrs, unix.NFTA_META_KEY)); { // NFTA_CT_KEY is the same number
			case sreg == nil && key == mark:
				bits = 0
			case sreg == nil:
				bits = ^uint32(0)
			case key == mark && e.kind == "ct":
				connection |= bits
			case key == mark:
				packet |= bits
			}
		case "immediate", "lookup", "payload", "numgen", "hash":
			bits = ^uint32(0)
		case "bitwise":
			mask := find(split(find(e.attrs, unix.NFTA_BITWISE_MASK)), unix.NFTA_DATA_VALUE)
			xor := find(split(find(e.attrs, unix.NFTA_BITWISE_XOR)), unix.NFTA_DATA_VALUE)
			if len(mask) == 4 && len(xor) == 4 {
				bits = bits&native.Uint32(mask) | ^native.Uint32(mask) | native.Uint32(xor)
			}
		case "target":
			c, p := targetChanges(getText(find(e.attrs, unix.NFTA_TARGET_NAME)), find(e.attrs, unix.NFTA_TARGET_INFO))
			connection, packet = connection|c, packet|p
		}
	}
	return connection, packet
}

func targetChanges(name string, info []byte) (connection, packet uint32) {
	switch {
	case name == "MARK" && len(info) >= xtMarkLen:
		return 0, native.Uint32(info) | native.Uint32(info[4:])
	case name == "CONNMARK" && len(info) >= xtConnmarkLen:
		ct, ctMask, packetMask := native.Uint32(info), native.Uint32(info[4:]), native.Uint32(info[8:])
		switch info[12] {
		case xtSave:
			return ctMask, 0
		case xtRestore:
			return 0, packetMask
		}
		return ct | ctMask, 0
	}
	return 0, 0
}

func familyName(f byte) string {
	switch f {
	case unix.NFPROTO_INET:
		return "inet"
	case unix.NFPROTO_IPV4:
		return "ip"
	case unix.NFPROTO_IPV6:
		return "ip6"
	}
	return fmt.Sprintf("of family %d", f)
}
