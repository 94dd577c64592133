package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"wanctl/internal/blueprint"
	"wanctl/internal/link"
	"wanctl/internal/preset"
	"wanctl/internal/unit"
)

// lineAnswers is what a --line says. Empty is not said.
type lineAnswers struct {
	wan, name, access, rates, download, upload, simple, source, baseline string
}

// parseLine reads a --line.
func parseLine(s string) (a lineAnswers, err error) {
	for pair := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(pair, "=")
		to := map[string]*string{
			"wan": &a.wan, "name": &a.name, "access": &a.access, "rates": &a.rates, "download": &a.download, "upload": &a.upload,
			"simple": &a.simple, "source": &a.source, "baseline": &a.baseline,
		}[strings.TrimSpace(key)]
		switch {
		case to == nil:
			return a, fmt.Errorf("%q is no key: wan, name, access, rates, download, upload, simple, source, baseline", key)
		case !ok || value == "":
			return a, fmt.Errorf("%s has no value: write %[1]s=…", key)
		case *to != "":
			return a, fmt.Errorf("%s is given twice", key)
		}
		*to = strings.TrimSpace(value)
	}
	judges := []struct {
		value, key string
		judge      func(string) error
	}{
		{a.access, "access", judgeAccess},
		{a.rates, "rates", judgeRates},
		{a.name, "name", judgeName},
		{a.download, "download", judgeQueue},
		{a.upload, "upload", judgeQueue},
		{a.simple, "simple", judgeQueue},
		{a.source, "source", judgeSource},
		{a.baseline, "baseline", func(s string) error { _, err := baseline(s); return err }},
	}
	for _, j := range judges {
		if j.value != "" {
			if err := j.judge(j.value); err != nil {
				return a, fmt.Errorf("%s: %w", j.key, err)
			}
		}
	}
	switch {
	case a.simple != "" && (a.download != "" || a.upload != ""):
		return a, errors.New("simple is one queue for both directions: give it, or download and upload")
	case (a.download == "") != (a.upload == ""):
		return a, errors.New("download and upload are given together")
	}
	return a, nil
}

// missing are the keys that a script has to give.
func (a *lineAnswers) missing(several, linux bool) (keys []string) {
	for _, k := range []struct{ value, key string }{{a.wan, "wan=INTERFACE"}, {a.access, "access=WORD"}, {a.rates, "rates=DOWN/UP"}} {
		if k.value == "" {
			keys = append(keys, k.key)
		}
	}
	if several && !linux && a.source == "" {
		keys = append(keys, "source=ADDRESS")
	}
	return keys
}

func judgeAccess(s string) error {
	if _, ok := preset.Named(s); !ok {
		return fmt.Errorf("%q is none of %s", s, strings.Join(preset.Words(), ", "))
	}
	return nil
}

func judgeSource(s string) error {
	if a, err := netip.ParseAddr(s); s != "none" && (err != nil || !a.Is4()) {
		return fmt.Errorf("%q is no IPv4 address: reflectors are probed over IPv4", s)
	}
	return nil
}

// unknownRates says that a line has no rates that one could name, measuredRates that they are to be measured.
const (
	unknownRates  = "unknown"
	measuredRates = "measured"
)

// leastRate bounds what is taken for a line's rate, in Mbit/s; the most is a configuration's.
const (
	leastRate = 0.5
	mostRate  = 100000
)

// judgeRates takes what a --line may say of rates.
func judgeRates(s string) error {
	if s == measuredRates {
		return nil
	}
	_, err := soldRates(s)
	return err
}

// soldRates reads "450/38" in Mbit/s; "unknown" is none.
func soldRates(s string) (r link.Rates, err error) {
	if s == unknownRates {
		return r, nil
	}
	down, up, ok := strings.Cut(s, "/")
	if !ok {
		return r, fmt.Errorf("%q is not download and upload in Mbit/s: write 450/38", s)
	}
	for d, word := range map[link.Direction]string{link.Down: down, link.Up: up} {
		f, err := strconv.ParseFloat(strings.TrimRight(strings.TrimSpace(word), "M"), 64)
		if err != nil || !(f >= leastRate && f <= mostRate) {
			return link.Rates{}, fmt.Errorf("the %v %q is no rate from %v to %v Mbit/s", d, strings.TrimSpace(word), leastRate, mostRate)
		}
		rate, err := unit.FromMbps(f)
		if err != nil {
			return link.Rates{}, err
		}
		r.Set(d, rate)
	}
	return r, nil
}

