package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// Status is one running loop as `wanctl status` shows it: exactly one of WAN and Steering is set.
type Status struct {
	Name    string          `json:"name"`
	Version string          `json:"version"`
	PID     int             `json:"pid"`
	UptimeS float64         `json:"uptime_s"`
	Healthy bool            `json:"healthy"`
	Why     []string        `json:"why,omitempty"`
	at      unit.Time       // when it was made
	WAN     *WANStatus      `json:"wan,omitempty"`
	Steer   *SteeringStatus `json:"steering,omitempty"`
	Vitals  Vitals          `json:"process"`
}

// WANStatus is one line.
type WANStatus struct {
	State  link.Pair[link.State] `json:"state"`
	Policy string                `json:"policy"`
	// Tracking is set under the policy of that name.
	Tracking *TrackingStatus `json:"tracking,omitempty"`
	Measured bool            `json:"measured"`
	// AgeS is the age of the newest probe reply in seconds, -1 when there was none.
	AgeS     float64     `json:"age_s"`
	RTT      unit.Millis `json:"rtt_ms"`
	Load     unit.Millis `json:"load_ewma_ms"`
	Baseline unit.Millis `json:"baseline_ms"`
	Delta    unit.Millis `json:"delta_ms"`
	// Rates are in bit/s: decided by the controller, last written, and last read back from the router.
	Decided link.Rates `json:"decided_bps"`
	Applied link.Rates `json:"applied_bps"`
	// ReadAgeS is the age of ReadBack in seconds, -1 when the router was never read.
	ReadAgeS float64                `json:"read_back_age_s"`
	ReadBack link.Rates             `json:"read_back_bps"`
	Reason   link.Pair[link.Reason] `json:"reason"`
	Carried  *link.Rates            `json:"carried_bps,omitempty"`
	Router   string                 `json:"router"`
	Link     string                 `json:"router_link"`
	LastErr  string                 `json:"last_error,omitempty"`
	Writes   int                    `json:"writes_today"`
	DryRun   bool                   `json:"dry_run"`
	// Ours says that nothing keeps this controller from writing: no other owns the router, as far as its marks tell.
	Ours bool `json:"ours"`
	// Owner is the other controller that does, empty for none.
	Owner    string                 `json:"owner,omitempty"`
	Hour     link.Pair[stateShares] `json:"share_1h_ppm"`
	Day      link.Pair[stateShares] `json:"share_24h_ppm"`
	Ever     link.Pair[stateShares] `json:"share_since_start_ppm"`
	Findings []string               `json:"findings,omitempty"`
	// Queues are the queues as last read, with what CAKE tells of itself on Linux.
	Queues *link.Pair[link.Queue] `json:"queues,omitempty"`
	// Probes are the reflectors in use.
	Probes []ProbeStatus `json:"probes,omitempty"`
}

// TrackingStatus is what a line that tracks its capacity has found out.
type TrackingStatus struct {
	// Capacity is what was measured in bit/s, 0 is not yet; Unremovable the delay that no rate takes away.
	Capacity    link.Rates             `json:"capacity_bps"`
	Unremovable link.Pair[unit.Millis] `json:"unremovable_ms"`
	// OneWay says that the newest replies tell which way the delay is; else round trips must do.
	OneWay bool `json:"one_way"`
	// Reflectors are in use, Reserve may take their places. ProbesPerS is how often all in use are probed together.
	Reflectors int     `json:"reflectors"`
	Reserve    int     `json:"reserve"`
	ProbesPerS float64 `json:"probes_per_s"`
	// Blind says that ICMP does not see the line's queues and no IRTT server does in its place, so that TCP handshakes must do.
	Blind bool `json:"blind"`
	// TCPCheck says what the comparison of ICMP with TCP has found; empty where none is made.
	TCPCheck string `json:"tcp_check,omitempty"`
}

type stateShares = [link.States]unit.PPM

// ProbeStatus is one reflector.
type ProbeStatus struct {
	Host     string  `json:"host"`
	Sent     uint64  `json:"sent"`
	Received uint64  `json:"received"`
	Late     uint64  `json:"late"`
	AgeS     float64 `json:"age_s"`
}

