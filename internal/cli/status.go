package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

type statusCmd struct {
	JSON   bool   `help:"Print the whole status as JSON."`
	RunDir string `name:"run-dir" placeholder:"DIR" help:"Run directory of the running processes."`
}

// Help documents the exit code.
func (statusCmd) Help() string {
	return `Asks every running controller through its socket in the run directory.

Exit codes: 0 all healthy, 1 at least one degraded (the reason is printed), 2 none is running.

Example:

    wanctl status --json`
}

// Run prints what the controllers say.
func (c statusCmd) Run(app *App) error {
	dirs := app.dirs(c.RunDir)
	all, dead, failed := daemon.ReadStatus(dirs.Run) // what could be read is shown, whatever could not
	healthy := len(dead) == 0 && failed == nil
	for _, s := range all {
		healthy = healthy && s.Healthy
	}
	if c.JSON {
		if all == nil {
			all = []daemon.Status{}
		}
		if err := app.printJSON("status", struct {
			Healthy    bool            `json:"healthy"`
			Controller []daemon.Status `json:"controllers"`
			Dead       []string        `json:"dead,omitempty"`
		}{healthy && len(all) > 0, all, dead}); err != nil {
			return err
		}
	} else {
		for _, s := range all {
			printStatus(app.Stdout, s)
		}
		for _, n := range dead {
			fmt.Fprintf(app.Stdout, "%s: not running, and it did not stop by itself (its socket is still there)\n", n)
		}
		if len(all)+len(dead) == 0 && failed == nil {
			fmt.Fprintf(app.Stderr, "wanctl: nothing is running (no socket in %s; a process that was started with --run-dir or by another user has its own)\n", dirs.Run)
		}
	}
	switch {
	case failed != nil:
		if errors.Is(failed, fs.ErrPermission) {
			return fmt.Errorf("%w (only the user of the process and its group may ask it)", failed)
		}
		return fmt.Errorf("%w (the process ended just now, or does not answer)", failed)
	case len(all) == 0:
		return exitCode(exitNotRunning)
	case !healthy:
		return exitCode(exitFailed)
	}
	return nil
}

func printStatus(w io.Writer, s daemon.Status) {
	health := "healthy"
	if !s.Healthy {
		health = "DEGRADED"
	}
	up := time.Duration(s.UptimeS * float64(time.Second)).Round(time.Second)
	fmt.Fprintf(w, "%s: %s, up %s, process %d, wanctl %s\n", s.Name, health, up, s.PID, s.Version)
	for _, y := range s.Why {
		fmt.Fprintf(w, "  why:       %s\n", y)
	}
	if v := s.Vitals; v.Goroutines > 0 { // an earlier version's process tells nothing of it
		fmt.Fprintf(w, "  process:   %.1f MB resident, %.1f MB of heap in use, %d goroutines, %d descriptors\n",
			float64(v.ResidentBytes)/1e6, float64(v.HeapLiveBytes)/1e6, v.Goroutines, v.Descriptors)
	}
	if s.Debug != nil {
		fmt.Fprintf(w, "  debug:     %s\n", debugText(s.Debug))
	}
	if s.WAN != nil {
		printWAN(w, s.WAN)
	}
	if s.Steer != nil {
		printSteering(w, s.Steer)
	}
}

func printWAN(w io.Writer, s *daemon.WANStatus) {
	age := ageText(s.AgeS, "no reply yet", "measured %.1f s ago")
	fmt.Fprintf(w, "  state:     %s/%s (download/upload), %s\n", s.State.Down, s.State.Up, age)
	fmt.Fprintf(w, "  delay:     RTT %s, load %s, baseline %s, delta %s\n", s.RTT, s.Load, s.Baseline, s.Delta)
	fmt.Fprintf(w, "  rates:     decided %s, applied %s, read back %s\n", rates(s.Decided), rates(s.Applied), rates(s.ReadBack))
	if t := s.Tracking; t != nil {
		fmt.Fprintf(w, "  policy:    %s, %s\n", s.Policy, trackingText(t))
		if t.TCPCheck != "" {
			fmt.Fprintf(w, "  tcp check: %s\n", t.TCPCheck)
		}
	}
	if s.Carried != nil {
		fmt.Fprintf(w, "  carried:   %s\n", rates(*s.Carried))
	}
	if q := s.Queues; q != nil && q.Down.Cake.Tins.N+q.Up.Cake.Tins.N > 0 {
		fmt.Fprintf(w, "  queues:    %s (download), %s (upload)\n", queueText(q.Down), queueText(q.Up))
	}
	fmt.Fprintf(w, "  router:    %s, %s, %d writes in 24 h%s\n", s.Router, linkText(s.Link), s.Writes, dryText(s.DryRun))
	if s.LastErr != "" {
		fmt.Fprintf(w, "  error:     %s\n", s.LastErr)
	}
	for _, r := range []struct {
		name string
		p    link.Pair[[link.States]unit.PPM]
	}{{"in 1 h:", s.Hour}, {"in 24 h:", s.Day}, {"overall:", s.Ever}} {
		fmt.Fprintf(w, "  %-10s %s\n", r.name, shareText(r.p))
	}
	if len(s.Probes) > 0 {
		fmt.Fprintf(w, "  probes:    %s\n", probeText(s.Probes))
	}
}

