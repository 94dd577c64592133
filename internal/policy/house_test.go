package policy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/flow"
)

// The house: a LAN, a router with two or three lines, and an internet that holds every address that is not of the house.
// Packets are made by hand and caught where they leave, so that each case is one packet and one answer.

const (
	cable, dsl, lte = "Cable", "DSL", "LTE"
	lanNet          = "192.168.1."
)

type house struct {
	t                   testing.TB
	client, router, net string
	lines               int
	inject              map[string]int // raw sockets by namespace
	lan                 int            // packet socket on the client's interface
	out                 []int          // packet sockets on the internet's ends: of another way, and of the lines
	opt                 Options
}

var spaces atomic.Int64

var possible = sync.OnceValue(func() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root: network namespaces with nftables")
	}
	name := fmt.Sprintf("wanctl-policy-try-%d", os.Getpid())
	if b, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return fmt.Errorf("needs root: with network namespaces: %w: %s", err, b)
	}
	return exec.Command("ip", "netns", "del", name).Run()
})

// run runs lines of ip in a namespace.
func run(t testing.TB, ns string, lines ...string) {
	t.Helper()
	cmd := exec.Command("ip", "-n", ns, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip -n %s: %v: %s\n%s", ns, err, b, strings.Join(lines, "\n"))
	}
}

