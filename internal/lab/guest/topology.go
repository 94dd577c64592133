package guest

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The world of a run:
//
//	cli ─lan0─ rtr ─w1/a1─ isp1 ─u1/n1─ net      client i leaves by link i
//	             └─ w2/a2─ isp2 ─u2/n2─┘         rtr: our CAKE on wN (up) and on ifb-wN (down)
//
// ispN has HTB with a byte FIFO on aN (down) and on uN (up): the modem and the provider. Its rate can change without
// a packet moving, which a rate in netem or tbf cannot. net delays per sender with netem (no rate): propagation, loss
// and what a radio adds. Packets are at most 1500 bytes everywhere, as on a wire.
type world struct {
	sc    *scenario.Scenario
	share unit.PPM // of nominal that CAKE starts with; 0: no CAKE
	tc    []*changer
	wires []wireState
	net   *changer
}

// wireState is what propagation adds on a link now.
type wireState struct {
	loaded [2]time.Duration // by direction
	extra  []time.Duration  // by reflector
	dead   []bool
}

// htb is a class's rate as tc writes it. The burst is half a millisecond, at least two packets: the bottleneck is a
// wire, which does not save up.
func htb(r unit.Rate) string {
	r = max(r, silence)
	burst := max(3028, int64(r)/8/2000)
	return fmt.Sprintf("htb rate %dbit ceil %dbit burst %d cburst %d quantum 1514", r, r, burst, burst)
}

// tiny is what each of two leaves owns of a bottleneck that serves one of them first; all else is borrowed.
const tiny = "htb rate 8kbit ceil %dbit burst 3028 cburst 3028 quantum 1514 prio %d"

func (w *world) capacityLines(verb string, i int, d link.Direction, r unit.Rate) []string {
	dev := wire(i, d)
	if w.sc.Links[i].ICMP != scenario.ICMPFirst {
		return []string{fmt.Sprintf("class %s dev %s parent 1: classid 1:10 %s", verb, dev, htb(r))}
	}
	r = max(r, silence)
	return []string{
		fmt.Sprintf("class %s dev %s parent 1: classid 1:1 %s", verb, dev, htb(r)),
		fmt.Sprintf("class %s dev %s parent 1:1 classid 1:20 "+tiny, verb, dev, r, 0),
		fmt.Sprintf("class %s dev %s parent 1:1 classid 1:10 "+tiny, verb, dev, r, 1),
	}
}

// fifoBytes is the depth of a provider's buffer: at least ten packets.
func fifoBytes(p *scenario.Path) unit.Bytes { return max(15_140, p.Nominal.Over(p.FIFO)) }

// netemLine sets the propagation of band b (2: the server, 3…: the reflectors) of link i's download.
func (w *world) netemLine(verb string, i, b int) string {
	l, st := &w.sc.Links[i], &w.wires[i]
	delay, loss := l.Delay+st.loaded[link.Down], l.Down.Loss
	if b > 2 {
		delay += st.extra[b-3]
		if st.dead[b-3] {
			loss = unit.One
		}
	}
	return fmt.Sprintf("qdisc %s dev n%d parent 1:%x handle %x: netem delay %dus loss %.4f%% limit 200000",
		verb, i+1, b, b+0x10, delay.Microseconds(), loss.Factor()*100)
}

// upLine sets what the upload's path adds.
func (w *world) upLine(verb string, i int) string {
	return fmt.Sprintf("qdisc %s dev ifb-n%d root netem delay %dus loss %.4f%% limit 200000",
		verb, i+1, w.wires[i].loaded[link.Up].Microseconds(), w.sc.Links[i].Up.Loss.Factor()*100)
}

