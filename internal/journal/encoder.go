package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"

	"wanctl/internal/unit"
)

// magic begins every file; the version and a line's end follow.
const magic = "wanctl journal "

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumSize is the length of a block's checksum.
const sumSize = 4

// Encoder turns records into the bytes of files. A [Header] begins a new file; every other record belongs to the file of
// the last header. It is not safe for concurrent use.
type Encoder struct {
	mem     memory
	w       writer // the records of the block in progress
	record  writer
	records int
	begins  bool // the block in progress is a file's first
}

// Append takes a record in. It fails for one that no file can hold, and for one before the first header; what was taken
// in before stays.
func (e *Encoder) Append(r Record) error {
	head, isHead := r.(*Header)
	switch {
	case isHead && len(e.w.b) > 0:
		return fmt.Errorf("journal: a header follows records that are not sealed")
	case isHead:
		e.mem, e.begins = memory{now: head.Now}, true
	}
	e.record.b = append(e.record.b[:0], byte(r.kind()))
	w := &e.record
	switch r := r.(type) {
	case *Header:
		w.header(r)
	case *Image:
		w.uint(r.Layout)
		w.text(string(r.Data))
	case *Call:
		w.call(r, &e.mem)
	case *Reconfigure:
		w.at(r.Now, &e.mem)
		w.text(r.Config)
		w.share(r.DryRun, r.Burst, r.Daily)
		w.list(r.Reflectors)
	case *Probes:
		w.at(r.Now, &e.mem)
	case *Router:
		w.at(r.Now, &e.mem)
	case *Yield:
		w.uint(flagsOf(r.On))
	case *End:
		w.at(r.Now, &e.mem)
		w.uint(flagsOf(r.More))
		w.text(cut(r.Why))
	}
	if len(w.b) > MaxBlock-2*binary.MaxVarintLen64-len(e.w.b) {
		return fmt.Errorf("journal: a record of %d bytes, a block holds %d", len(w.b), MaxBlock)
	}
	e.w.uint(uint64(len(w.b)))
	e.w.b = append(e.w.b, w.b...)
	e.records++
	return nil
}

// Waiting is how many bytes, and of how many records, are not in a block yet.
func (e *Encoder) Waiting() (bytes, records int) { return len(e.w.b), e.records }

// Seal appends the waiting records to dst as one block; nothing when none waits.
func (e *Encoder) Seal(dst []byte) []byte {
	if len(e.w.b) == 0 {
		return dst
	}
	if e.begins {
		dst = append(dst, magic...)
		dst = strconv.AppendInt(dst, Version, 10)
		dst = append(dst, '\n')
		e.begins = false
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.w.b)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(e.w.b, castagnoli))
	dst = append(dst, e.w.b...)
	e.w.b, e.records = e.w.b[:0], 0
	return dst
}

// at writes an instant as the time since the last.
func (w *writer) at(t unit.Time, m *memory) {
	w.int(int64(t - m.now))
	m.now = t
}

func (r *reader) at(m *memory) unit.Time {
	m.now += unit.Time(r.int())
	return m.now
}

func (w *writer) list(texts []string) {
	n := min(len(texts), maxHosts)
	w.uint(uint64(n))
	for _, t := range texts[:n] {
		w.text(cut(t))
	}
}

func (r *reader) list() (texts []string) {
	for range min(r.count(), maxHosts) {
		texts = append(texts, r.text())
	}
	return texts
}

func (w *writer) share(dry bool, burst, daily int) {
	w.uint(flagsOf(dry))
	w.int(int64(burst))
	w.int(int64(daily))
}

func (r *reader) share() (dry bool, burst, daily int) {
	return r.uint()&1 == 1, int(r.int()), int(r.int())
}

// wall writes a time of day; 0 is none.
func (w *writer) wall(t time.Time) {
	if t.IsZero() {
		w.int(0)
		return
	}
	w.int(t.UnixNano())
}

func (r *reader) wall() time.Time {
	if ns := r.int(); ns != 0 {
		return time.Unix(0, ns).UTC()
	}
	return time.Time{}
}

func (w *writer) header(h *Header) {
	for _, t := range []string{h.Program, h.WAN, string(h.Source), h.Boot} {
		w.text(cut(t))
	}
	w.int(int64(h.Run))
	w.uint(uint64(h.Segment))
	w.uint(h.Lost)
	w.uint(flagsOf(h.Midway))
	w.int(int64(h.Now))
	w.wall(h.Wall)
	w.list(h.Reflectors)
	w.text(h.Config)
	w.share(h.DryRun, h.Burst, h.Daily)
	w.text(string(h.State))
}

func (r *reader) header() *Header {
	h := &Header{Program: r.text(), WAN: r.text(), Source: Source(r.text()), Boot: r.text()}
	h.Run = unit.Time(r.int())
	h.Segment = int(r.uint())
	h.Lost = r.uint()
	h.Midway = r.uint()&1 == 1
	h.Now = unit.Time(r.int())
	h.Wall = r.wall()
	h.Reflectors = r.list()
	h.Config = r.text()
	h.DryRun, h.Burst, h.Daily = r.share()
	if b := r.bytes(); len(b) > 0 {
		h.State = append([]byte(nil), b...)
	}
	return h
}