// within runs f on a thread that is in a namespace and ends with it.
func within(t testing.TB, ns string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		fd, err := os.Open(filepath.Join("/run/netns", ns))
		if err != nil {
			done <- err
			return
		}
		defer fd.Close()
		if err := unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

func write(t testing.TB, ns, path, v string) {
	t.Helper()
	within(t, ns, func() error { return os.WriteFile("/proc/sys/net/"+path, []byte(v), 0) })
}

func space(t testing.TB, role string) string {
	t.Helper()
	ns := fmt.Sprintf("wanctl-policy-%d-%d-%s", os.Getpid(), spaces.Add(1), role)
	if b, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	return ns
}

// build makes the house. Nothing of ours is applied yet.
func build(t testing.TB, lines int, six bool) *house {
	t.Helper()
	if err := possible(); err != nil {
		t.Skip(err)
	}
	h := &house{t: t, client: space(t, "client"), router: space(t, "router"), net: space(t, "net"), lines: lines, inject: map[string]int{}}
	for _, ns := range []string{h.client, h.router, h.net} {
		write(t, ns, "ipv4/conf/all/rp_filter", "0")
		write(t, ns, "ipv4/conf/default/rp_filter", "0")
		write(t, ns, "ipv6/conf/default/accept_dad", "0")
		write(t, ns, "ipv6/conf/default/accept_ra", "0")
		if !six {
			write(t, ns, "ipv6/conf/default/disable_ipv6", "1")
		}
	}
	run(t, h.router, "link set lo up", "link add lan0 type veth peer name eth0 netns "+h.client, "link set lan0 up", "addr add 192.168.1.1/24 dev lan0")
	// The hosts have no addresses, so that no stack answers for them.
	const mac = "02:00:00:00:00:01"
	run(t, h.client, "link set lo up", "link set eth0 address "+mac+" up", "addr add 192.168.1.254/24 dev eth0", "route add default via 192.168.1.1")
	var hosts []string
	for n := 2; n < 100; n++ {
		hosts = append(hosts, fmt.Sprintf("neigh add 192.168.1.%d lladdr %s dev lan0", n, mac))
	}
	run(t, h.router, hosts...)
	// The main table knows another way to some networks.
	run(t, h.router, "link add vpn0 type veth peer name p0 netns "+h.net, "link set vpn0 up", "addr add 172.16.0.2/24 dev vpn0")
	run(t, h.net, "link set p0 up", "addr add 172.16.0.1/24 dev p0")
	run(t, h.router, "route add 10.0.0.0/8 via 172.16.0.1")
	h.out = append(h.out, h.catch(h.net, "p0"))
	run(t, h.net, "link set lo up")
	if six {
		run(t, h.router, "addr add fd00:1::1/64 dev lan0 nodad")
		run(t, h.client, "addr add fd00:1::10/64 dev eth0 nodad", "route add default via fd00:1::1")
	}
	h.opt = Options{
		Name: "test", Mask: DefaultMask, Priority: DefaultPriority, LAN: []string{"lan0"},
		Policy: flow.Policy{
			Primary: cable, Alternates: []string{dsl, lte}[:lines-1], Idle: flow.DefaultIdle, Six: six,
			Classes: []flow.Class{
				{Name: "voip", Matches: []flow.Match{{Protocol: flow.UDP, Ports: flow.Ports{{First: 3478, Last: 3481}, {First: 5060, Last: 5061}}, DSCP: -1}}},
				{Name: "remote", Matches: []flow.Match{{Protocol: flow.TCP, Ports: flow.Ports{{First: 22, Last: 22}}, DSCP: -1}}},
				{Name: "dscp", Matches: []flow.Match{{DSCP: 46}}},
				{Name: "dns", Matches: []flow.Match{{Protocol: flow.UDP, Ports: flow.Ports{{First: 53, Last: 53}}, DSCP: -1, To: netip.MustParsePrefix("198.51.100.53/32")}}},
				{Name: "any", Matches: []flow.Match{{Ports: flow.Ports{{First: 7000, Last: 7000}}, DSCP: -1}}},
				{Name: "web", Matches: []flow.Match{{Protocol: flow.TCP, Ports: flow.Ports{{First: 443, Last: 443}}, DSCP: -1}}, Light: true},
			},
		},
	}
	for i, name := range h.opt.Policy.Lines() {
		n := i + 1
		run(t, h.router,
			fmt.Sprintf("link add wan%d type veth peer name p%d netns %s", n, n, h.net), fmt.Sprintf("link set wan%d up", n),
			fmt.Sprintf("addr add 172.16.%d.2/24 dev wan%d", n, n))
		run(t, h.net, fmt.Sprintf("link set p%d up", n), fmt.Sprintf("addr add 172.16.%d.1/24 dev p%d", n, n))
		run(t, h.router, fmt.Sprintf("route add default via 172.16.%d.1 dev wan%d metric %d", n, n, 100*n))
		if six {
			run(t, h.router, fmt.Sprintf("addr add fd00:a%d::2/64 dev wan%d nodad", n, n))
			run(t, h.net, fmt.Sprintf("addr add fd00:a%d::1/64 dev p%d nodad", n, n))
			run(t, h.router, fmt.Sprintf("route add default via fd00:a%d::1 dev wan%d metric %d", n, n, 100*n))
		}
		h.opt.Lines = append(h.opt.Lines, Line{Name: name, Interface: fmt.Sprintf("wan%d", n), Table: DefaultTable + uint32(i), NAT: true, NAT6: six})
		h.out = append(h.out, h.catch(h.net, fmt.Sprintf("p%d", n)))
	}
	h.lan = h.catch(h.client, "eth0")
	write(t, h.router, "ipv4/ip_forward", "1")
	if six {
		write(t, h.router, "ipv6/conf/all/forwarding", "1")
	}
	for _, ns := range []string{h.client, h.net} {
		within(t, ns, func() error {
			for key, domain := range map[string]int{ns + "4": unix.AF_INET, ns + "6": unix.AF_INET6} {
				fd, err := unix.Socket(domain, unix.SOCK_RAW, unix.IPPROTO_RAW)
				if err != nil {
					return err
				}
				h.inject[key] = fd
				t.Cleanup(func() { unix.Close(fd) })
			}
			return nil
		})
	}
	return h
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// catch opens a socket that gets what comes in by an interface.
func (h *house) catch(ns, dev string) (fd int) {
	h.t.Helper()
	within(h.t, ns, func() error {
		var err error
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, int(htons(unix.ETH_P_ALL))); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return err
		}
		l, err := readLinks()
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: int(linkNamed(l, dev).index)})
	})
	h.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

const tcpSYN, tcpACK = 0x02, 0x10