// trackingText says what a line that tracks its capacity has found out, and by what.
func trackingText(t *daemon.TrackingStatus) string {
	by := "round trips"
	if t.OneWay {
		by = "one-way delays"
	}
	reserve := ""
	if t.Reserve > 0 {
		reserve = fmt.Sprintf(" (%d in reserve)", t.Reserve)
	}
	return fmt.Sprintf("measured %s, unremovable delay %s/%s, by %s, %.3g probes/s to %d reflectors%s",
		rates(t.Capacity), t.Unremovable.Down, t.Unremovable.Up, by, t.ProbesPerS, t.Reflectors, reserve)
}

// ageText says how old a figure is, or that there is none.
func ageText(age float64, none, some string) string {
	if age < 0 {
		return none
	}
	return fmt.Sprintf(some, age)
}

// queueText is what a CAKE queue does now.
func queueText(q link.Queue) string {
	return fmt.Sprintf("adds %s, holds %d packets, dropped %d, marked %d", q.Cake.Delay(), q.QueuedPackets, q.Dropped, q.Marked)
}

// linkText says what a router link's state means for whoever waits for it.
func linkText(link string) string {
	if link == "stopped" {
		return "stopped (not tried again before a reload or restart)"
	}
	return strings.ReplaceAll(link, "_", " ")
}

func dryText(dry bool) string {
	if dry {
		return ", nothing is written (dry run)"
	}
	return ""
}

// silentAfter is how old a reflector's newest reply may be: probing is paced, so it is never fresh to the moment.
const silentAfter = 10

// probeText names each reflector, and which do not answer.
func probeText(ps []daemon.ProbeStatus) string {
	var all []string
	for _, p := range ps {
		switch {
		case p.AgeS < 0:
			all = append(all, p.Host+" no answer yet")
		case p.AgeS > silentAfter:
			all = append(all, fmt.Sprintf("%s silent for %.0f s", p.Host, p.AgeS))
		default:
			all = append(all, p.Host+" answers")
		}
	}
	return strings.Join(all, ", ")
}

func rates(r link.Rates) string { return fmt.Sprintf("%s/%s", rate(r.Down), rate(r.Up)) }

func rate(r unit.Rate) string {
	if r == 0 {
		return "-"
	}
	return r.String()
}

func shareText(p link.Pair[[link.States]unit.PPM]) string {
	var b strings.Builder
	for st := link.Green; st <= link.Red; st++ {
		if st > link.Green {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %.1f%%/%.1f%%", st, p.Down[st].Factor()*100, p.Up[st].Factor()*100)
	}
	return b.String()
}

func printSteering(w io.Writer, s *daemon.SteeringStatus) {
	to := ""
	if s.To != "" {
		to = " to " + s.To
	}
	fmt.Fprintf(w, "  state:     %s%s, congestion %s, active %.2f%% of the time\n", s.State, to, s.Congestion, s.SharePPM.Factor()*100)
	delta, average := "?", "?" // what is unknown is never 0
	if s.Measured {
		delta = s.Delta.String()
	}
	if s.Averaged {
		average = s.EWMA.String()
	}
	fmt.Fprintf(w, "  delay:     delta %s, averaged %s, %s\n", delta, average, ageText(s.AgeS, "no reply yet", "measured %.1f s ago"))
	fmt.Fprintf(w, "  queue:     %s\n", ageText(s.QueueAgeS, "not read", fmt.Sprintf("%d packets, read %%.1f s ago", s.Queue)))
	rule := s.Rule
	if s.Switch == config.SwitchList {
		rule += " (by its list)"
	}
	fmt.Fprintf(w, "  rule:      %s on %s%s%s\n", rule, s.Router, ageText(s.RuleAgeS, "", ", read %.1f s ago"), dryText(s.DryRun))
	if s.LastErr != "" {
		fmt.Fprintf(w, "  error:     %s\n", s.LastErr)
	}
	if c := s.Connections; c != nil {
		fmt.Fprintf(w, "  classes:   %s\n", connectionsText(c))
	}
	for _, a := range s.Alternates {
		fmt.Fprintf(w, "  alternate: %s, rule %s\n", a.View, a.Rule)
	}
	for _, b := range s.Brakes {
		fmt.Fprintf(w, "  brake:     %s\n", b)
	}
	for _, t := range s.Transitions {
		fmt.Fprintf(w, "  change:    %s\n", t.Text)
	}
}

// connectionsText is how many new latency-sensitive connections there were, and where the rules sent some.
func connectionsText(c *daemon.ConnectionsStatus) string {
	text := fmt.Sprintf("%d new connections over IPv4, %d over IPv6", c.New, c.New6)
	if n := c.New + c.New6; n > 0 {
		text += fmt.Sprintf(" (%.0f %%)", 100*float64(c.New6)/float64(n))
	}
	for _, l := range c.To {
		text += fmt.Sprintf(", %d sent to %s", l.New, l.Line)
	}
	return text
}
