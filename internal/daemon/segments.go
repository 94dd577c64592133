package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/journal"
	"wanctl/internal/unit"
)

// Figures of the flight recorder.
const (
	// blockSize is how much is gathered before it goes to the disk, and blockAge how old it may become.
	blockSize = 4 << 10
	blockAge  = time.Second
	// queuedBlocks bounds what waits for a slow disk: about a minute of a fast loop.
	queuedBlocks = 64
	// retryTape is how soon a journal that could not be written is begun again.
	retryTape = time.Minute
)

// segments is the flight recorder of one line on disk: a ring of files. Records are encoded by the loop and written by a
// goroutine of its own, so that a slow disk never delays a cycle. What does not fit into its queue is lost, counted, and
// said in the next file's header.
type segments struct {
	dir, name string
	cfg       config.Journal
	wall      func() time.Time
	log       *Log

	// Of the loop's goroutine.
	enc     journal.Encoder
	written unit.Bytes // of the file in progress
	sealed  unit.Time  // when the block in progress was begun
	now     unit.Time
	lost    uint64 // since the last header
	gap     bool   // records are lost until the next header
	gapAt   unit.Time
	number  int
	stamp   string

	jobs   chan tapeJob
	free   chan []byte
	done   chan struct{}
	failed atomic.Bool
}

// tapeJob is a block, and the name of the file that begins with it.
type tapeJob struct {
	// recording is what the names of all its files begin with.
	recording, begin string
	block            []byte
}

// openSegments makes the directory and starts the recorder. A file begins with the first header.
func openSegments(cfg config.Journal, name string, wall func() time.Time, log *Log) (*segments, error) {
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the journal's directory: %w (name another in journal.dir)", err)
	}
	s := &segments{
		dir: cfg.Dir, name: name, cfg: cfg, wall: wall, log: log,
		jobs: make(chan tapeJob, queuedBlocks), free: make(chan []byte, queuedBlocks), done: make(chan struct{}),
	}
	go s.run()
	return s, nil
}

// Full says that the segment is, or that records were lost and the disk may be tried again.
func (s *segments) Full() bool {
	if s.gap || s.failed.Load() {
		return s.ready()
	}
	return s.written >= s.cfg.Segment
}

// ready says whether a journal that lost records may begin anew.
func (s *segments) ready() bool {
	if s.failed.Load() {
		return s.now.Sub(s.gapAt) >= retryTape
	}
	return len(s.jobs) < queuedBlocks/2
}

// Put takes a record in.
func (s *segments) Put(r journal.Record) {
	begin := ""
	switch r := r.(type) {
	case *journal.Header:
		begin = s.begin(r)
		s.now = r.Now
	case *journal.Call:
		s.now = r.Now
	case *journal.Reconfigure:
		s.now = r.Now
	case *journal.Probes:
		s.now = r.Now
	case *journal.Router:
		s.now = r.Now
	case *journal.End:
		s.now = r.Now
	}
	if begin == "" && (s.gap || s.failed.Load()) {
		s.lose(1)
		return
	}
	if waiting, _ := s.enc.Waiting(); waiting == 0 {
		s.sealed = s.now
	}
	if err := s.enc.Append(r); err != nil { // larger than any block
		s.lose(1)
		return
	}
	waiting, _ := s.enc.Waiting()
	if begin != "" || waiting >= blockSize || s.now.Sub(s.sealed) >= blockAge {
		s.flush(begin)
	}
}

// begin closes the file in progress, and names the next one.
func (s *segments) begin(h *journal.Header) string {
	if s.written > 0 && !s.gap && !s.failed.Load() {
		if s.enc.Append(&journal.End{Now: h.Now, More: true, Why: "the next segment follows"}) == nil {
			s.flush("")
		}
	}
	s.discard()
	if h.Segment == 0 {
		s.stamp = s.wall().UTC().Format("20060102T150405.000Z")
	}
	s.number, h.Lost = h.Segment, s.lost
	s.written, s.gap = 0, false
	return fmt.Sprintf("%s-%s-%04d.journal", s.name, s.stamp, s.number)
}

