package daemon

import (
	"fmt"
	"io"

	"wanctl/internal/journal"
	"wanctl/internal/unit"
)

// WriterTape writes a recording as one file into a writer, at once: for a recording that is all a program does, and for
// virtual time. A controller's own journal is written beside its loop.
type WriterTape struct {
	w     io.Writer
	enc   journal.Encoder
	block []byte
	age   unit.Time // when the block in progress was begun
	bytes int64
	calls int
	err   error
}

// NewWriterTape returns a tape that writes into w.
func NewWriterTape(w io.Writer) *WriterTape { return &WriterTape{w: w} }

// Full is false: the file has no end.
func (*WriterTape) Full() bool { return false }

// Put takes a record. After a failure nothing more is written, and Close tells it.
func (t *WriterTape) Put(r journal.Record) {
	if t.err != nil {
		return
	}
	if t.err = t.enc.Append(r); t.err != nil {
		return
	}
	now := t.age
	switch r := r.(type) {
	case *journal.Call:
		t.calls++
		now = r.Now
	case *journal.Header:
		t.age = 0 // to the disk at once
		now = unit.Time(blockAge)
	}
	if waiting, _ := t.enc.Waiting(); waiting >= blockSize || now.Sub(t.age) >= blockAge {
		t.flush()
		t.age = now
	}
}

func (t *WriterTape) flush() {
	t.block = t.enc.Seal(t.block[:0])
	n, err := t.w.Write(t.block)
	t.bytes += int64(n)
	if err != nil {
		t.err = fmt.Errorf("write the journal: %w", err)
	}
}

// Size is how many bytes were written, and of how many calls.
func (t *WriterTape) Size() (bytes int64, calls int) { return t.bytes, t.calls }

// Err is the first failure.
func (t *WriterTape) Err() error { return t.err }

// Close writes what is waiting. The writer stays open.
func (t *WriterTape) Close() error {
	if waiting, _ := t.enc.Waiting(); waiting > 0 && t.err == nil {
		t.flush()
	}
	return t.err
}