// build makes the world.
func build(sc *scenario.Scenario, share unit.PPM) (*world, error) {
	w := &world{sc: sc, share: share, wires: make([]wireState, len(sc.Links))}
	if len(sc.Reflectors) > 13 {
		return nil, fmt.Errorf("%d reflectors: the machine has room for 13", len(sc.Reflectors))
	}
	var errs []error
	do := func(err error) { errs = append(errs, err) }
	var all []string
	for _, ns := range []string{client, router, net0} {
		all = append(all, "netns add "+ns)
	}
	for i := range sc.Links {
		all = append(all, "netns add "+isp(i))
	}
	do(batch("ip", "", all...))
	for _, l := range all {
		do(batch("ip", l[len("netns add "):], "link set lo up"))
	}
	do(os.WriteFile("/proc/sys/net/core/rmem_max", []byte("33554432"), 0))
	do(os.WriteFile("/proc/sys/net/core/wmem_max", []byte("33554432"), 0))
	for _, ns := range []string{client, net0} {
		do(sysctl(ns, "net/ipv4/tcp_rmem", "4096 131072 33554432", "net/ipv4/tcp_wmem", "4096 131072 33554432",
			"net/ipv4/tcp_no_metrics_save", "1"))
	}
	do(sysctl(net0, "net/ipv4/icmp_ratelimit", "0"))
	do(sysctl(router, "net/ipv4/ip_forward", "1", "net/ipv4/ping_group_range", "0 2147483647"))
	do(batch("ip", "", "link add lan0 netns rtr type veth peer name c0 netns cli"))
	do(batch("ip", client, "link set c0 up gso_max_segs 1"))
	do(batch("ip", router, "link set lan0 up", "addr add 192.168.1.1/24 dev lan0"))
	addrs := []string{"addr add " + serverAddr + "/32 dev lo"}
	for r := range sc.Reflectors {
		addrs = append(addrs, "addr add "+reflectorAddr(r)+"/32 dev lo")
	}
	do(batch("ip", net0, addrs...))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i := range sc.Links {
		if err := w.link(i); err != nil {
			return nil, err
		}
	}
	if err := batch("ip", client, "route add default via 192.168.1.1"); err != nil {
		return nil, err
	}
	var err error
	if w.net, err = newChanger(net0); err != nil {
		return nil, err
	}
	for i := range sc.Links {
		c, err := newChanger(isp(i))
		if err != nil {
			return nil, err
		}
		w.tc = append(w.tc, c)
	}
	return w, nil
}

func (w *world) link(i int) error {
	l, n, c := &w.sc.Links[i], i+1, clientAddr(i)
	st := &w.wires[i]
	for _, r := range w.sc.Reflectors {
		st.extra = append(st.extra, r.Extra)
	}
	st.dead = make([]bool, len(w.sc.Reflectors))
	var errs []error
	do := func(err error) { errs = append(errs, err) }
	do(batch("ip", "", fmt.Sprintf("link add w%d netns rtr type veth peer name a%d netns %s", n, n, isp(i)),
		fmt.Sprintf("link add u%d netns %s type veth peer name n%d netns net", n, isp(i), n)))
	do(batch("ip", client, fmt.Sprintf("addr add %s/24 dev c0", c)))
	do(batch("ip", isp(i),
		fmt.Sprintf("addr add 100.64.%d.1/30 dev a%d", n, n), fmt.Sprintf("addr add 10.0.%d.1/30 dev u%d", n, n),
		fmt.Sprintf("link set a%d up", n), fmt.Sprintf("link set u%d up", n),
		fmt.Sprintf("route add default via 10.0.%d.2", n), fmt.Sprintf("route add %s/32 via 100.64.%d.2", c, n)))
	do(sysctl(isp(i), "net/ipv4/ip_forward", "1"))
	do(batch("ip", router,
		fmt.Sprintf("addr add %s/30 dev w%d", routerAddr(i), n), fmt.Sprintf("link set w%d up", n),
		fmt.Sprintf("route add default via 100.64.%d.1 dev w%d table %d", n, n, 100+n),
		fmt.Sprintf("route add default via 100.64.%d.1 dev w%d metric %d", n, n, 100+n),
		fmt.Sprintf("route add 192.168.1.0/24 dev lan0 table %d", 100+n),
		fmt.Sprintf("rule add from %s table %d", c, 100+n),
		fmt.Sprintf("rule add from %s table %d", routerAddr(i), 100+n),
		fmt.Sprintf("rule add oif w%d table %d", n, 100+n)))
	do(batch("ip", net0,
		fmt.Sprintf("addr add 10.0.%d.2/30 dev n%d", n, n), fmt.Sprintf("link set n%d up gso_max_segs 1", n),
		fmt.Sprintf("route add %s/32 via 10.0.%d.1", c, n), fmt.Sprintf("route add 100.64.%d.0/30 via 10.0.%d.1", n, n)))

	// Propagation. Band 1 takes what no filter names (ARP) and does not delay it.
	prop := []string{fmt.Sprintf("qdisc add dev n%d root handle 1: prio bands 16 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0", n)}
	senders := []string{serverAddr}
	for r := range w.sc.Reflectors {
		senders = append(senders, reflectorAddr(r))
	}
	for k, addr := range senders {
		b := k + 2
		police := ""
		if k > 0 {
			if p := w.sc.Reflectors[k-1].PerSecond; p > 0 {
				police = fmt.Sprintf(" action police pkts_rate %d pkts_burst %d conform-exceed drop/ok", p, max(1, p/2))
			}
		}
		prop = append(prop, w.netemLine("add", i, b),
			fmt.Sprintf("filter add dev n%d parent 1: prio %d protocol ip u32 match ip src %s/32 flowid 1:%x%s", n, b, addr, b, police))
	}
	if l.Up.Loss > 0 || l.Up.LoadedDelay > 0 {
		do(batch("ip", net0, fmt.Sprintf("link add ifb-n%d type ifb", n), fmt.Sprintf("link set ifb-n%d up", n)))
		prop = append(prop, fmt.Sprintf("qdisc add dev n%d handle ffff: ingress", n),
			fmt.Sprintf("filter add dev n%d parent ffff: protocol all matchall action mirred egress redirect dev ifb-n%d", n, n),
			w.upLine("add", i))
	}
	do(batch("tc", net0, prop...))

	// The provider's bottleneck.
	var line []string
	for _, d := range directions {
		p, dev := l.Path(d), wire(i, d)
		line = append(line, fmt.Sprintf("qdisc add dev %s root handle 1: htb default 10", dev))
		line = append(line, w.capacityLines("add", i, d, p.Steps[0].Rate)...)
		line = append(line, fmt.Sprintf("qdisc add dev %s parent 1:10 handle 10: bfifo limit %d", dev, fifoBytes(p)))
		if l.ICMP == scenario.ICMPFirst {
			line = append(line, fmt.Sprintf("qdisc add dev %s parent 1:20 handle 20: bfifo limit %d", dev, fifoBytes(p)),
				fmt.Sprintf("filter add dev %s parent 1: prio 1 protocol ip u32 match ip protocol 1 0xff flowid 1:20", dev))
		}
	}
	do(batch("tc", isp(i), line...))
	if w.share > 0 {
		do(w.shape(i))
	}
	return errors.Join(errs...)
}

