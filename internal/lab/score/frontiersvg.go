package score

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"

	"wanctl/internal/unit"
)

// Sizes of the frontier's drawing, in its own units.
const (
	panelWide, panelHigh = 300, 230
	panelLeft, panelTop  = 42, 26
	panelRight, panelLow = 28, 34
	panelColumns         = 3
	legendLine           = 18
)

// frontierStyle colours for light and dark. Policies are told by their letter, oracles by a square: nothing by colour alone.
const frontierStyle = `.f{background:#fff;font:11px system-ui,sans-serif}.f text{fill:#333}.f .name{font-weight:600;font-size:12px}` +
	`.f .grid{stroke:#ddd}.f .edge{fill:none;stroke:#0a7a3c;stroke-width:1.5;stroke-dasharray:5 3}.f .p{fill:#06c}` +
	`.f .on{fill:#0a7a3c}.f .o{fill:#888}.f .in{fill:#fff;font-size:9px}` +
	`@media(prefers-color-scheme:dark){.f{background:#15181c}.f text{fill:#ccc}.f .grid{stroke:#333}.f .edge{stroke:#4cc988}` +
	`.f .p{fill:#3b82d6}.f .on{fill:#2b9c60}.f .o{fill:#777}.f .in{fill:#fff}}`

// SVG draws the frontier of every group, and of all together: what is delivered against the p95 of the added delay.
func (b *Bench) SVG() []byte {
	groups := b.Groups()
	if len(groups) == 0 {
		return nil
	}
	if len(groups) > 1 {
		groups = append([]Group{Overall(groups)}, groups...)
	}
	rows := (len(groups) + panelColumns - 1) / panelColumns
	columns := min(panelColumns, len(groups))
	legend := len(groups[0].Points)
	high := rows*panelHigh + (legend+2)*legendLine
	var w strings.Builder
	fmt.Fprintf(&w, `<svg xmlns="http://www.w3.org/2000/svg" class="f" viewBox="0 0 %d %d" role="img"><title>Delivered share of the `+
		`capacity against p95 of the added delay</title><style>%s</style>`, columns*panelWide, high, frontierStyle)
	for i := range groups {
		fmt.Fprintf(&w, `<g transform="translate(%d %d)">`, i%panelColumns*panelWide, i/panelColumns*panelHigh)
		groups[i].panel(&w)
		w.WriteString(`</g>`)
	}
	for i := range groups[0].Points {
		p := &groups[0].Points[i]
		y := rows*panelHigh + (i+1)*legendLine
		p.dot(&w, i, panelLeft, float64(y-4))
		fmt.Fprintf(&w, `<text x="%d" y="%d">%s</text>`, panelLeft+14, y, html.EscapeString(p.Policy+about(p.Policy)))
	}
	fmt.Fprintf(&w, `<text x="%d" y="%d">%s</text></svg>`, panelLeft, rows*panelHigh+(legend+1)*legendLine,
		"up: delivered, right: p95 of one-way added delay (logarithmic); the dashed line joins the policies that none beats; squares are oracles")
	w.WriteString("\n")
	return []byte(w.String())
}

// about is what a policy is, in words.
func about(name string) string {
	all := Policies()
	if i := slices.IndexFunc(all, func(p Policy) bool { return p.Name == name }); i >= 0 {
		return ": " + all[i].About
	}
	return ""
}

func (g *Group) panel(w *strings.Builder) {
	s := scaleOf(g.Points)
	const wide, high = panelWide - panelLeft - panelRight, panelHigh - panelTop - panelLow
	place := func(p *Point) (float64, float64) {
		x, y := s.at(p)
		return panelLeft + x*wide, panelTop + (1-y)*high
	}
	title := g.Name
	if g.Cases > 1 {
		title = fmt.Sprintf("%s (%d cases)", g.Name, g.Cases)
	}
	fmt.Fprintf(w, `<text class="name" x="%d" y="14">%s</text>`, panelLeft, html.EscapeString(title))
	for v := s.fromMS; v <= s.toMS*1.001; v *= 10 {
		x, _ := place(&Point{P95: unit.Millis(v)})
		fmt.Fprintf(w, `<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text x="%.1f" y="%d" text-anchor="middle">%.0f ms</text>`,
			x, panelTop, x, panelTop+high, x, panelTop+high+14, v)
	}
	for k := range 5 {
		share := s.fromShare + (1-s.fromShare)*float64(k)/4
		_, y := place(&Point{Share: share})
		fmt.Fprintf(w, `<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%.0f %%</text>`,
			panelLeft, y, panelLeft+wide, y, panelLeft-4, y+4, 100*share)
	}
	var edge []string
	order := make([]int, len(g.Points))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return int(math.Copysign(1, float64(g.Points[a].P95-g.Points[b].P95)))
	})
	for _, i := range order {
		if g.Points[i].Frontier {
			x, y := place(&g.Points[i])
			edge = append(edge, fmt.Sprintf("%.1f,%.1f", x, y))
		}
	}
	fmt.Fprintf(w, `<polyline class="edge" points="%s"/>`, strings.Join(edge, " "))
	for i := range g.Points {
		x, y := place(&g.Points[i])
		g.Points[i].dot(w, i, x, y)
	}
}

// dot draws a policy's sign around a place.
func (p *Point) dot(w *strings.Builder, i int, x, y float64) {
	class := "p"
	switch {
	case p.Oracle:
		fmt.Fprintf(w, `<rect class="o" x="%.1f" y="%.1f" width="12" height="12"/>`, x-6, y-6)
		class = ""
	case p.Frontier:
		class = "on"
	}
	if class != "" {
		fmt.Fprintf(w, `<circle class="%s" cx="%.1f" cy="%.1f" r="6.5"/>`, class, x, y)
	}
	fmt.Fprintf(w, `<text class="in" x="%.1f" y="%.1f" text-anchor="middle">%c</text>`, x, y+3, letter(p, i))
}