// SteeringStatus is the steering loop.
type SteeringStatus struct {
	State      string `json:"state"`
	Congestion string `json:"congestion"`
	// Measured says that Delta was known in the newest cycle, Averaged that EWMA ever was; else they mean nothing.
	Measured bool        `json:"measured"`
	Averaged bool        `json:"averaged"`
	Delta    unit.Millis `json:"delta_ms"`
	EWMA     unit.Millis `json:"delta_ewma_ms"`
	// AgeS is the age of the newest reply to steering's own probes in seconds, QueueAgeS that of the queue's figures and
	// RuleAgeS that of the rule's reading; -1 when there was none.
	AgeS        float64            `json:"age_s"`
	Queue       int64              `json:"queue_packets"`
	QueueAgeS   float64            `json:"queue_age_s"`
	Rule        string             `json:"rule"`
	Switch      string             `json:"switch"` // rule or list: what Rule is enabled by
	RuleAgeS    float64            `json:"rule_age_s"`
	Router      string             `json:"router"`
	LastErr     string             `json:"last_error,omitempty"`
	DryRun      bool               `json:"dry_run"`
	SharePPM    unit.PPM           `json:"share_active_ppm"`
	Transitions []TransitionStatus `json:"transitions"`
	// Connections are counted where this host is the router.
	Connections *ConnectionsStatus `json:"connections,omitempty"`
	// To is where new connections go while steered, and Alternates are all lines they may go to, both where there are several.
	To         string            `json:"to,omitempty"`
	Alternates []AlternateStatus `json:"alternates,omitempty"`
	// Brakes are what holds steering back or keeps it, beyond the vote.
	Brakes []string `json:"brakes,omitempty"`
}

// AlternateStatus is one of several alternates: what is known of it, and its rule.
type AlternateStatus struct {
	steer.View
	Rule     string  `json:"rule"`
	RuleAgeS float64 `json:"rule_age_s"`
}

// TransitionStatus is one change of steering's state.
type TransitionStatus struct {
	From   steer.State `json:"from"`
	To     steer.State `json:"to"`
	Target string      `json:"target,omitempty"`
	// AgeS is how long ago in seconds, -1 when it was in an earlier boot.
	AgeS float64 `json:"age_s"`
	Why  string  `json:"why"`
	// Text says all of it in one line.
	Text string `json:"text"`
}

func socketPath(run, name string) string { return filepath.Join(run, name+".sock") }

// statusTimeout bounds one question and answer.
const statusTimeout = 3 * time.Second

// serveStatus answers every connection to the socket with one JSON document until stop is called, which removes it and
// may be called when there was an error, too.
func serveStatus(path string, get func() Status) (stop func(), err error) {
	stop = func() {}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return stop, fmt.Errorf("make the directory of %s: %w", path, err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket == 0 {
		return stop, fmt.Errorf("%s is not a socket: remove it", path)
	}
	// The lock says that no other process of this name runs, so a socket that lies here is a dead one's.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return stop, fmt.Errorf("remove the old status socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return stop, fmt.Errorf("listen for `wanctl status`: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return stop, errors.Join(fmt.Errorf("limit the status socket: %w", err), l.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				// Closed, or out of file descriptors for a while.
				if errors.Is(err, net.ErrClosed) || !pause(ctx, acceptRetry) {
					return
				}
				continue
			}
			_ = c.SetDeadline(time.Now().Add(statusTimeout))
			_ = json.NewEncoder(c).Encode(get())
			_ = c.Close()
		}
	}()
	return func() {
		cancel()
		_ = l.Close() // removes the socket
		<-done
	}, nil
}

// acceptRetry is the pause after a connection could not be accepted.
const acceptRetry = 100 * time.Millisecond

// pause waits for d; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// ReadStatus asks every loop that publishes in the run directory. A socket nobody answers on belongs to a killed
// process and is named in dead.
func ReadStatus(run string) (all []Status, dead []string, err error) {
	paths, err := filepath.Glob(filepath.Join(run, "*.sock"))
	if err != nil {
		return nil, nil, fmt.Errorf("look into %s: %w", run, err)
	}
	slices.Sort(paths)
	var errs []error
	for _, p := range paths {
		s, err := askStatus(p)
		switch {
		case err == nil:
			all = append(all, s)
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
			dead = append(dead, strings.TrimSuffix(filepath.Base(p), ".sock"))
		default:
			errs = append(errs, fmt.Errorf("ask %s: %w", p, err))
		}
	}
	return all, dead, errors.Join(errs...)
}

func askStatus(path string) (s Status, err error) {
	c, err := net.DialTimeout("unix", path, statusTimeout)
	if err != nil {
		return s, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(statusTimeout)); err != nil {
		return s, err
	}
	err = json.NewDecoder(io.LimitReader(c, 1<<20)).Decode(&s)
	return s, err
}
