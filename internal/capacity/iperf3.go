package capacity

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"wanctl/internal/link"
)

// iperf3 speaks to an iperf3 server (TCP, protocol of iperf 3.1 and later; iperf_api.h names the states).
type iperf3 struct {
	address string
	streams int
	path    Path
	time    time.Duration
	answer  time.Duration
}

// state is a byte on iperf3's control connection.
type state int8

const (
	stateTestStart       state = 1
	stateTestRunning     state = 2
	stateTestEnd         state = 4
	stateParamExchange   state = 9
	stateCreateStreams   state = 10
	stateServerTerminate state = 11
	stateExchangeResults state = 13
	stateDisplayResults  state = 14
	stateDone            state = 16
	stateAccessDenied    state = -1
	stateServerError     state = -2
)

const (
	// cookieSize is that of the name of a test: 36 letters and a zero.
	cookieSize = 37
	// block is how much is written at once, iperf3's own default for TCP.
	block = 128 << 10
	// maxAnswer bounds a JSON text of the server.
	maxAnswer = 1 << 20
)

func (e *iperf3) String() string { return "iperf3 server " + e.address }

func (*iperf3) can(link.Direction) bool { return true }

// params are what the client asks for.
type params struct {
	TCP      bool   `json:"tcp"`
	Omit     int    `json:"omit"`
	Time     int    `json:"time"`
	Num      int    `json:"num"`
	Blocks   int    `json:"blockcount"`
	Parallel int    `json:"parallel"`
	Reverse  bool   `json:"reverse,omitempty"`
	Len      int    `json:"len"`
	Version  string `json:"client_version"`
}

// results are what each side tells the other at the end. Ours are not looked at by anybody.
type results struct {
	Total          float64         `json:"cpu_util_total"`
	User           float64         `json:"cpu_util_user"`
	System         float64         `json:"cpu_util_system"`
	HasRetransmits int             `json:"sender_has_retransmits"`
	Streams        []resultsStream `json:"streams"`
}

type resultsStream struct {
	ID          int     `json:"id"`
	Bytes       int64   `json:"bytes"`
	Retransmits int     `json:"retransmits"`
	Jitter      float64 `json:"jitter"`
	Errors      int     `json:"errors"`
	Packets     int     `json:"packets"`
	Start       float64 `json:"start_time"`
	End         float64 `json:"end_time"`
}

// load runs one test.
func (e *iperf3) load(ctx context.Context, d link.Direction, m *meter, ready func()) error {
	conn, err := e.path.dial(ctx, "tcp", e.address)
	if err != nil {
		return &Error{Err: err, Hint: "is `iperf3 -s` running there, and reachable through this line?"}
	}
	defer conn.Close()
	c := &control{conn: conn, answer: e.answer}
	// Whoever waits for an answer is woken when the test is called off before its load has begun.
	calledOff := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer calledOff()

	cookie := []byte(rand.Text() + rand.Text())[:cookieSize]
	cookie[cookieSize-1] = 0
	if err := c.send(cookie); err != nil {
		return err
	}
	if err := c.expect(stateParamExchange); err != nil {
		return err
	}
	if err := c.sendJSON(params{
		TCP: true, Time: int((e.time + time.Second - 1) / time.Second), Parallel: e.streams, Reverse: d == link.Down, Len: block, Version: "3.12",
	}); err != nil {
		return err
	}
	if err := c.expect(stateCreateStreams); err != nil {
		return err
	}
	streams := make([]net.Conn, e.streams)
	for i := range streams {
		if streams[i], err = m.dial(ctx, e.path, "tcp", e.address); err != nil {
			return err
		}
		defer streams[i].Close()
		if _, err := streams[i].Write(cookie); err != nil {
			return err
		}
	}
	if err := c.expect(stateTestStart); err != nil {
		return err
	}
	if err := c.expect(stateTestRunning); err != nil {
		return err
	}
	if !calledOff() {
		return ctx.Err()
	}
	_ = conn.SetDeadline(time.Time{})
	ready()
	next := run(func() error { // the server says nothing more while all is well
		return c.expectWithin(stateExchangeResults, 0)
	})
	ended := make(chan struct{})
	flows := run(func() error {
		return all(len(streams), func() {
			for _, s := range streams {
				s.Close()
			}
		}, func(i int) error { return flow(streams[i], d, ended) })
	})
	select {
	case r := <-flows:
		if err = r.result(); err == nil {
			err = errors.New("the server closed its connections in the middle")
		}
		// Why it did so, it may have said.
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		if why := (<-next).result(); why != nil && !errors.Is(why, os.ErrDeadlineExceeded) {
			err = why
		}
		return err
	case r := <-next:
		close(ended)
		m.close()
		(<-flows).rethrow()
		if err := r.result(); err != nil {
			return err
		}
		return errors.New("the server ended the test before its time")
	case <-ctx.Done():
	}
	close(ended)
	err = e.finish(c, next, len(streams))
	m.close()
	(<-flows).rethrow()
	return err
}

