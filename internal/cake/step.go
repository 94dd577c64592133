package cake

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// StepOp is what a step does.
type StepOp uint8

// The operations.
const (
	AddIFB StepOp = iota
	SetUp
	AddCake
	ChangeCake
	AddIngress
	AddRedirect
	DelRedirect
	DelIngress
	DelCake
	DelIFB
)

// Step is one change of the kernel's queues.
type Step struct {
	Op  StepOp
	Dev string
	// To is the interface that is redirected to.
	To string
	// Settings are CAKE's; a change leaves the rate alone.
	Settings Settings
	// Cookie marks the redirection, Alias the interface.
	Cookie, Alias string
	// Why is for people; may be empty.
	Why string
}

// String is the step as a command of iproute2 would do it, for people: nothing is run.
func (s Step) String() string {
	switch s.Op {
	case AddIFB:
		return "ip link add name " + s.Dev + " type ifb"
	case SetUp:
		if s.Alias != "" {
			return "ip link set dev " + s.Dev + " up alias " + s.Alias
		}
		return "ip link set dev " + s.Dev + " up"
	case AddCake:
		return fmt.Sprintf("tc qdisc add dev %s root handle %s cake %s", s.Dev, OurHandle, s.Settings)
	case ChangeCake:
		return fmt.Sprintf("tc qdisc change dev %s root handle %s cake %s", s.Dev, OurHandle, strings.Join(s.Settings.words(), " "))
	case AddIngress:
		return "tc qdisc add dev " + s.Dev + " handle ffff: ingress"
	case AddRedirect:
		return fmt.Sprintf("tc filter add dev %s ingress pref %d protocol all matchall skip_hw action mirred egress redirect dev %s cookie %s",
			s.Dev, OurPref, s.To, hex.EncodeToString([]byte(s.Cookie)))
	case DelRedirect:
		return fmt.Sprintf("tc filter del dev %s ingress pref %d protocol all matchall", s.Dev, OurPref)
	case DelIngress:
		return "tc qdisc del dev " + s.Dev + " ingress"
	case DelCake:
		return fmt.Sprintf("tc qdisc del dev %s root handle %s", s.Dev, OurHandle)
	case DelIFB:
		return "ip link del dev " + s.Dev
	}
	return "nothing"
}

// MarshalJSON writes the command and its reason.
func (s Step) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Command string `json:"command"`
		Why     string `json:"why,omitempty"`
	}{s.String(), s.Why})
}

// String writes the settings as tc takes them.
func (o Settings) String() string {
	return "bandwidth " + tcRate(o.Bandwidth) + " " + strings.Join(o.words(), " ")
}

// words are tc's keywords apart from the rate, one for each option, always in this order.
func (o Settings) words() []string {
	pick := func(on bool, yes, no string) string {
		if on {
			return yes
		}
		return no
	}
	framing := pick(o.Raw, "raw", fmt.Sprintf("overhead %d", o.Overhead))
	if o.Raw && o.Overhead != 0 {
		framing = fmt.Sprintf("raw overhead %d", o.Overhead)
	}
	all := []string{
		o.Diffserv.String(), o.Flow.String(), pick(o.Nat, "nat", "nonat"), pick(o.Wash, "wash", "nowash"),
		pick(o.Ingress, "ingress", "egress"), o.AckFilter.String(), pick(o.SplitGSO, "split-gso", "no-split-gso"),
		"rtt " + tcTime(o.RTT), o.Atm.String(), framing, fmt.Sprintf("mpu %d", o.Mpu),
	}
	if o.Autorate {
		all = append(all, "autorate-ingress")
	}
	if o.Fwmark != 0 {
		all = append(all, fmt.Sprintf("fwmark 0x%x", o.Fwmark))
	}
	if o.Memory != 0 {
		all = append(all, fmt.Sprintf("memlimit %db", o.Memory))
	}
	return all
}

// tcTime writes microseconds as tc does.
func tcTime(us uint32) string {
	if us%1000 == 0 {
		return fmt.Sprintf("%dms", us/1000)
	}
	return fmt.Sprintf("%dus", us)
}

// Attributes and numbers of linux/pkt_cls.h, linux/tc_act/tc_mirred.h and linux/if_link.h.
const (
	matchallAct    = 2          // TCA_MATCHALL_ACT
	matchallFlags  = 3          // TCA_MATCHALL_FLAGS
	skipHW         = 1          // TCA_CLS_FLAGS_SKIP_HW
	actKind        = 1          // TCA_ACT_KIND
	actOptions     = 2          // TCA_ACT_OPTIONS
	actCookie      = 6          // TCA_ACT_COOKIE
	mirredParms    = 2          // TCA_MIRRED_PARMS
	mirredLen      = 28         // struct tc_mirred
	actStolen      = 4          // TC_ACT_STOLEN
	egressRedirect = 1          // TCA_EGRESS_REDIR
	filterParent   = 0xfffffff2 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS): ingress and clsact both know it
	ingressHandle  = 0xffff0000
)

// protocolAll is ETH_P_ALL (linux/if_ether.h) in network byte order, whatever this machine's is.
var protocolAll = uint32(native.Uint16([]byte{0, 3}))

// Do carries out one step. The error says which.
func (c *Conn) Do(s Step) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.do(s); err != nil {
		// A kind that the kernel does not know is ENOENT for qdiscs, filters and actions, EOPNOTSUPP for interfaces.
		if s.adds() && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)) {
			err = fmt.Errorf("%w: %w", errNoModule, err)
		}
		return c.fail(opMake, "`"+s.String()+"`", err)
	}
	return nil
}

