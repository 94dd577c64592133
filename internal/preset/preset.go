// Package preset proposes the settings of lines by their technology, and writes them as commented configuration files.
package preset

import (
	"net/netip"
	"slices"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Technology is how a line gets to the house, and what follows from that.
type Technology struct {
	// Word is its name on a command line, Title what a person reads.
	Word, Title string
	// Framing is the word of qdisc.access; Overhead, where it is not 0, replaces its bytes. FramingWhy says why.
	Framing    string
	Overhead   int
	FramingWhy string
	// Radio says that the capacity has no lower bound that one could write down.
	Radio bool
	// Ceiling and Floor are shares of what the line is sold as. A Floor is written under the policy "tracking" unless the line
	// is a radio.
	Ceiling, Floor       link.Pair[unit.PPM]
	CeilingWhy, FloorWhy string
	// Profile is the policy tracking's.
	Profile, ProfileWhy string
	// Target, Warn and Critical are delays over the idle line, in ms.
	Target, Warn, Critical float64
	ThresholdsWhy          string
}

func percent(down, up unit.PPM) link.Pair[unit.PPM] {
	return link.Pair[unit.PPM]{Down: down * unit.One / 100, Up: up * unit.One / 100}
}

// The words that several technologies share.
const (
	balancedWhy = "between delay (latency) and downloads (throughput)"
	fullWhy     = "what it is sold as; the law measures what it carries and only stops here"
	radioWhy    = "what it gives in its best hour: it bounds what a mistake can do"
	noFloorWhy  = "a minimum above what a bad moment carries is the worst setting of all (docs/control.md)"
	dslFloor    = "a quarter and a third: a copper pair falls no further while it is in sync"
)

// Technologies are those there are, in the order in which a person is shown them. Floors, ceilings and thresholds of cable and
// vdsl are the shares and figures of the two lines in configs/, which are an earlier system's in production; those of fibre lie
// between them. A radio's thresholds lie above the queue that the profile throughput keeps (20 to 30 ms, answered at 40 ms:
// docs/control.md). Framings are tc-cake(8)'s. None of the others' was measured.
func Technologies() []Technology {
	cable := Technology{
		Word: "cable", Title: "cable (DOCSIS)", Framing: "docsis", FramingWhy: "DOCSIS shapes by whole Ethernet frames: 18 bytes more, at least 64",
		Ceiling: percent(100, 100), CeilingWhy: fullWhy,
		Floor: percent(20, 20), FloorWhy: "a fifth: below that a mistake is likelier than a crowded segment",
		Profile: "balanced", ProfileWhy: balancedWhy,
		Target: 15, Warn: 45, Critical: 80, ThresholdsWhy: "waiting for a slot of the upstream alone takes some ms, and varies",
	}
	vdsl := Technology{
		Word: "vdsl", Title: "VDSL2, without PPPoE", Framing: "vdsl-ptm", FramingWhy: "PTM sends 64 bytes in 65, and 22 more per packet",
		Ceiling: percent(95, 90), CeilingWhy: "a little under what it is sold as: the modem's sync is often lower",
		Floor: percent(25, 33), FloorWhy: dslFloor,
		Profile: "balanced", ProfileWhy: balancedWhy,
		Target: 3, Warn: 10, Critical: 30, ThresholdsWhy: "an idle copper pair hardly jitters",
	}
	vdslPPPoE := vdsl
	vdslPPPoE.Word, vdslPPPoE.Title, vdslPPPoE.Framing = "vdsl-pppoe", "VDSL2 with PPPoE", "pppoe-vdsl"
	vdslPPPoE.FramingWhy = "PTM sends 64 bytes in 65, and 30 more per packet with PPPoE"
	adsl := vdsl
	adsl.Word, adsl.Title, adsl.Framing = "adsl", "ADSL", "adsl-pppoe-llcsnap"
	adsl.FramingWhy = "ATM carries 48 bytes in 53; PPPoE over LLC/SNAP is the longest header in use: better too many bytes than too few"
	adsl.Ceiling, adsl.CeilingWhy = percent(85, 85), "under what it is sold as: the modem's sync depends on the distance"
	adsl.Target, adsl.Warn, adsl.Critical, adsl.ThresholdsWhy = 15, 45, 90, "one full packet takes about 12 ms of a 1 Mbit/s upload"
	fibre := Technology{
		Word: "fibre", Title: "fibre, without PPPoE", Framing: "fibre", FramingWhy: "44 bytes: Ethernet's 38, a VLAN tag and the ONT's own",
		Ceiling: percent(95, 95), CeilingWhy: "what is left of it under the headers: a gigabit port carries 941 Mbit/s of TCP",
		Floor: percent(25, 25), FloorWhy: "a quarter: a fibre seldom carries less, and this bounds what a mistake can do",
		Profile: "balanced", ProfileWhy: balancedWhy,
		Target: 5, Warn: 15, Critical: 30, ThresholdsWhy: "an idle fibre hardly jitters, and its queue is short",
	}
	fibrePPPoE := fibre
	fibrePPPoE.Word, fibrePPPoE.Title, fibrePPPoE.Framing, fibrePPPoE.Overhead = "fibre-pppoe", "fibre with PPPoE", "ethernet-vlan", 50
	fibrePPPoE.FramingWhy = "Ethernet's 38, a VLAN tag's 4 and the 8 of PPPoE (RFC 2516)"
	ethernet := fibre
	ethernet.Word, ethernet.Title, ethernet.Framing = "ethernet", "Ethernet from the provider", "ethernet"
	ethernet.FramingWhy = "preamble, header, checksum and gap: 38 bytes, at least 84"
	radio := Technology{
		Framing: "ethernet", FramingWhy: "a radio frames by a measure of its own, so packets count as on the cable to the modem",
		Radio: true, Ceiling: percent(100, 100), CeilingWhy: radioWhy, Floor: percent(5, 5), FloorWhy: noFloorWhy,
		Profile: "throughput", ProfileWhy: "its capacity jumps: a small queue is kept, so that a jump up is used at once",
	}
	lte := radio
	lte.Word, lte.Title = "lte", "LTE or 5G"
	lte.Target, lte.Warn, lte.Critical, lte.ThresholdsWhy = 45, 100, 200, "the queue that is kept, and a radio's own jitter of tens of ms"
	starlink := radio
	starlink.Word, starlink.Title = "starlink", "Starlink or another satellite"
	starlink.Target, starlink.Warn, starlink.Critical, starlink.ThresholdsWhy = 40, 80, 160, "the queue that is kept, and a new path through the sky every 15 s"
	unknown := fibre
	unknown.Word, unknown.Title, unknown.Framing = "other", "something else, or not known", "conservative"
	unknown.FramingWhy = "48 bytes and ATM's cells suit every line, and cost up to a seventh of it: name the access when you know it"
	unknown.Target, unknown.Warn, unknown.Critical, unknown.ThresholdsWhy = 15, 45, 80, "those of a cable line, the wider ones"
	return []Technology{cable, vdsl, vdslPPPoE, adsl, fibre, fibrePPPoE, ethernet, lte, starlink, unknown}
}

// Named finds a technology by its word.
func Named(word string) (Technology, bool) {
	all := Technologies()
	i := slices.IndexFunc(all, func(t Technology) bool { return t.Word == word })
	if i < 0 {
		return Technology{}, false
	}
	return all[i], true
}

// Words are the technologies' words.
func Words() (words []string) {
	for _, t := range Technologies() {
		words = append(words, t.Word)
	}
	return words
}

// The policies, in the configuration's words. Tracking is what a new line gets.
const (
	Tracking = "tracking"
	Steps    = "steps"
)

// Queues are the router's, by exact name: two of the tree, or a simple one.
type Queues struct {
	Download, Upload, Simple string
	// There says that the router has them.
	There bool
}

// Idle is what the idle line was measured at.
type Idle struct {
	// RTT is the median of the reflectors' least round trips, in ms; 0 is not measured.
	RTT float64
	// How says with whom, or why it was not measured.
	How string
}

// Line is what is known of a line.
type Line struct {
	// Name begins with a letter or a digit and goes on with these, _ and -: it is a key of steering's file and part of other names.
	Name       string
	Technology Technology
	// Policy is Tracking or Steps.
	Policy string
	// Sold is what the line is sold as, 0 where that is not known; Measured says that it was measured instead.
	Sold     link.Rates
	Measured bool
	// Interface is the one that the line is on: the router's, or this host's.
	Interface string
	// Found is why it was taken for a line: "default route by 10.0.0.1".
	Found string
	// LAN is the router's interface towards the house; empty is its one bridge.
	LAN string
	// Queues are on RouterOS alone.
	Queues Queues
	// Source is the address of this host that the line is probed from; invalid is the kernel's choice.
	Source netip.Addr
	Idle   Idle
	// Reflectors are those that were named; empty leaves the choice to wanctl.
	Reflectors []string
}

// Router is how the RouterOS router is reached.
type Router struct {
	Host string
	// Port 0 is the transport's usual one.
	Port                    int
	Transport, TransportWhy string
	User                    string
	// Rights are those of the user.
	Rights []string
	// KeyFile or PasswordFile proves who logs in; KnownHosts or Pin, who answers.
	KeyFile, PasswordFile string
	KnownHosts, Pin       string
}

// Steering is the set-up between lines.
type Steering struct {
	// Primary is the index of the line that connections leave.
	Primary int
	// LAN are this host's interfaces towards the house, where it is the router.
	LAN []string
	// Reflector is whom steering probes.
	Reflector string
}

// House is everything there is to write down.
type House struct {
	// Router is nil where this host is the router.
	Router *Router
	Lines  []Line
	// Steering is nil without.
	Steering *Steering
	// Dir is where the files will be, Run the run directory with the feeds.
	Dir, Run string
}

// File is a configuration file to be written into House.Dir.
type File struct{ Name, Text string }

// SteeringFile is the name of the steering file.
const SteeringFile = "steering.yaml"

// Files are the configuration of a house: a file per line, in their order, and one of steering.
func (h House) Files() (files []File) {
	for i := range h.Lines {
		files = append(files, File{Name: h.Lines[i].Name + ".yaml", Text: h.line(&h.Lines[i])})
	}
	if h.Steering != nil {
		files = append(files, File{Name: SteeringFile, Text: h.steering()})
	}
	return files
}