// bytes makes an IP packet; id is in its payload.
func wirePacket(p flow.Packet, flags byte, size int, id uint32) []byte {
	payload := binary.BigEndian.AppendUint32(make([]byte, 0, 4+size), id)
	payload = append(payload, make([]byte, size)...)
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, p.From.Port()), p.To.Port())
	var body []byte
	switch p.Protocol {
	case flow.TCP:
		// The numbers are those of an opening whose packets carry only their ids.
		seq, ack := uint32(1005), uint32(6)
		switch flags {
		case tcpSYN:
			seq, ack = 1000, 0
		case tcpSYN | tcpACK:
			seq, ack = 1, 1005
		}
		body = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(ports, seq), ack)
		body = append(body, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0)
	case flow.UDP:
		body = binary.BigEndian.AppendUint16(ports, uint16(8+len(payload)))
		body = append(body, 0, 0)
	case flow.Any:
		panic("a packet is of some protocol")
	case flow.ICMP:
		kind := byte(8)
		if p.From.Addr().Is6() {
			kind = 128
		}
		body = []byte{kind, 0, 0, 0, ports[0], ports[1], 0, 1}
	}
	body = append(body, payload...)
	src, dst := p.From.Addr().AsSlice(), p.To.Addr().AsSlice()
	proto := byte(p.Protocol)
	if p.From.Addr().Is6() && p.Protocol == flow.ICMP {
		proto = 58
	}
	pseudo := append(append(append([]byte{}, src...), dst...), 0, 0, 0, proto, 0, 0)
	binary.BigEndian.PutUint16(pseudo[len(pseudo)-2:], uint16(len(body)))
	at := map[flow.Protocol]int{flow.TCP: 16, flow.UDP: 6, flow.ICMP: 2}[p.Protocol]
	if p.Protocol == flow.ICMP && !p.From.Addr().Is6() {
		pseudo = nil
	}
	binary.BigEndian.PutUint16(body[at:], checksum(append(pseudo, body...)))
	if p.From.Addr().Is6() {
		head := make([]byte, 8)
		binary.BigEndian.PutUint32(head, 6<<28|uint32(p.DSCP)<<22)
		binary.BigEndian.PutUint16(head[4:], uint16(len(body)))
		head[6], head[7] = proto, 64
		return append(append(append(head, src...), dst...), body...)
	}
	head := make([]byte, 12)
	head[0], head[1], head[8], head[9] = 0x45, byte(p.DSCP)<<2, 64, proto
	binary.BigEndian.PutUint16(head[2:], uint16(20+len(body)))
	head = append(append(head, src...), dst...)
	binary.BigEndian.PutUint16(head[10:], checksum(head))
	return append(head, body...)
}

