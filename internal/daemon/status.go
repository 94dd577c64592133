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

	"golang.org/x/sync/errgroup"

	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// Status is one running loop as `wanctl status` shows it: exactly one of WAN and Steering is set.
type Status struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	UptimeS float64   `json:"uptime_s"`
	Healthy bool      `json:"healthy"`
	Why     []string  `json:"why,omitempty"`
	at      unit.Time // when it was made
	// Debug says that details are logged; absent while they are not.
	Debug *DebugStatus    `json:"debug,omitempty"`
	WAN   *WANStatus      `json:"wan,omitempty"`
	Steer *SteeringStatus `json:"steering,omitempty"`
	// Vitals are of the whole process.
	Vitals Vitals `json:"process"`
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

// answers are what a socket answers with.
type answers struct {
	status func() Status
	// debug switches details on for a time, or off with 0.
	debug func(time.Duration) error
}

// ask is a request.
type ask struct {
	// DebugS switches details on for so many seconds, or off with 0.
	DebugS *float64 `json:"debug_s"`
}

// answer is what a request is answered with.
type answer struct {
	Error string       `json:"error,omitempty"`
	Debug *DebugStatus `json:"debug,omitempty"`
}

const (
	// mostAsking bounds how many are answered at once, and mostRequest what one may ask, in bytes.
	mostAsking  = 8
	mostRequest = 4 << 10
)

// serveStatus answers every connection to the socket with one JSON document, the status, and then each request on it with
// another, until stop is called, which removes the socket and may be called when there was an error, too.
func serveStatus(path string, with answers) (stop func(), err error) {
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
	var serving errgroup.Group
	serving.SetLimit(1 + mostAsking)
	serving.Go(func() error {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				// Closed, or out of file descriptors for a while.
				if errors.Is(err, net.ErrClosed) || !pause(ctx, acceptRetry) {
					return nil
				}
				continue
			}
			if !serving.TryGo(func() error { return with.serve(ctx, c) }) {
				_ = c.Close()
			}
		}
	})
	return func() {
		cancel()
		_ = l.Close() // removes the socket
		_ = serving.Wait()
	}, nil
}

// serve answers one connection.
func (a answers) serve(ctx context.Context, c *net.UnixConn) error {
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(statusTimeout))
	out := json.NewEncoder(c)
	if err := out.Encode(a.status()); err != nil {
		return nil // who asked has gone
	}
	in := json.NewDecoder(io.LimitReader(c, mostRequest))
	for {
		var q ask
		if err := in.Decode(&q); err != nil {
			return nil // there are no more, or it is none
		}
		if err := out.Encode(a.to(q)); err != nil {
			return nil
		}
	}
}

// to answers a request.
func (a answers) to(q ask) answer {
	switch {
	case q.DebugS == nil:
		return answer{Error: "this version does not know the request"}
	case !(*q.DebugS >= 0 && *q.DebugS <= MaxDebug.Seconds()):
		return answer{Error: fmt.Sprintf("details can be logged for %s at most", MaxDebug)}
	}
	var out answer
	if err := a.debug(time.Duration(*q.DebugS * float64(time.Second))); err != nil {
		out.Error = err.Error()
	}
	out.Debug = a.status().Debug
	return out
}

// SetDebug has the controller of that name in the run directory log details for a time, or no more with 0.
func SetDebug(run, name string, t time.Duration) (*DebugStatus, error) {
	path := socketPath(run, name)
	c, s, err := dialStatus(path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	seconds := t.Seconds()
	if err := json.NewEncoder(c).Encode(ask{DebugS: &seconds}); err != nil {
		return nil, err
	}
	var before Status
	if err := s.Decode(&before); err != nil {
		return nil, err
	}
	var got answer
	if err := s.Decode(&got); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			err = errors.New("the running controller is of a version that knows no such request: restart it")
		}
		return nil, err
	}
	if got.Error != "" {
		return got.Debug, errors.New(got.Error)
	}
	return got.Debug, nil
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
		case NobodyThere(err):
			dead = append(dead, strings.TrimSuffix(filepath.Base(p), ".sock"))
		default:
			errs = append(errs, fmt.Errorf("ask %s: %w", p, err))
		}
	}
	return all, dead, errors.Join(errs...)
}

// NobodyThere says that no controller answers on a socket, because there is none or its process is dead.
func NobodyThere(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

func askStatus(path string) (s Status, err error) {
	c, in, err := dialStatus(path)
	if err != nil {
		return s, err
	}
	defer c.Close()
	err = in.Decode(&s)
	return s, err
}

// dialStatus connects with a controller; the first document is its status.
func dialStatus(path string) (net.Conn, *json.Decoder, error) {
	c, err := net.DialTimeout("unix", path, statusTimeout)
	if err != nil {
		return nil, nil, err
	}
	if err := c.SetDeadline(time.Now().Add(statusTimeout)); err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return c, json.NewDecoder(io.LimitReader(c, 1<<20)), nil
}