// finish ends a test as the server expects it, so that it is free for the next.
func (e *iperf3) finish(c *control, next <-chan outcome, streams int) error {
	_ = c.conn.SetDeadline(time.Now().Add(closeTime))
	if err := c.send([]byte{byte(stateTestEnd)}); err != nil {
		return err
	}
	if err := (<-next).result(); err != nil {
		return err
	}
	r := results{HasRetransmits: -1}
	for i := range streams {
		id := 1
		if i > 0 { // the server numbers its streams so
			id = i + 2
		}
		r.Streams = append(r.Streams, resultsStream{ID: id, Retransmits: -1, End: e.time.Seconds()})
	}
	if err := c.sendJSON(r); err != nil {
		return err
	}
	if err := c.skipJSON(); err != nil {
		return err
	}
	if err := c.expectWithin(stateDisplayResults, 0); err != nil {
		return err
	}
	return c.send([]byte{byte(stateDone)})
}

// flow keeps one stream busy until it is closed; that is no failure once the test has ended.
func flow(c net.Conn, d link.Direction, ended <-chan struct{}) error {
	var err error
	if d == link.Up {
		for err == nil {
			select {
			case <-ended:
				return nil
			default:
				_, err = c.Write(noiseBlock())
			}
		}
	} else {
		b := make([]byte, block)
		for err == nil {
			_, err = c.Read(b)
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	select {
	case <-ended:
		return nil
	default:
		return err
	}
}

// noiseBlock is what is sent: what can be compressed on the way would measure something else. Nobody writes into it.
var noiseBlock = sync.OnceValue(func() []byte {
	b := make([]byte, block)
	_, _ = rand.Read(b) // never fails
	return b
})

// control is the connection on which both sides agree.
type control struct {
	conn   *net.TCPConn
	answer time.Duration
}

func (c *control) send(b []byte) error {
	if _, err := c.conn.Write(b); err != nil {
		return fmt.Errorf("talk to the server: %w", err)
	}
	return nil
}

func (c *control) sendJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.send(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
}

// skipJSON reads the server's results: what was carried is counted here, by the same kernel that will carry it again.
func (c *control) skipJSON() error {
	var head [4]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return fmt.Errorf("read the server's results: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxAnswer {
		return fmt.Errorf("the server announces results of %d bytes", n)
	}
	_, err := io.CopyN(io.Discard, c.conn, int64(n))
	return err
}

func (c *control) expect(want state) error { return c.expectWithin(want, c.answer) }

// expectWithin reads the server's next state; a time of 0 leaves the deadline that is set.
func (c *control) expectWithin(want state, bound time.Duration) error {
	if bound > 0 {
		_ = c.conn.SetReadDeadline(time.Now().Add(bound))
	}
	var b [1]byte
	_, err := io.ReadFull(c.conn, b[:])
	const other = "is that an iperf3 server?"
	switch got := state(b[0]); {
	case errors.Is(err, os.ErrDeadlineExceeded) && bound > 0:
		return &Error{Err: fmt.Errorf("the server says nothing for %s: %w", bound, err), Hint: other}
	case errors.Is(err, io.EOF):
		return &Error{Err: errors.New("the server hung up"), Hint: other}
	case err != nil:
		return fmt.Errorf("listen to the server: %w", err)
	case got == want:
		return nil
	case got == stateAccessDenied:
		return &Error{Err: errors.New("the server is busy with another test"), Hint: "try again later"}
	case got == stateServerError:
		var codes [8]byte
		_, _ = io.ReadFull(c.conn, codes[:])
		return fmt.Errorf("the server reports its error %d (errno %d)", int32(binary.BigEndian.Uint32(codes[:])), int32(binary.BigEndian.Uint32(codes[4:])))
	case got == stateServerTerminate:
		return errors.New("the server was stopped")
	default:
		return &Error{Err: fmt.Errorf("the server answers %d where %d is due", got, want), Hint: other}
	}
}