// shape gives link i its CAKE queues at their starting rates. What is there already is made anew.
func (w *world) shape(i int) error {
	l, n := &w.sc.Links[i], i+1
	// A second call finds the interface and its filter in place.
	if err := batch("ip", router, fmt.Sprintf("link show ifb-w%d", n)); err != nil {
		if err := errors.Join(
			batch("ip", router, fmt.Sprintf("link add ifb-w%d type ifb", n), fmt.Sprintf("link set ifb-w%d up", n)),
			batch("tc", router, fmt.Sprintf("qdisc add dev w%d handle ffff: ingress", n),
				fmt.Sprintf("filter add dev w%d parent ffff: protocol all matchall action mirred egress redirect dev ifb-w%d", n, n)),
		); err != nil {
			return err
		}
	}
	return batch("tc", router,
		fmt.Sprintf("qdisc replace dev w%d root handle 8%d1: cake bandwidth %dbit besteffort dual-srchost", n, n, l.Up.Nominal.Scale(w.share)),
		fmt.Sprintf("qdisc replace dev ifb-w%d root handle 8%d2: cake bandwidth %dbit besteffort dual-dsthost ingress", n, n, l.Down.Nominal.Scale(w.share)))
}

// unshape takes link i's CAKE queues away.
func (w *world) unshape(i int) error {
	return batch("tc", router, fmt.Sprintf("qdisc del dev w%d root", i+1), fmt.Sprintf("qdisc del dev ifb-w%d root", i+1))
}

// setCapacity moves a line.
func (w *world) setCapacity(i int, d link.Direction, r unit.Rate) error {
	return w.tc[i].do(w.capacityLines("change", i, d, r)...)
}

// linkDown loses every packet of a link, or none.
func (w *world) linkDown(i int, down bool) error {
	var lines []string
	for _, d := range directions {
		// What arrives at the provider on either side is dropped there.
		if dev := wire(i, d); down {
			lines = append(lines, fmt.Sprintf("qdisc add dev %s handle ffff: ingress", dev),
				fmt.Sprintf("filter add dev %s parent ffff: protocol all matchall action police rate 1mbit burst 10k conform-exceed drop/drop", dev))
		} else {
			lines = append(lines, fmt.Sprintf("qdisc del dev %s handle ffff: ingress", dev))
		}
	}
	return w.tc[i].do(lines...)
}

// change is what becomes of reflector r.
func (w *world) change(r int, c scenario.ReflectorChange) error {
	var lines []string
	for i := range w.wires {
		w.wires[i].extra[r], w.wires[i].dead[r] = c.Extra, c.Dead
		lines = append(lines, w.netemLine("change", i, r+3))
	}
	return w.net.do(lines...)
}

// setLoaded sets what the line itself adds in one direction. It moves by at most half of the time that passed when it
// falls: a packet never overtakes the one before it.
func (w *world) setLoaded(i int, d link.Direction, to time.Duration, passed time.Duration) error {
	st := &w.wires[i]
	now := st.loaded[d]
	to = max(to, now-passed/2)
	if to == now {
		return nil
	}
	st.loaded[d] = to
	if d == link.Up {
		return w.net.do(w.upLine("change", i))
	}
	var lines []string
	for b := range len(w.sc.Reflectors) + 1 {
		lines = append(lines, w.netemLine("change", i, b+2))
	}
	return w.net.do(lines...)
}

// close ends the helpers.
func (w *world) close() error {
	var errs []error
	for _, c := range append(slices.Clone(w.tc), w.net) {
		if c != nil {
			errs = append(errs, c.close())
		}
	}
	return errors.Join(errs...)
}
