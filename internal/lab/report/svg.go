package report

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Sizes of a plot, in its own units. The view box scales; the page lets a narrow screen scroll.
const (
	plotWidth  = 900
	plotLeft   = 62
	plotRight  = 14
	plotInner  = plotWidth - plotLeft - plotRight
	rateTop    = 48
	rateHeight = 170
	delayTop   = rateTop + rateHeight + 34
	delayHigh  = 170
	stateTop   = delayTop + delayHigh + 30
	stateHigh  = 36
	axisTop    = stateTop + stateHigh + 4
	plotHeight = axisTop + 34
)

// svgStyle colours a plot for light and dark. Lines also differ in dashes and width, states in height: nothing is said by
// colour alone.
const svgStyle = `.plot{background:#fff;font:12px system-ui,sans-serif}.plot text{fill:#333}.plot .grid{stroke:#ddd}` +
	`.plot .limit{stroke:#a60;stroke-dasharray:2 4}.plot path{fill:none;stroke-width:1.5;stroke-linejoin:round}` +
	`.plot .cap{stroke:#888;stroke-width:2.5}.plot .rate{stroke:#06c;stroke-dasharray:7 3}.plot .thru{stroke:#0a7a3c}` +
	`.plot .udp{stroke:#c2185b}.plot .icmp{stroke:#7b5cd6;stroke-dasharray:3 2}.plot .lost{stroke:#c00;stroke-width:1}` +
	`.plot .name{font-weight:600;font-size:14px}.plot .out{fill:#8884}.plot .drain{fill:#8882}.plot .s0{fill:#3a9d5d}.plot .s1{fill:#d9a400}.plot .s2{fill:#e06c1f}.plot .s3{fill:#b3122f}` +
	`@media(prefers-color-scheme:dark){.plot{background:#15181c}.plot text{fill:#ccc}.plot .grid{stroke:#333}` +
	`.plot .limit{stroke:#d90}.plot .cap{stroke:#999}.plot .rate{stroke:#5aa9ff}.plot .thru{stroke:#4cc988}` +
	`.plot .udp{stroke:#ff6fa5}.plot .icmp{stroke:#b39dff}.plot .lost{stroke:#ff5a5a}.plot .out{fill:#8886}.plot .drain{fill:#8883}}`

// canvas collects the parts of one plot on a common time axis.
type canvas struct {
	strings.Builder
	from, to float64
}

// coord prints a coordinate: a tenth of a unit is below what a screen shows.
func coord(f float64) string { return strconv.FormatFloat(round(f, 1), 'f', -1, 64) }

func (c *canvas) x(t float64) float64 {
	return plotLeft + float64(plotInner*(t-c.from)/(c.to-c.from))
}

func (c *canvas) text(x, y float64, anchor, s string) {
	fmt.Fprintf(c, `<text x="%s" y="%s" text-anchor="%s">%s</text>`, coord(x), coord(y), anchor, html.EscapeString(s))
}

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(c, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`, class, coord(x1), coord(y1), coord(x2), coord(y2))
}

func (c *canvas) rect(class string, x, y, w, h float64) {
	fmt.Fprintf(c, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"/>`, class, coord(x), coord(y), coord(w), coord(h))
}

// point is one value of a series; a gap ends the line before it.
type point struct {
	t, v float64
	gap  bool
}

// column is what falls into one unit of width: first, least, greatest and last, so that no peak is lost.
type column struct {
	x                      int
	first, low, high, last float64
	gap                    bool
}

// columns thins a series to the width of the plot.
func (c *canvas) columns(points []point) []column {
	var out []column
	for _, p := range points {
		if p.t < c.from || p.t > c.to {
			continue
		}
		x := int(c.x(p.t))
		if n := len(out); n > 0 && out[n-1].x == x && !p.gap {
			o := &out[n-1]
			o.low, o.high, o.last = min(o.low, p.v), max(o.high, p.v), p.v
			continue
		}
		out = append(out, column{x: x, first: p.v, low: p.v, high: p.v, last: p.v, gap: p.gap})
	}
	return out
}

// path draws a series; y turns a value into a height on the canvas.
func (c *canvas) path(class string, points []point, y func(float64) float64) {
	c.draw(class, c.columns(points), y, false)
}

// stairs draws a series whose values hold until the next one.
func (c *canvas) stairs(class string, points []point, y func(float64) float64) {
	c.draw(class, c.columns(points), y, true)
}

func (c *canvas) draw(class string, cols []column, y func(float64) float64, hold bool) {
	if len(cols) == 0 {
		return
	}
	fmt.Fprintf(c, `<path class="%s" d="`, class)
	pen, lastX, lastY := "", math.MinInt, ""
	move := func(x int, v float64) {
		at := coord(y(v))
		if x == lastX && at == lastY {
			return
		}
		fmt.Fprintf(c, "%s%d %s", pen, x, at)
		pen, lastX, lastY = "L", x, at
	}
	for i, o := range cols {
		if i == 0 || o.gap {
			pen = "M"
		} else if hold {
			move(o.x, cols[i-1].last)
		} else if same(cols, i, y) {
			continue // on the way between two equal ones: nothing to see
		}
		move(o.x, o.first)
		if o.low != o.high {
			move(o.x, o.low)
			move(o.x, o.high)
			move(o.x, o.last)
		}
	}
	c.WriteString(`"/>`)
}

// same says whether column i is flat and level with both neighbours.
func same(cols []column, i int, y func(float64) float64) bool {
	if i == 0 || i+1 >= len(cols) || cols[i+1].gap {
		return false
	}
	a, o, b := cols[i-1], cols[i], cols[i+1]
	at := coord(y(o.low))
	return at == coord(y(o.high)) && at == coord(y(a.last)) && at == coord(y(b.first))
}

// ticks are about n round numbers from 0 to at least limit.
func ticks(limit float64, n int) []float64 {
	if limit <= 0 {
		limit = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(limit/float64(n))))
	for _, k := range []float64{1, 2, 5, 10} {
		if float64(k*step*float64(n)) >= limit {
			step *= k
			break
		}
	}
	var out []float64
	for i := 0; ; i++ {
		v := step * float64(i)
		out = append(out, v)
		if v >= limit*0.999999 {
			return out
		}
	}
}

// number prints a tick.
func number(f float64) string { return strconv.FormatFloat(round(f, 3), 'f', -1, 64) }
