package score

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"wanctl/internal/unit"
)

// Group is one panel of the bench: a scenario's line and direction, or all recordings of one kind in one direction.
type Group struct {
	Name  string `json:"name"`
	Cases int    `json:"cases"`
	// Points are the policies, in their order.
	Points []Point `json:"points"`
}

// Point is one policy in a group: the mean of its cases, of delays the geometric one, so that no single case decides.
type Point struct {
	Policy string `json:"policy"`
	Oracle bool   `json:"oracle,omitempty"`
	// Share is what was delivered, of what the line could have carried.
	Share        float64     `json:"share"`
	P50          unit.Millis `json:"p50_ms"`
	P95          unit.Millis `json:"p95_ms"`
	P99          unit.Millis `json:"p99_ms"`
	RoundTripP95 unit.Millis `json:"round_trip_p95_ms"`
	// Over is the share of time over 30 ms one way.
	Over     float64 `json:"over_30ms"`
	Commands float64 `json:"commands_per_s"`
	// Frontier says that no other policy, oracles aside, delivers as much with as little delay.
	Frontier bool `json:"frontier"`
	// Won is in how many of the cases that was so.
	Won int `json:"won"`
}

// leastDelay is what counts as no delay where delays are compared: below it they differ by the grain of packets.
const leastDelay unit.Millis = 1

// beats says whether a delivers at least as much as b with at most its delay, and is better in one of the two by more
// than the figures' grain: a thousandth of the capacity, a fiftieth of the delay.
func (p *Point) beats(b *Point) bool {
	pd, bd := max(p.P95, leastDelay), max(b.P95, leastDelay)
	if p.Share < b.Share || pd > bd {
		return false
	}
	return p.Share > b.Share+0.001 || pd < bd*0.98
}

// mark finds the frontier.
func mark(points []Point) {
	for i := range points {
		p := &points[i]
		p.Frontier = !p.Oracle && !slices.ContainsFunc(points, func(q Point) bool { return !q.Oracle && q.beats(p) })
	}
}

// Groups gathers the rows.
func (b *Bench) Groups() []Group {
	var out []Group
	at := map[string]int{}
	for from := 0; from < len(b.Rows); {
		to := from + 1
		for to < len(b.Rows) && b.Rows[to].Case == b.Rows[from].Case && b.Rows[to].Link == b.Rows[from].Link && b.Rows[to].Dir == b.Rows[from].Dir {
			to++
		}
		r := &b.Rows[from]
		name := fmt.Sprintf("%s, %s %s", r.Case, r.Link, r.Dir)
		if r.Group != "" {
			name = fmt.Sprintf("%s, %s", r.Group, r.Dir)
		}
		k, ok := at[name]
		if !ok {
			k = len(out)
			at[name] = k
			out = append(out, Group{Name: name, Points: make([]Point, to-from)})
		}
		out[k].add(b.Rows[from:to])
		from = to
	}
	for i := range out {
		out[i].close()
	}
	return out
}

// add takes one case in: sums, and sums of logarithms of delays.
func (g *Group) add(rows []Row) {
	g.Cases++
	alone := make([]Point, len(rows))
	for i, r := range rows {
		alone[i] = Point{Policy: r.Policy, Oracle: r.Oracle, Share: r.Share, P95: r.P95}
	}
	mark(alone)
	for i, r := range rows {
		p := &g.Points[i]
		p.Policy, p.Oracle = r.Policy, r.Oracle
		p.sum(&Point{
			Share: r.Share, P50: r.P50, P95: r.P95, P99: r.P99, RoundTripP95: r.RoundTripP95,
			Over: r.OverS / max(r.CountedS, 1e-9), Commands: r.Commands,
		}, alone[i].Frontier)
	}
}

// leastMean keeps a case without any delay from making a geometric mean 0.
const leastMean = unit.Millis(0.1)

func logOf(m unit.Millis) unit.Millis { return unit.Millis(math.Log(float64(max(m, leastMean)))) }

func (p *Point) sum(q *Point, won bool) {
	p.Share += q.Share
	p.Over += q.Over
	p.Commands += q.Commands
	p.P50 += logOf(q.P50)
	p.P95 += logOf(q.P95)
	p.P99 += logOf(q.P99)
	p.RoundTripP95 += logOf(q.RoundTripP95)
	if won {
		p.Won++
	}
}

// mean turns sums over n into means.
func (p *Point) mean(n int) {
	f := float64(n)
	p.Share /= f
	p.Over /= f
	p.Commands /= f
	for _, m := range []*unit.Millis{&p.P50, &p.P95, &p.P99, &p.RoundTripP95} {
		*m = unit.Millis(math.Exp(float64(*m) / f))
	}
}

func (g *Group) close() {
	for i := range g.Points {
		g.Points[i].mean(g.Cases)
	}
	mark(g.Points)
}

// Overall is the mean of groups: each counts once, however many recordings it has.
func Overall(groups []Group) Group {
	all := Group{Name: "all groups", Points: make([]Point, len(groups[0].Points))}
	for _, g := range groups {
		for i := range g.Points {
			p, q := &all.Points[i], &g.Points[i]
			p.Policy, p.Oracle = q.Policy, q.Oracle
			p.sum(q, false)
			p.Won += q.Won
		}
		all.Cases += g.Cases
	}
	for i := range all.Points {
		all.Points[i].mean(len(groups))
	}
	mark(all.Points)
	return all
}