func checksum(b []byte) uint16 {
	if len(b)%2 == 1 {
		b = append(b[:len(b):len(b)], 0)
	}
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

var ids atomic.Uint32

// throw sends a packet from a namespace.
func (h *house) throw(ns string, b []byte, to netip.Addr) {
	h.t.Helper()
	var err error
	if to.Is6() {
		err = unix.Sendto(h.inject[ns+"6"], b, 0, &unix.SockaddrInet6{Addr: to.As16()})
	} else {
		err = unix.Sendto(h.inject[ns+"4"], b, 0, &unix.SockaddrInet4{Addr: to.As4()})
	}
	if err != nil {
		h.t.Fatalf("send to %v: %v", to, err)
	}
}

// seen waits for a packet by its id at some sockets and returns at which, and from which address it came.
func (h *house) seen(id uint32, at ...int) (int, netip.Addr) {
	h.t.Helper()
	want := binary.BigEndian.AppendUint32(nil, id)
	buf := make([]byte, 1<<16)
	end := time.Now().Add(5 * time.Second)
	for {
		polls := make([]unix.PollFd, len(at))
		for i, fd := range at {
			polls[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		}
		left := time.Until(end)
		if left <= 0 {
			return -1, netip.Addr{}
		}
		_, _ = unix.Poll(polls, int(left.Milliseconds())+1)
		for i, fd := range at {
			for {
				n, _, err := unix.Recvfrom(fd, buf, 0)
				if err != nil {
					break
				}
				if strings.Contains(string(buf[:n]), string(want)) {
					a, _ := netip.AddrFromSlice(buf[12:16])
					if buf[0]>>4 == 6 {
						a, _ = netip.AddrFromSlice(buf[8:24])
					}
					return i, a
				}
			}
		}
	}
}

// send lets the house send a packet and returns the number of the line that it leaves by; 0 is by none, -1 nowhere.
func (h *house) send(p flow.Packet, size int) int {
	h.t.Helper()
	n, _ := h.sendFrom(p, size)
	return n
}

func (h *house) sendFrom(p flow.Packet, size int) (int, netip.Addr) {
	h.t.Helper()
	flags := byte(tcpSYN)
	if p.Pickup {
		flags = tcpACK
	}
	return h.sendWith(p, flags, size)
}

func (h *house) sendWith(p flow.Packet, flags byte, size int) (int, netip.Addr) {
	h.t.Helper()
	id := ids.Add(1) | 0xf0000000
	h.throw(h.client, wirePacket(p, flags, size, id), p.To.Addr())
	return h.seen(id, h.out...)
}

// receive lets the internet send a packet into the house by a line.
func (h *house) receive(line int, p flow.Packet, flags byte) {
	h.t.Helper()
	to := fmt.Sprintf("%s via 172.16.%d.2", p.To.Addr(), line)
	if p.To.Addr().Is6() {
		to = fmt.Sprintf("%s via fd00:a%d::2", p.To.Addr(), line)
	}
	run(h.t, h.net, "route replace "+to)
	id := ids.Add(1) | 0xf0000000
	h.throw(h.net, wirePacket(p, flags, 0, id), p.To.Addr())
	if i, _ := h.seen(id, h.lan); i < 0 {
		h.t.Fatalf("%v did not come in by line %d", p, line)
	}
}

// answer lets a peer answer what the house sent by a line, to the address that it was translated to.
func (h *house) answer(line int, p flow.Packet, flags byte) {
	h.t.Helper()
	outside := netip.MustParseAddr(fmt.Sprintf("172.16.%d.2", line))
	if line == 0 { // where nothing is translated
		outside = p.From.Addr()
		run(h.t, h.net, fmt.Sprintf("route replace %s via 172.16.0.2", outside))
	}
	id := ids.Add(1) | 0xf0000000
	h.throw(h.net, wirePacket(flow.Packet{Protocol: p.Protocol, From: p.To, To: netip.AddrPortFrom(outside, p.From.Port())}, flags, 0, id), outside)
	if i, _ := h.seen(id, h.lan); i < 0 {
		h.t.Fatalf("the answer to %v does not come in by line %d", p, line)
	}
}

// in runs something of ours in the router.
func (h *house) in(f func() error) {
	h.t.Helper()
	within(h.t, h.router, f)
}

func (h *house) apply() Plan {
	h.t.Helper()
	var p Plan
	h.in(func() (err error) { p, err = h.opt.Apply(); return err })
	return p
}

func (h *house) steer(line string) {
	h.t.Helper()
	h.in(func() error { _, err := h.opt.Steer(line); return err })
}

func udp(from, to string) flow.Packet { return packet(flow.UDP, from, to) }
func tcp(from, to string) flow.Packet { return packet(flow.TCP, from, to) }
func packet(p flow.Protocol, from, to string) flow.Packet {
	return flow.Packet{Protocol: p, From: netip.MustParseAddrPort(from), To: netip.MustParseAddrPort(to)}
}

func TestASteeredFlowLeavesByTheOtherLine(t *testing.T) {
	h := build(t, 2, false)
	p := h.apply()
	if len(p.Steps) == 0 {
		t.Fatal("nothing was done")
	}
	if again := h.apply(); len(again.Steps) != 0 {
		t.Fatalf("a second call changes: %s (%s)", again.Steps[0].Command, again.Steps[0].Why)
	}
	first, second := udp("192.168.1.10:5060", "198.51.100.7:5060"), udp("192.168.1.11:5060", "198.51.100.7:5060")
	if n, from := h.sendFrom(first, 0); n != 1 || from != netip.MustParseAddr("172.16.1.2") {
		t.Errorf("before: line %d, from %v", n, from)
	}
	h.steer(dsl)
	if n, from := h.sendFrom(second, 0); n != 2 || from != netip.MustParseAddr("172.16.2.2") {
		t.Errorf("steered: line %d, from %v", n, from)
	}
	if n := h.send(first, 0); n != 1 {
		t.Errorf("one-way UDP of before: line %d", n)
	}
	h.steer("")
	if n := h.send(second, 0); n != 2 {
		t.Errorf("one-way UDP of the time in between: line %d", n)
	}
	if n := h.send(udp("192.168.1.12:5060", "198.51.100.7:5060"), 0); n != 1 {
		t.Errorf("after: line %d", n)
	}
}
