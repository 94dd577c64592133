package reflector

import (
	"fmt"
	"time"

	"wanctl/internal/filter"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// SensorsConfig says what probes a line has. Hosts are numbered through them.
type SensorsConfig struct {
	// Reflectors are probed by ICMP: hosts 0 to Reflectors-1.
	Reflectors int
	// IRTT says that the host after them is a server that speaks IRTT.
	IRTT bool
	// TCP says that there may be TCP handshakes with the reflectors, whose replies come from the hosts after all others. They
	// are compared with the other probes.
	TCP bool
}

// Sensors are the sorts of probes of one line, each heard by a [Sensor] of its own. They turn the replies of those that can
// be believed into samples. It is not safe for concurrent use.
//
// ICMP is believed until TCP handshakes show, in most comparisons while the line was loaded, a queue that it does not see;
// then TCP takes its place until both agree again.
//
// One-way delays count where two reflectors tell them, or there is but one: where a single one does, nobody could confirm it,
// and round trips say more. An IRTT server is the owner's own. A reply that tells the round trip alone is lent the shares of
// the two ways that the server's newest reply shows, so that the reflectors confirm what the server says.
type Sensors struct {
	cfg   SensorsConfig
	icmp  *Sensor
	irtt  *Sensor // nil without a server
	tcp   *Sensor // nil without handshakes
	check check
	ways  split          // the IRTT server's
	tells [MaxHosts]bool // which reflectors' newest replies told one-way delays
	now   unit.Time
	told  bool // that no reflector answers TCP
}

// split is what the newest one-way delays were.
type split struct {
	at       unit.Time
	down, up float64
}

const (
	// tellsFor is how long a reply with one-way delays shows that its host tells them: on an idle line its turns are rare.
	tellsFor = 15 * time.Second
	// lendFor is how old the one-way delays may be whose shares are lent, and atLeast what a delay must be to be a queue's for
	// sure, in ms.
	lendFor = 250 * time.Millisecond
	atLeast = 5.0
)

// NewSensors returns sensors that have heard nothing.
func NewSensors(c SensorsConfig) *Sensors {
	c.Reflectors = min(max(c.Reflectors, 1), MaxHosts)
	s := &Sensors{cfg: c, icmp: NewSensor(c.Reflectors)}
	if c.IRTT {
		s.irtt = NewSensor(1)
	}
	if c.TCP {
		s.tcp = NewSensor(c.Reflectors)
	}
	return s
}

// target says whose host one is, and which of them.
func (s *Sensors) target(host int) (of *Sensor, h int) {
	first := s.cfg.Reflectors
	if s.cfg.IRTT {
		if host == first {
			return s.irtt, 0
		}
		first++
	}
	switch {
	case host >= 0 && host < s.cfg.Reflectors:
		return s.icmp, host
	case s.tcp != nil && host >= first && host < first+s.cfg.Reflectors:
		return s.tcp, host - first
	}
	return nil, 0
}

// Sent takes in that a probe left.
func (s *Sensors) Sent(p link.Probe) {
	of, h := s.target(p.Host)
	switch of {
	case nil:
		return
	case s.irtt: // what it does not answer may be its own fault, and nobody else is there to tell
		return
	case s.tcp:
		s.check.begun(h, p.Sent, &s.icmp.hosts[h])
	}
	p.Host = h
	of.Sent(p)
}

// Reply takes one reply in, as [Sensor.Reply] does. It makes a sample where its sort of probes is believed.
func (s *Sensors) Reply(r link.Reply, idleSince unit.Time) (link.Sample, bool) {
	of, h := s.target(r.Host)
	if of == nil {
		return link.Sample{}, false
	}
	x := r
	x.Host = h
	out, ok := of.Reply(x, idleSince)
	s.now = max(s.now, out.Received)
	if !ok {
		return link.Sample{}, false
	}
	switch of {
	case s.tcp:
		var irtt *host
		if s.irtt != nil {
			irtt = &s.irtt.hosts[0]
		}
		s.check.answered(x, h, &s.icmp.hosts[h], irtt, empty(r.Sent, idleSince))
		ok = s.gone(ofICMP)
	case s.irtt:
		if ok = !s.gone(ofIRTT); ok && out.OneWay {
			s.ways = split{at: out.Received, down: float64(out.Way.Down), up: float64(out.Way.Up)}
		}
	default:
		ok = !s.gone(ofICMP)
		s.tells[h] = out.OneWay
		if out.OneWay && !s.vouched(h, out.Received) {
			out.OneWay, out.Way = false, link.Pair[unit.Millis]{}
		}
	}
	if !ok {
		return link.Sample{}, false
	}
	if out.Host = r.Host; !out.OneWay {
		s.lend(&out)
	}
	return out, true
}

// vouched says that somebody beside a reflector tells one-way delays, too.
func (s *Sensors) vouched(h int, now unit.Time) bool {
	if s.cfg.Reflectors == 1 || s.ways.at != 0 && now.Sub(s.ways.at) < tellsFor {
		return true
	}
	for i := range s.icmp.hosts {
		if i != h && s.tells[i] && now.Sub(s.icmp.hosts[i].heard) < tellsFor {
			return true
		}
	}
	return false
}

// lend gives a sample the shares of the ways that the newest one-way delays show, unless those are of another queue than it
// has met.
func (s *Sensors) lend(out *link.Sample) {
	down, up := max(s.ways.down, 0), max(s.ways.up, 0)
	delta := float64(out.Delta)
	if s.ways.at == 0 || out.Received.Sub(s.ways.at) > lendFor || delta > atLeast && down+up < delta/2 {
		return
	}
	share := 0.5
	if down+up > 0 {
		share = up / (down + up)
	}
	out.OneWay = true
	out.Way.Up = unit.Millis(share * delta)
	out.Way.Down = out.Delta - out.Way.Up
}

// gone says that a sort of probes is not believed and TCP has taken its place. While TCP is silent, too, it is better than
// nothing.
func (s *Sensors) gone(k kind) bool {
	return s.check.beliefs[k].blind && s.check.heard != 0 && s.now.Sub(s.check.heard) < lostFor
}

// Watch goes on with the comparison at now, in which a direction is loaded, or the line idle since some time, 0 for not. The
// reflectors in use are those that ICMP probes. What it finds is rare.
func (s *Sensors) Watch(now unit.Time, loaded bool, idleSince unit.Time, inUse []int) (notes []link.Note) {
	s.now = max(s.now, now)
	if s.tcp == nil {
		return nil
	}
	changed := s.check.step(now, loaded, empty(now, idleSince))
	for k := range kinds {
		if changed[k] {
			notes = append(notes, s.note(k))
		}
	}
	s.check.plan(now, inUse, s.icmp.hosts)
	if s.check.mute && !s.told {
		s.told = true
		notes = append(notes, link.Note{Level: link.Info, Key: "tcp_check", Text: "No reflector in use answers TCP, so whether " +
			"the line treats ICMP like data cannot be checked. A reflector that serves HTTPS, as public resolvers do, could tell."})
	}
	return notes
}

// note tells of a changed belief.
func (s *Sensors) note(k kind) link.Note {
	b := &s.check.beliefs[k]
	name := [kinds]string{ofICMP: "ICMP", ofIRTT: "IRTT"}[k]
	if !b.blind {
		return link.Note{Level: link.Info, Key: "blind", Text: fmt.Sprintf("%s and TCP agree again under load: %s is believed.", name, name)}
	}
	instead := "TCP's round trips are used in its place, which are fewer and do not tell upload from download"
	if k == ofIRTT {
		instead = "it is not used"
	} else if s.seesBesides() {
		instead = "the IRTT server and TCP are used in its place"
	}
	return link.Note{Level: link.Warning, Key: "blind", Text: fmt.Sprintf(
		"%s is treated unlike data: under load TCP handshakes take %.0f ms longer than it says. Until they agree again %s.", name, b.excess, instead)}
}

// seesBesides says that the IRTT server answers and has been found to see what TCP sees.
func (s *Sensors) seesBesides() bool {
	if s.irtt == nil {
		return false
	}
	b, h := &s.check.beliefs[ofIRTT], &s.irtt.hosts[0]
	return b.made > 0 && !b.blind && h.heard != 0 && s.now.Sub(h.heard) < lostFor
}

// Blind says that the line is known by TCP handshakes alone, or not even by them: fewer replies, that come late and do not
// tell upload from download. Whoever decides must not rely on seeing each queue.
func (s *Sensors) Blind() bool { return s.check.beliefs[ofICMP].blind && !s.seesBesides() }

// TCP returns with which reflectors there shall be TCP handshakes now, in turn, and the time between two; 0 is none. The slice
// is valid until the next Watch.
func (s *Sensors) TCP() (reflectors []int, every time.Duration) { return s.check.use, s.check.every }

// Finding says in words what the comparison with TCP has found; empty where none is made.
func (s *Sensors) Finding() string {
	b := &s.check.beliefs[ofICMP]
	switch {
	case s.tcp == nil:
		return ""
	case b.blind:
		return fmt.Sprintf("ICMP is treated unlike data: TCP takes %.0f ms longer under load", b.excess)
	case s.check.mute:
		return "no reflector answers TCP"
	case b.made == 0:
		return "not compared yet"
	case b.off():
		return fmt.Sprintf("TCP took %.0f ms longer than ICMP in the newest comparison", b.excess)
	}
	return "ICMP agrees with TCP under load"
}

// Silence says what the probes tell that nothing has answered yet.
func (s *Sensors) Silence(now unit.Time) link.Silence { return s.heeded().Silence(now) }

// Overdue says how many probes are held up now, as [Sensor.Overdue] does.
func (s *Sensors) Overdue(now unit.Time) int { return s.heeded().Overdue(now) }

// heeded is the sort of probes whose silence tells of the line.
func (s *Sensors) heeded() *Sensor {
	if s.gone(ofICMP) {
		return s.tcp
	}
	return s.icmp
}

// Level returns the line's delay at now, as [Sensor.Level] does, by all that is believed; where TCP has taken the place of
// ICMP its replies may be older, as they are fewer.
func (s *Sensors) Level(now unit.Time, age time.Duration) Level {
	var l levels
	if s.gone(ofICMP) {
		s.tcp.gather(&l, now, max(age, lostFor))
	} else {
		s.icmp.gather(&l, now, age)
	}
	if s.irtt != nil && !s.gone(ofIRTT) {
		s.irtt.gather(&l, now, age)
	}
	return l.level()
}

// levels are what hosts say, one by one.
type levels struct {
	rtts, bases, deltas [2 * MaxHosts]float64
	n                   int
	at                  unit.Time
}

// level is what they say together.
func (l *levels) level() Level {
	if l.n == 0 {
		return Level{}
	}
	return Level{
		OK: true, At: l.at, Hosts: l.n,
		RTT:      unit.Millis(filter.Median(l.rtts[:l.n])),
		Baseline: unit.Millis(filter.Median(l.bases[:l.n])),
		Delta:    unit.Millis(filter.Median(l.deltas[:l.n])),
	}
}