// Text prints the table of every group, and all groups together as table and plot.
func (b *Bench) Text(w io.Writer) error {
	groups := b.Groups()
	if len(groups) == 0 {
		return nil
	}
	var t strings.Builder
	for _, g := range groups {
		g.table(&t, false)
	}
	all := Overall(groups)
	if len(groups) > 1 {
		all.table(&t, true)
	}
	t.WriteString("* on the frontier: no other policy delivers as much with as little delay.\no an oracle: it knows what no controller can, and is no rival.\n\n")
	t.WriteString(all.Plot())
	_, err := io.WriteString(w, t.String())
	return err
}

// table prints the group; won says in how many cases each was on the frontier, instead of the time over 30 ms.
func (g *Group) table(w io.Writer, won bool) {
	title, wide, last := g.Name, 0, ">30 ms"
	if g.Cases > 1 {
		title = fmt.Sprintf("%s, means of %d", g.Name, g.Cases)
	}
	if won {
		last = "on the frontier"
	}
	for _, p := range g.Points {
		wide = max(wide, len(p.Policy))
	}
	fmt.Fprintf(w, "%s\n  %-*s  delivered  added p50       p95       p99  both ways p95  commands/s  %s\n", title, wide+2, "", last)
	for _, p := range g.Points {
		sign, end := " ", fmt.Sprintf("%5.1f%%", 100*p.Over)
		switch {
		case p.Oracle:
			sign = "o"
		case p.Frontier:
			sign = "*"
		}
		if won {
			end = fmt.Sprintf("%d of %d", p.Won, g.Cases)
			if p.Oracle {
				end = "-"
			}
		}
		fmt.Fprintf(w, "  %s %-*s  %8.1f%%  %9s %9s %9s  %13s  %10.1f  %s\n", sign, wide, p.Policy, 100*p.Share,
			delay(p.P50), delay(p.P95), delay(p.P99), delay(p.RoundTripP95), p.Commands, end)
	}
	fmt.Fprintln(w)
}

// delay prints milliseconds to three digits.
func delay(m unit.Millis) string {
	if m < 9.95 {
		return fmt.Sprintf("%.1f ms", float64(m))
	}
	return fmt.Sprintf("%.0f ms", float64(m))
}

// The text plot's size, in characters.
const plotWide, plotHigh = 66, 18

// scale is a plot's ground: p95 from left to right, by its logarithm, and share from below upwards.
type scale struct{ fromMS, toMS, fromShare float64 }

func scaleOf(points []Point) scale {
	s := scale{fromMS: 1, toMS: 10, fromShare: 1}
	for _, p := range points {
		for s.toMS < float64(p.P95) {
			s.toMS *= 10
		}
		s.fromShare = min(s.fromShare, math.Floor(p.Share*10)/10)
	}
	s.fromShare = max(0, min(s.fromShare, 0.9))
	return s
}

// at is where a point lies, both ways from 0 to 1.
func (s scale) at(p *Point) (x, y float64) {
	x = math.Log(max(float64(p.P95), s.fromMS)/s.fromMS) / math.Log(s.toMS/s.fromMS)
	return x, min(1, (p.Share-s.fromShare)/(1-s.fromShare))
}

// Plot draws the group with letters: capitals are oracles.
func (g *Group) Plot() string {
	s := scaleOf(g.Points)
	var ground [plotHigh + 1][plotWide + 1]rune
	for y := range ground {
		for x := range ground[y] {
			ground[y][x] = ' '
		}
	}
	for i := range g.Points {
		x, y := s.at(&g.Points[i])
		spot := &ground[plotHigh-int(math.Round(y*plotHigh))][int(math.Round(x*plotWide))]
		if *spot == ' ' {
			*spot = letter(&g.Points[i], i)
		} else {
			*spot = '#'
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "delivered (up) against p95 of added delay (right, logarithmic), %s\n\n", g.Name)
	for y, row := range ground {
		label := "      "
		if y%6 == 0 {
			label = fmt.Sprintf("%4.0f %%", 100*(1-float64(y)/plotHigh*(1-s.fromShare)))
		}
		fmt.Fprintf(&b, "%s |%s\n", label, strings.TrimRight(string(row[:]), " "))
	}
	fmt.Fprintf(&b, "       +%s\n", strings.Repeat("-", plotWide+1))
	axis := []byte(strings.Repeat(" ", plotWide+16))
	for v := s.fromMS; v <= s.toMS*1.001; v *= 10 {
		x, _ := s.at(&Point{P95: unit.Millis(v)})
		copy(axis[8+int(math.Round(x*plotWide)):], fmt.Sprintf("%.0f ms", v))
	}
	fmt.Fprintf(&b, "%s\n\n", strings.TrimRight(string(axis), " "))
	for i := range g.Points {
		fmt.Fprintf(&b, "  %c %s\n", letter(&g.Points[i], i), g.Points[i].Policy)
	}
	b.WriteString("  # more than one\n")
	return b.String()
}

func letter(p *Point, i int) rune {
	if p.Oracle {
		return rune('A' + i%26)
	}
	return rune('a' + i%26)
}
