package daemon

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"wanctl/internal/state"
	"wanctl/internal/steer"
)

// historyMax is the size from which the history is put aside as its one older generation, in bytes: about 150 changes.
const historyMax = 256 << 10

// HistoryFile is where the changes of the steering with that state file are told in full; the older ones are in the same with
// .1 behind.
func HistoryFile(stateFile string) string {
	return strings.TrimSuffix(stateFile, filepath.Ext(stateFile)) + "_history.jsonl"
}

// history appends to a history file.
type history struct {
	path string
	head state.Event // what is the same in all of its events
}

// tell appends a change.
func (h *history) tell(at time.Time, a steer.Account) error {
	e := h.head
	e.Time, e.Account = at, a
	var b bytes.Buffer
	if err := state.WriteEvent(&b, e); err != nil {
		return err
	}
	if info, err := os.Lstat(h.path); err == nil && info.Size() >= historyMax {
		if err := os.Rename(h.path, h.path+".1"); err != nil {
			return fmt.Errorf("put the full history aside: %w", err)
		}
	}
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return fmt.Errorf("open the history: %w", err)
	}
	_ = leaveToTheDirectory(h.path)
	_, err = f.Write(b.Bytes())
	if cl := f.Close(); err == nil {
		err = cl
	}
	if err != nil {
		return fmt.Errorf("append to the history %s: %w", h.path, err)
	}
	return nil
}

// ReadHistory reads a history and its older generation, oldest first. bad counts lines that are none.
func ReadHistory(path string) (all []state.Event, bad int, err error) {
	for _, p := range []string{path + ".1", path} {
		f, err := os.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if os.IsNotExist(err) && p != path {
			continue
		}
		if err != nil {
			return all, bad, err
		}
		events, n, err := state.ReadEvents(f)
		_ = f.Close()
		all, bad = append(all, events...), bad+n
		if err != nil {
			return all, bad, fmt.Errorf("%s: %w", p, err)
		}
	}
	return all, bad, nil
}

// tell writes a change of state into the history. One that cannot be written is a warning: the state has it in short.
func (s *Steer) tell(a steer.Account) {
	if s.told == nil {
		return
	}
	if err := s.told.tell(s.Clock.Wall(), a); err != nil {
		s.log.Warn(err.Error())
	}
}

// leftAt notes which alternate connections were left going to, and tells it when it is a change; why is the account so far.
func (s *Steer) leftAt(alternate int, why *steer.Account) {
	before := len(s.machine.snapshot().History)
	s.machine.Left(alternate)
	h := s.machine.snapshot().History
	if len(h) <= before {
		return
	}
	a := steer.Account{Congestion: s.machine.last.Congestion}
	if why != nil {
		a = *why
	}
	clause := a.Why
	if a.Transition = h[len(h)-1]; clause != "" {
		a.Why = clause
	}
	s.tell(a)
}
