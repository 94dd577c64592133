package state

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// SteeringSchema is the version of steering's state. Version 1 knew one alternate only.
const SteeringSchema = 2

// MaxTransitions bounds the changes of state that are kept in a state file; the history beside it has more, in full.
const MaxTransitions = 1000

// Steering is the durable state of steering.
type Steering struct {
	Schema int    `json:"schema"`
	Name   string `json:"name"`
	// Primary is the line it steers away from; a file of another site must not be used.
	Primary  string         `json:"primary"`
	BootID   string         `json:"boot_id"`
	At       unit.Time      `json:"at_ns"`
	Saved    time.Time      `json:"saved"`
	Machine  steer.Snapshot `json:"machine"`
	Checksum string         `json:"checksum"`
}

// WriteSteering prints the state of steering.
// What is beyond the newest [MaxTransitions] is left out: a state that outgrows [MaxSize] could not be read again.
func WriteSteering(w io.Writer, s Steering) error {
	if n := len(s.Machine.History) - MaxTransitions; n > 0 {
		s.Machine.History = s.Machine.History[n:]
	}
	s.Schema, s.Checksum = SteeringSchema, ""
	return seal(w, s)
}

// ReadSteering parses what [WriteSteering] printed for the same primary line, in this version or an earlier one.
func ReadSteering(r io.Reader, primary string) (Steering, error) {
	b, err := unseal(r, SteeringSchema)
	if err != nil {
		return Steering{}, err
	}
	var s Steering
	if err := json.Unmarshal(b, &s); err != nil {
		return Steering{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if s.Primary != primary {
		return Steering{}, fmt.Errorf("%w: it steers away from %q, not from %q", ErrCorrupt, s.Primary, primary)
	}
	if s.Schema == 1 {
		var old struct {
			Machine struct {
				Alternate steer.AlternateMemory `json:"alternate"`
			} `json:"machine"`
		}
		if err := json.Unmarshal(b, &old); err != nil {
			return Steering{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		s.Machine.Alternates = []steer.AlternateMemory{old.Machine.Alternate}
	}
	return s, nil
}

// Event is one change of steering's state in the history: a line of JSON.
type Event struct {
	// Time is when it was, BootID in which boot its instants are.
	Time   time.Time `json:"time"`
	BootID string    `json:"boot_id"`
	// Name is the steering's, Primary the line it steers away from.
	Name    string `json:"name"`
	Primary string `json:"primary"`
	steer.Account
}

// WriteEvent prints an event as one line.
func WriteEvent(w io.Writer, e Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode a change of steering: %w", err)
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write a change of steering: %w", err)
	}
	return nil
}

// maxEvent bounds one line of the history, in bytes.
const maxEvent = 1 << 16

// ReadEvents parses a history, oldest first. Lines that are none, such as one that a crash tore, are counted and left out. At
// most [MaxSize] bytes are read.
func ReadEvents(r io.Reader) (all []Event, bad int, err error) {
	lines := bufio.NewScanner(io.LimitReader(r, MaxSize))
	lines.Buffer(make([]byte, 0, 4096), maxEvent)
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var e Event
		if json.Unmarshal(line, &e) != nil || e.Time.IsZero() {
			bad++
			continue
		}
		all = append(all, e)
	}
	if err := lines.Err(); err != nil {
		return all, bad, fmt.Errorf("read the history: %w", err)
	}
	return all, bad, nil
}
