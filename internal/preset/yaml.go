package preset

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"wanctl/internal/unit"
)

// page is a file in the making.
type page struct{ strings.Builder }

// why is the column where a value's comment begins.
const why = 40

// put writes a key with its value and the reason for it.
func (p *page) put(depth int, key, value, reason string) {
	line := strings.Repeat("  ", depth) + key + ":"
	if value != "" {
		line += " " + value
	}
	if reason != "" && (len(line) >= why || len(reason) > 82) { // it would not fit beside it
		p.note(depth, reason)
		reason = ""
	}
	if reason != "" {
		line = fmt.Sprintf("%-*s# %s", why, line, oneLine(reason))
	}
	p.WriteString(line + "\n")
}

// note writes a comment on lines of its own, of at most 118 characters.
func (p *page) note(depth int, text string) {
	margin := strings.Repeat("  ", depth) + "#"
	line := margin
	for _, word := range strings.Fields(oneLine(text)) {
		if len(line)+1+len(word) > 118 && line != margin {
			p.WriteString(line + "\n")
			line = margin
		}
		line += " " + word
	}
	p.WriteString(line + "\n")
}

func (p *page) gap() { p.WriteByte('\n') }

// oneLine keeps what came from elsewhere, a name of a router's thing for one, from ending a comment.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 || r == 0xfffd || r == 0xfeff {
			return ' '
		}
		return r
	}, s)
}

// bare is text that needs no quotes, whatever reads it: words, paths, references to secrets, fingerprints and IPv4 addresses.
var bare = regexp.MustCompile(`^([A-Za-z/][A-Za-z0-9_./-]*|file:/[A-Za-z0-9_./-]*|sha256:[0-9a-f]+|[0-9]+(\.[0-9]+){3})$`)

// text writes a scalar that is a text.
func text(s string) string {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf":
		return strconv.QuoteToASCII(s)
	}
	if bare.MatchString(s) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// list writes a list of texts.
func list(all []string) string {
	words := make([]string, len(all))
	for i, s := range all {
		words[i] = text(s)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// rounded is a figure of as many digits as anybody would write: whole from 20 on, else tenths, at least one.
func rounded(m float64) string {
	if m >= 20 {
		return decimal(math.Round(m))
	}
	return decimal(max(math.Round(m*10)/10, 0.1))
}

// share is a part of a rate in Mbit/s.
func share(r unit.Rate, of unit.PPM) string {
	if of == unit.One {
		return decimal(r.Mbps())
	}
	return rounded(r.Scale(of).Mbps())
}