// baseline reads a round trip in ms.
func baseline(s string) (float64, error) {
	f, err := strconv.ParseFloat(strings.TrimSuffix(s, "ms"), 64)
	if err != nil || !(f > 0 && f <= 5000) {
		return 0, fmt.Errorf("%q is no round trip of up to 5000 ms", s)
	}
	return f, nil
}

var (
	// lineName is narrower than what a configuration takes: a name is a key of steering's file, and part of a command line and of
	// the queues' names, too.
	lineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$`)
	// queueName is what a configuration takes.
	queueName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
)

// judgeName takes what can be a line's name, and with it a file's.
func judgeName(s string) error {
	switch {
	case !lineName.MatchString(s):
		return fmt.Errorf("%q cannot be a name: a letter or digit, then these, _ and -, at most 40", s)
	case strings.EqualFold(s+".yaml", preset.SteeringFile) || strings.EqualFold(s, "primary"):
		return fmt.Errorf("%q has another meaning: choose another name", s)
	}
	return nil
}

// judgeQueue takes what a configuration takes for a queue's name.
func judgeQueue(s string) error {
	if !queueName.MatchString(s) {
		return fmt.Errorf("%q: a queue is named by letters, digits, _ . and -, at most 64: rename it on the router first", s)
	}
	return nil
}

// nameFor makes a name of an interface's.
func nameFor(iface string) string {
	name := strings.Trim(strings.ReplaceAll(strings.Map(plainName, iface), ".", "_"), "_-")
	if judgeName(name) != nil {
		return ""
	}
	return name
}

// uplinks are the interfaces that a line could be on, the router's or this host's, the nearest default route first.
func (w *wizard) uplinks() []blueprint.Uplink {
	if w.Linux {
		return w.app.kernelUplinks()
	}
	return blueprint.Uplinks(w.view.inventory)
}

// lines chooses the lines and asks what has to be known of each.
func (w *wizard) lines() error {
	uplinks := w.uplinks()
	if len(uplinks) == 0 {
		return errors.New("there is no interface that a line could be on")
	}
	if len(w.answers) == 0 {
		if err := w.chooseLines(uplinks); err != nil {
			return err
		}
	}
	for i := range w.answers {
		a := &w.answers[i]
		at := slices.IndexFunc(uplinks, func(u blueprint.Uplink) bool { return u.Name == a.wan })
		if at < 0 {
			return fmt.Errorf("--line wan=%s: there is no such interface, but %s", a.wan, strings.Join(namesOf(uplinks), ", "))
		}
		if slices.ContainsFunc(w.house.Lines, func(l preset.Line) bool { return l.Interface == a.wan }) {
			return fmt.Errorf("--line wan=%s: two lines cannot be on one interface", a.wan)
		}
		l, err := w.line(a, uplinks[at])
		if err != nil {
			return err
		}
		w.house.Lines = append(w.house.Lines, l)
	}
	w.done.lines = true
	if !w.Linux {
		return w.towardsHouse()
	}
	return nil
}

func namesOf(uplinks []blueprint.Uplink) (names []string) {
	for _, u := range uplinks {
		names = append(names, u.Name)
	}
	return names
}

// chooseLines shows the interfaces and asks which are lines.
func (w *wizard) chooseLines(uplinks []blueprint.Uplink) error {
	fmt.Fprintln(w.app.Stdout, "Interfaces, those with a default route first:")
	var proposed []string
	for i, u := range uplinks {
		state := ""
		if !u.Running {
			state = ", not running"
		}
		fmt.Fprintf(w.app.Stdout, "  %2d  %s (%s%s): %s\n", i+1, u.Name, u.Type, state, found(u))
		if u.Line() {
			proposed = append(proposed, strconv.Itoa(i+1))
		}
	}
	var chosen []int
	_, err := w.ask("Which of them are lines to the internet, by number", "--line", strings.Join(proposed, " "), func(s string) error {
		chosen = nil
		for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' || r == ',' }) {
			n, err := numbered(word, len(uplinks))
			if err != nil {
				return err
			}
			if slices.Contains(chosen, n) {
				return fmt.Errorf("%d is named twice", n+1)
			}
			chosen = append(chosen, n)
		}
		if len(chosen) == 0 {
			return errors.New("name at least one")
		}
		return nil
	})
	for _, n := range chosen {
		w.answers = append(w.answers, lineAnswers{wan: uplinks[n].Name})
	}
	return err
}

func found(u blueprint.Uplink) string {
	switch {
	case !u.Line():
		return "no default route"
	case !u.Routed:
		return fmt.Sprintf("gateway %s by DHCP, no default route", u.Gateway)
	case u.Gateway == u.Name:
		return fmt.Sprintf("default route, distance %d", u.Distance)
	}
	return fmt.Sprintf("default route by %s, distance %d", u.Gateway, u.Distance)
}

// line asks what is not known of one.
func (w *wizard) line(a *lineAnswers, u blueprint.Uplink) (l preset.Line, err error) {
	l = preset.Line{Interface: u.Name, Found: found(u), Policy: w.Policy, Reflectors: w.PingHosts}
	taken := func(s string) error {
		if slices.ContainsFunc(w.house.Lines, func(o preset.Line) bool { return strings.EqualFold(o.Name, s) }) {
			return fmt.Errorf("%q is the name of another line", s)
		}
		return judgeName(s)
	}
	if a.name == "" {
		if a.name = nameFor(u.Name); !w.Yes {
			if a.name, err = w.ask(fmt.Sprintf("A name for the line on %s", u.Name), "--line name=", a.name, taken); err != nil {
				return l, err
			}
		}
	}
	if err := taken(a.name); err != nil {
		return l, fmt.Errorf("--line wan=%s: name: %w", a.wan, err)
	}
	l.Name = a.name
	if a.access == "" {
		if a.access, err = w.access(l.Name, u); err != nil {
			return l, err
		}
	}
	l.Technology, _ = preset.Named(a.access)
	if !w.Linux {
		if l.Queues, err = w.queues(a, u); err != nil {
			return l, err
		}
	}
	if l.Source, err = w.source(a, &l); err != nil {
		return l, err
	}
	if a.baseline != "" {
		l.Idle.RTT, _ = baseline(a.baseline)
		l.Idle.How = "as you said"
	}
	l.Sold, l.Measured, err = w.sold(a, &l)
	return l, err
}

// access asks for a line's technology.
func (w *wizard) access(name string, u blueprint.Uplink) (string, error) {
	proposal := -1
	guess := map[string]string{"pppoe-out": "vdsl-pppoe", "lte": "lte"}[u.Type]
	var options []string
	for i, t := range preset.Technologies() {
		options = append(options, t.Title)
		if t.Word == guess {
			proposal = i
		}
	}
	n, err := w.pick(fmt.Sprintf("What kind of line is %s", name), "--line access=", options, proposal)
	return preset.Words()[n], err
}

// sold asks what a line is sold as, unless it was measured what it carries.
func (w *wizard) sold(a *lineAnswers, l *preset.Line) (sold link.Rates, measured bool, err error) {
	// A queue has to be made with a limit, and the policy steps lives between a floor and a ceiling.
	needed := l.Policy == preset.Steps || !w.Linux && !l.Queues.There
	judge := func(s string) error {
		r, err := soldRates(s)
		if err == nil && needed && r == (link.Rates{}) {
			why := "its queues are to be made, and begin with them"
			if l.Policy == preset.Steps {
				why = "the policy steps moves between them and its floors"
			}
			return fmt.Errorf("the rates are needed: %s", why)
		}
		return err
	}
	proposal := ""
	if !needed {
		proposal = unknownRates
	}
	carried := ""
	if a.rates == measuredRates || a.rates == "" && w.CapacityFrom != "" {
		if carried, err = w.carries(l); err != nil && (w.ctx.Err() != nil || a.rates != "") {
			return sold, false, fmt.Errorf("--line wan=%s: rates=%s: %w", a.wan, measuredRates, err)
		}
		if err != nil {
			fmt.Fprintf(w.app.Stdout, "  What %s carries was not measured: %v.\n", l.Name, err)
		} else {
			proposal = carried
		}
		if a.rates != "" {
			a.rates = carried
		}
	}
	if a.rates == "" {
		question := fmt.Sprintf("What is %s sold as, download/upload in Mbit/s, as 450/38", l.Name)
		switch {
		case carried != "":
			question = fmt.Sprintf("What shall be taken for %s, download/upload in Mbit/s", l.Name)
		case l.Technology.Radio:
			question = fmt.Sprintf("What does %s give in its best hour, download/upload in Mbit/s, as 150/30", l.Name)
		}
		if a.rates, err = w.ask(question, "--line rates=", proposal, judge); err != nil {
			return sold, false, err
		}
	}
	if err := judge(a.rates); err != nil {
		return sold, false, fmt.Errorf("--line wan=%s: rates: %w", a.wan, err)
	}
	sold, err = soldRates(a.rates)
	return sold, carried != "" && a.rates == carried, err
}

// source asks for the address of this host that takes a line, where there are several lines.
func (w *wizard) source(a *lineAnswers, l *preset.Line) (netip.Addr, error) {
	if a.source == "none" {
		return netip.Addr{}, nil
	}
	if a.source != "" {
		at, err := netip.ParseAddr(a.source)
		if err == nil && w.probedFrom(at) {
			err = fmt.Errorf("--line wan=%s: source %s is another line's", a.wan, at)
		}
		return at, err
	}
	if len(w.answers) < 2 {
		return netip.Addr{}, nil
	}
	if w.Linux {
		// The probes are bound to the interface (ping_interface): an address adds nothing that outlives a lease.
		return permanentAddress(l.Interface), nil
	}
	var free []netip.Addr
	for _, at := range ownAddresses(w.house.Router.Host) {
		if !w.probedFrom(at) {
			free = append(free, at)
		}
	}
	if len(free) == 0 {
		fmt.Fprintf(w.app.Stdout, "  With several lines each is probed from an address of its own, by which the router tells the probes apart. This host has no\n"+
			"  further address towards the router: add one (ip address add 192.168.88.6/24 dev eth0, and for good in this host's network\n"+
			"  set-up) and name it, or answer \"none\": the line is then measured by whichever the router takes.\n")
	}
	proposal := ""
	if len(free) > 0 {
		proposal = free[0].String()
		fmt.Fprintf(w.app.Stdout, "  Free addresses of this host: %s\n", joined(free))
	}
	answer, err := w.ask(fmt.Sprintf("This host's address for probes of %s, or none", l.Name), "--line source=", proposal, func(s string) error {
		at, err := netip.ParseAddr(s)
		if err == nil && w.probedFrom(at) {
			return fmt.Errorf("%s is another line's", at)
		}
		return judgeSource(s)
	})
	if err != nil || answer == "none" {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(answer)
}

// probedFrom says whether an address is a line's already.
func (w *wizard) probedFrom(at netip.Addr) bool {
	return slices.ContainsFunc(w.house.Lines, func(l preset.Line) bool { return l.Source == at })
}

func joined(all []netip.Addr) string {
	var words []string
	for _, a := range all {
		words = append(words, a.String())
	}
	return strings.Join(words, ", ")
}

// towardsHouse asks for the interface towards the house where the router has not exactly one bridge.
func (w *wizard) towardsHouse() error {
	if len(w.LAN) > 1 {
		return errors.New("--lan: the router's queues hang on one interface: name one")
	}
	lan := ""
	if len(w.LAN) == 1 {
		lan = w.LAN[0]
	}
	var names []string
	bridges := 0
	for _, r := range w.view.inventory[blueprint.Interface] {
		if blueprint.Truth(r["disabled"]) {
			continue
		}
		if r["type"] == "bridge" {
			bridges++
		}
		names = append(names, r["name"])
	}
	judge := func(s string) error {
		if !slices.Contains(names, s) {
			return fmt.Errorf("the router has no interface %q, but %s", s, strings.Join(names, ", "))
		}
		return nil
	}
	if lan != "" {
		if err := judge(lan); err != nil {
			return fmt.Errorf("--lan: %w", err)
		}
	} else if bridges != 1 {
		var err error
		if lan, err = w.ask("The router has not exactly one bridge. Its interface towards the house", "--lan", "", judge); err != nil {
			return err
		}
	}
	for i := range w.house.Lines {
		w.house.Lines[i].LAN = lan
	}
	return nil
}
