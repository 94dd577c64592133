package config

import "wanctl/internal/unit"

// Qdisc is how `wanctl qdisc apply` on Linux, and `wanctl router apply` on RouterOS, make a line's CAKE queues.
type Qdisc struct {
	Framing
	// AckFilter drops superfluous acknowledgements on the upload.
	AckFilter bool
}

// LinkLayer is how a line cuts packets into cells.
type LinkLayer uint8

// The ways.
const (
	// PlainFrames are not cut.
	PlainFrames LinkLayer = iota
	// AtmCells carry 48 bytes in 53.
	AtmCells
	// PtmBlocks carry 64 bytes in 65.
	PtmBlocks
)

// String returns CAKE's keyword: "noatm", "atm" or "ptm".
func (l LinkLayer) String() string {
	switch l {
	case PlainFrames:
		return "noatm"
	case AtmCells:
		return "atm"
	case PtmBlocks:
		return "ptm"
	}
	return "invalid"
}

// Framing is what a line adds to each packet.
type Framing struct {
	// Raw counts packets as Linux has them; the rest is then zero.
	Raw bool
	// Overhead is added to each packet from the network layer up, Mpu the least size after that, in bytes.
	Overhead, Mpu int
	Layer         LinkLayer
}

// Share is how much of a limit that counts so is IP packets where these have ip bytes, above 0: 1500 and no framing but cells of 53
// bytes is 1500 of 32 * 53.
func (f Framing) Share(ip int) unit.PPM {
	const (
		ethernet          = 14 // what Linux counts with a packet, and Raw with it
		cell, carriedBy   = 53, 48
		ptmBlock, payload = 65, 64
	)
	size := ip + ethernet
	if !f.Raw {
		size = max(ip+f.Overhead, f.Mpu)
	}
	switch f.Layer {
	case PlainFrames:
	case AtmCells:
		size = (size + carriedBy - 1) / carriedBy * cell
	case PtmBlocks: // one byte for each block that is begun, as sch_cake.c counts
		size += (size + payload - 1) / payload * (ptmBlock - payload)
	}
	return unit.ShareOf(int64(ip), int64(size))
}

// accesses are the technologies. The figures are those of the keywords in tc-cake(8), "Overhead compensation parameters",
// under which each names its own parts; fibre has no keyword there, its figures are OpenWrt's for it (SQM details).
var accesses = []struct {
	word string
	Framing
}{
	{"none", Framing{Raw: true}},
	{"conservative", Framing{Overhead: 48, Layer: AtmCells}},
	{"docsis", Framing{Overhead: 18, Mpu: 64}},
	{"ethernet", Framing{Overhead: 38, Mpu: 84}},
	{"ethernet-vlan", Framing{Overhead: 42, Mpu: 84}}, // ethernet ether-vlan
	{"fibre", Framing{Overhead: 44, Mpu: 84}},
	{"vdsl-ptm", Framing{Overhead: 22, Layer: PtmBlocks}},   // bridged-ptm
	{"pppoe-vdsl", Framing{Overhead: 30, Layer: PtmBlocks}}, // pppoe-ptm
	{"adsl-pppoa-vcmux", Framing{Overhead: 10, Layer: AtmCells}},
	{"adsl-pppoa-llc", Framing{Overhead: 14, Layer: AtmCells}},
	{"adsl-pppoe-vcmux", Framing{Overhead: 32, Layer: AtmCells}},
	{"adsl-pppoe-llcsnap", Framing{Overhead: 40, Layer: AtmCells}},
	{"adsl-bridged-vcmux", Framing{Overhead: 24, Layer: AtmCells}},
	{"adsl-bridged-llcsnap", Framing{Overhead: 32, Layer: AtmCells}},
	{"adsl-ipoa-vcmux", Framing{Overhead: 8, Layer: AtmCells}},
	{"adsl-ipoa-llcsnap", Framing{Overhead: 16, Layer: AtmCells}},
}

func accessWords() (words []string) {
	for _, a := range accesses {
		words = append(words, a.word)
	}
	return words
}

// ackFilterFrom is the asymmetry above which acknowledgements can fill the upload: a full download needs about 1/40 to
// 1/20 of its rate in them, so at 10:1 they are a quarter to a half of it.
const ackFilterFrom = 10

// qdisc reads the section.
func (p *parser) qdisc() Qdisc {
	var q Qdisc
	word := p.text("qdisc.access")
	for _, a := range accesses {
		if a.word == word {
			q.Framing = a.Framing
		}
	}
	own := p.has("qdisc.overhead") || p.has("qdisc.mpu") || p.text("qdisc.link_layer") != "auto"
	if q.Raw && own {
		q.Raw = false
		if !p.has("qdisc.overhead") && p.ok("qdisc.access") {
			p.errorf(p.at("qdisc"), "qdisc.overhead", "give it, or name the access", "is missing: mpu and link_layer alone do not say what the line adds to a packet")
		}
	}
	if p.has("qdisc.overhead") {
		q.Overhead = int(p.num("qdisc.overhead"))
	}
	if p.has("qdisc.mpu") {
		q.Mpu = int(p.num("qdisc.mpu"))
	}
	switch p.text("qdisc.link_layer") {
	case "noatm":
		q.Layer = PlainFrames
	case "atm":
		q.Layer = AtmCells
	case "ptm":
		q.Layer = PtmBlocks
	}
	q.AckFilter = p.flag("qdisc.ack_filter")
	down, up := cm+".download.ceiling_mbps", cm+".upload.ceiling_mbps"
	if q.AckFilter && p.ok(down, up) && p.num(down) <= ackFilterFrom*p.num(up) {
		p.errorf(p.at("qdisc.ack_filter"), "qdisc.ack_filter", "remove it",
			"helps only where the download is more than %d times the upload (here %v to %v Mbit/s): elsewhere it only takes acknowledgements away that "+
				"senders pace themselves by", ackFilterFrom, p.num(down), p.num(up))
	}
	return q
}