// discard forgets what is not sealed; it is lost.
func (s *segments) discard() {
	if _, n := s.enc.Waiting(); n > 0 {
		s.lose(uint64(n))
		s.enc = journal.Encoder{}
	}
}

func (s *segments) lose(n uint64) {
	if !s.gap {
		s.gap, s.gapAt = true, s.now
	}
	s.lost += n
}

// flush hands the waiting records to the disk, or loses them.
func (s *segments) flush(begin string) {
	var buf []byte
	select {
	case buf = <-s.free:
	default:
	}
	_, n := s.enc.Waiting()
	buf = s.enc.Seal(buf[:0])
	s.written += unit.Bytes(len(buf))
	if begin != "" {
		s.failed.Store(false)
	}
	select {
	case s.jobs <- tapeJob{s.name + "-" + s.stamp, begin, buf}:
	default:
		s.lose(uint64(n))
	}
}

// run writes blocks until jobs is closed.
func (s *segments) run() {
	defer close(s.done)
	var f *os.File
	closeFile := func() {
		if f != nil {
			_ = f.Close() // what was written is there; a file that is cut off says so itself
			f = nil
		}
	}
	defer closeFile()
	said := false
	for j := range s.jobs {
		var err error
		switch {
		case j.begin != "":
			closeFile()
			f, err = s.create(j)
		case f != nil:
			_, err = f.Write(j.block)
		default: // of a file that could not be written
			continue
		}
		select {
		case s.free <- j.block:
		default:
		}
		switch {
		case err != nil:
			closeFile()
			s.failed.Store(true)
			if !said {
				said = true
				s.log.Error(fmt.Sprintf("journal: %v; control goes on unrecorded, and the journal is begun again every %s: make room or mend "+
					"the directory's rights", err, retryTape))
			}
		case j.begin != "" && said:
			said = false
			s.log.Info("journal: it can be written again")
		}
	}
}

// create begins a file: it appears under its name with its header in it. Older files make room for it.
func (s *segments) create(j tapeJob) (*os.File, error) {
	path := filepath.Join(s.dir, j.begin)
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(j.block); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return nil, errors.Join(err, f.Close())
	}
	s.prune(j.recording)
	return f, nil
}

// prune removes the oldest files of this line, those of its other recordings first, and what a killed process left of a
// beginning.
func (s *segments) prune(recording string) {
	files, err := segmentFiles(s.dir, s.name)
	if err != nil {
		return // said when the next file cannot be made
	}
	// A host without a battery may date this recording before all others.
	own := func(f string) int {
		if strings.HasPrefix(f, recording+"-") {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(files, func(a, b string) int { return own(a) - own(b) })
	for _, f := range files[:max(len(files)-s.cfg.Keep, 0)] {
		_ = os.Remove(filepath.Join(s.dir, f))
	}
	left, _ := filepath.Glob(filepath.Join(s.dir, s.name+"-*.journal.new"))
	for _, f := range left {
		if segmentName.MatchString(strings.TrimSuffix(filepath.Base(f), ".new")[len(s.name):]) {
			_ = os.Remove(f)
		}
	}
}

// segmentName is what follows a line's name in the name of its file.
var segmentName = regexp.MustCompile(`^-\d{8}T\d{6}\.\d{3}Z-\d{4,}\.journal$`)

// segmentFiles are the names of a line's files, the oldest first.
func segmentFiles(dir, name string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), name); ok && segmentName.MatchString(rest) && e.Type().IsRegular() {
			files = append(files, e.Name())
		}
	}
	slices.Sort(files)
	return files, nil
}

// close writes what is waiting, and gives a blocked disk up after a moment.
func (s *segments) close() {
	if _, n := s.enc.Waiting(); n > 0 {
		s.flush("")
	}
	close(s.jobs)
	t := time.NewTimer(flushTime)
	defer t.Stop()
	select {
	case <-s.done:
	case <-t.C:
		s.log.Warn("journal: its last part was lost: the disk does not answer")
	}
}
