package daemon

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"wanctl/internal/unit"
)

const (
	saveChanged = 10 * time.Second // a changed rate is saved at most this often
	saveAnyway  = 5 * time.Minute
)

// saver writes a durable state file beside the loop: fsync may take long, and a cycle must not wait for a disk. Only the
// newest content waits.
type saver struct {
	path    string
	log     *Log
	jobs    chan func(io.Writer) error
	done    chan struct{}
	last    unit.Time
	dirty   bool
	failing atomic.Bool
}

func newSaver(path string, log *Log) *saver {
	s := &saver{path: path, log: log, jobs: make(chan func(io.Writer) error, 1), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for encode := range s.jobs {
			s.write(encode)
		}
	}()
	return s
}

func (s *saver) write(encode func(io.Writer) error) {
	err := saveState(s.path, encode)
	switch {
	case err != nil && !s.failing.Swap(true):
		s.log.Error(fmt.Sprintf("%v; running on, but a restart would start from older state: make room or mend the "+
			"directory's rights, it is tried again by itself", err))
	case err == nil && s.failing.Swap(false):
		s.log.Info(fmt.Sprintf("state file %s can be written again", s.path))
	}
}

// due says whether a save is due, for a loop whose rate did or did not change since the last call.
func (s *saver) due(now unit.Time, changed bool) bool {
	s.dirty = s.dirty || changed
	dirty := s.dirty || s.failing.Load() // what could not be written is still to be written
	age := now.Sub(s.last)
	if s.last != 0 && age < saveAnyway && (!dirty || age < saveChanged) {
		return false
	}
	s.last, s.dirty = now, false
	return true
}

// save hands content over. encode must not touch what the loop changes.
func (s *saver) save(encode func(io.Writer) error) {
	select {
	case <-s.jobs: // an older one still waiting
	default:
	}
	s.jobs <- encode
}

// close writes the last content and waits for the disk.
func (s *saver) close(encode func(io.Writer) error) {
	s.save(encode)
	close(s.jobs)
	<-s.done
}