func (s Step) adds() bool {
	switch s.Op {
	case AddIFB, AddCake, AddIngress, AddRedirect:
		return true
	case SetUp, ChangeCake, DelRedirect, DelIngress, DelCake, DelIFB:
	}
	return false
}

func (c *Conn) do(s Step) error {
	x := c.raw
	if err := c.nl.SetDeadline(soon()); err != nil {
		return err
	}
	var at, to Interface
	if s.Op != AddIFB {
		if err := c.readLink(s.Dev, &at, false); err != nil {
			return unkind(err)
		}
	}
	if s.Op == AddRedirect {
		if err := c.readLink(s.To, &to, false); err != nil {
			return unkind(err)
		}
	}
	const make1 = unix.NLM_F_ACK | unix.NLM_F_CREATE | unix.NLM_F_EXCL // and never in the place of something
	switch s.Op {
	case AddIFB:
		x.begin(unix.RTM_NEWLINK, make1)
		x.ifinfo(0, 0, 0)
		x.text(unix.IFLA_IFNAME, s.Dev)
		n := x.open(unix.IFLA_LINKINFO)
		x.text(unix.IFLA_INFO_KIND, kindIFB)
		x.shut(n)
	case SetUp:
		x.begin(unix.RTM_NEWLINK, unix.NLM_F_ACK)
		x.ifinfo(at.Index, unix.IFF_UP, unix.IFF_UP)
		if s.Alias != "" {
			x.text(unix.IFLA_IFALIAS, s.Alias)
		}
	case AddCake:
		x.begin(unix.RTM_NEWQDISC, make1)
		x.tcmsg(at.Index, OurHandle, Root, 0)
		x.settings(s.Settings, true)
	case ChangeCake:
		x.begin(unix.RTM_NEWQDISC, unix.NLM_F_ACK)
		x.tcmsg(at.Index, OurHandle, Root, 0)
		x.settings(s.Settings, false)
	case AddIngress:
		x.begin(unix.RTM_NEWQDISC, make1)
		x.tcmsg(at.Index, ingressHandle, Ingress, 0)
		x.text(tcaKind, kindIngress)
	case AddRedirect:
		x.begin(unix.RTM_NEWTFILTER, make1)
		x.tcmsg(at.Index, matchallHandle, filterParent, OurPref<<16|protocolAll)
		x.redirect(to.Index, s.Cookie)
	case DelRedirect:
		x.begin(unix.RTM_DELTFILTER, unix.NLM_F_ACK)
		x.tcmsg(at.Index, matchallHandle, filterParent, OurPref<<16|protocolAll)
		x.text(tcaKind, kindMatchall)
	case DelIngress:
		x.begin(unix.RTM_DELQDISC, unix.NLM_F_ACK)
		x.tcmsg(at.Index, ingressHandle, Ingress, 0)
	case DelCake:
		x.begin(unix.RTM_DELQDISC, unix.NLM_F_ACK)
		x.tcmsg(at.Index, OurHandle, Root, 0)
	case DelIFB:
		x.begin(unix.RTM_DELLINK, unix.NLM_F_ACK)
		x.ifinfo(at.Index, 0, 0)
	}
	if err := x.do(); err != nil {
		return err
	}
	return x.finish()
}

// settings appends a CAKE qdisc's kind and options.
func (x *exchange) settings(o Settings, rate bool) {
	flag := func(typ uint16, on bool) {
		v := uint32(0)
		if on {
			v = 1
		}
		x.u32(typ, v)
	}
	x.text(tcaKind, kindCake)
	n := x.open(tcaOptions)
	if rate {
		x.u64(cakeBaseRate64, uint64(o.Bandwidth/8))
	}
	x.u32(cakeDiffservMode, uint32(o.Diffserv))
	x.u32(cakeFlowMode, uint32(o.Flow))
	flag(cakeNat, o.Nat)
	flag(cakeWash, o.Wash)
	flag(cakeIngress, o.Ingress)
	x.u32(cakeAckFilter, uint32(o.AckFilter))
	flag(cakeSplitGSO, o.SplitGSO)
	x.u32(cakeRTT, o.RTT)
	x.u32(cakeAtm, uint32(o.Atm))
	x.u32(cakeOverhead, uint32(o.Overhead))
	x.u32(cakeMpu, o.Mpu)
	if o.Raw { // after the overhead, which would clear it
		x.u32(cakeRaw, 0)
	}
	x.shut(n)
}

// redirect appends a filter that takes every packet to another interface's egress.
func (x *exchange) redirect(to int32, cookie string) {
	x.text(tcaKind, kindMatchall)
	options := x.open(tcaOptions)
	acts := x.open(matchallAct)
	first := x.open(1)
	x.text(actKind, kindMirred)
	act := x.open(actOptions)
	parms := make([]byte, mirredLen)
	native.PutUint32(parms[8:], actStolen)
	native.PutUint32(parms[20:], egressRedirect)
	native.PutUint32(parms[24:], uint32(to))
	x.bytes(mirredParms, parms)
	x.shut(act)
	x.bytes(actCookie, []byte(cookie))
	x.shut(first)
	x.shut(acts)
	x.u32(matchallFlags, skipHW)
	x.shut(options)
}
