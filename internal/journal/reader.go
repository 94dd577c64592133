package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
)

// Reader takes the records out of one file, in order.
type Reader struct {
	r    *bufio.Reader
	head *Header
	mem  memory
	buf  bytes.Buffer
	// block is what of the newest block is still to be read.
	block   []byte
	blocks  int
	call    Call
	skipped int
	torn    error
}

// NewReader reads the beginning of a file. What is no journal, or one of a later version, is [ErrFormat].
func NewReader(r io.Reader) (*Reader, error) {
	j := &Reader{r: bufio.NewReader(r)}
	line, err := j.line()
	if err != nil {
		return nil, err
	}
	text, ok := strings.CutPrefix(line, magic)
	v, err := strconv.Atoi(strings.TrimSuffix(text, "\n"))
	switch {
	case !ok || err != nil || v < 1:
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrFormat, magic+"1")
	case v > Version:
		return nil, fmt.Errorf("%w: it has version %d, this wanctl reads up to %d: use a newer wanctl", ErrFormat, v, Version)
	}
	rec, err := j.Next()
	switch h, isHead := rec.(*Header); {
	case isHead:
		j.head, j.mem.now = h, h.Now
		return j, nil
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case j.torn != nil:
		return nil, fmt.Errorf("%w: it ends within its header: %w", ErrFormat, j.torn)
	}
	return nil, fmt.Errorf("%w: it has no header", ErrFormat)
}

// line reads the file's first line, which is short.
func (j *Reader) line() (string, error) {
	var b []byte
	for len(b) < len(magic)+4 {
		c, err := j.r.ReadByte()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read journal: %w", err)
		}
		if b = append(b, c); c == '\n' {
			break
		}
	}
	return string(b), nil
}

// Header is the file's.
func (j *Reader) Header() *Header { return j.head }

// Torn says why reading ended before the file was closed in good order: its writer was killed, or it was damaged. It is
// nil before the end, and for a whole file.
func (j *Reader) Torn() error { return j.torn }

// Skipped is how many records were of kinds that this version does not know.
func (j *Reader) Skipped() int { return j.skipped }

// Next returns the next record, which is valid until the call after it. It ends with io.EOF, where the file ends and
// where it cannot be read further; other errors are those of reading itself.
func (j *Reader) Next() (Record, error) {
	for {
		for len(j.block) == 0 {
			if err := j.next(); err != nil {
				return nil, err
			}
		}
		n, used := binary.Uvarint(j.block)
		if used <= 0 || n == 0 || n > uint64(len(j.block)-used) {
			return nil, j.tear(errors.New("a record is longer than its block"))
		}
		raw := j.block[used : used+int(n)]
		j.block = j.block[used+int(n):]
		rec, err := j.decode(recordKind(raw[0]), raw[1:])
		if err != nil {
			return nil, j.tear(err)
		}
		if rec != nil {
			return rec, nil
		}
		j.skipped++
	}
}

// decode reads one record; nil for one of a kind that is not known. Bytes behind its fields are of a later version.
func (j *Reader) decode(kind recordKind, raw []byte) (Record, error) {
	r := &reader{b: raw}
	var rec Record
	switch kind {
	case kindHeader:
		if j.head != nil {
			return nil, errors.New("a second header")
		}
		rec = r.header()
	case kindImage:
		rec = &Image{Layout: r.uint(), Data: append([]byte(nil), r.bytes()...)}
	case kindCall:
		r.call(&j.call, &j.mem)
		rec = &j.call
	case kindReconfigure:
		c := &Reconfigure{Now: r.at(&j.mem), Config: r.text()}
		c.DryRun, c.Burst, c.Daily = r.share()
		c.Reflectors = r.list()
		rec = c
	case kindProbes:
		rec = &Probes{Now: r.at(&j.mem)}
	case kindRouter:
		rec = &Router{Now: r.at(&j.mem)}
	case kindYield:
		rec = &Yield{On: r.uint()&1 == 1}
	case kindEnd:
		rec = &End{Now: r.at(&j.mem), More: r.uint()&1 == 1, Why: r.text()}
	default:
		return nil, nil
	}
	if r.bad {
		return nil, fmt.Errorf("a record of kind %d ends within its fields", kind)
	}
	return rec, nil
}

// tear ends reading for good.
func (j *Reader) tear(why error) error {
	j.torn, j.block = fmt.Errorf("block %d: %w", j.blocks, why), nil
	j.r.Reset(strings.NewReader(""))
	return io.EOF
}

// next reads a block.
func (j *Reader) next() error {
	if j.torn != nil {
		return io.EOF
	}
	n, err := j.length()
	if err != nil {
		return err
	}
	if n == 0 || n > MaxBlock {
		return j.tear(fmt.Errorf("it claims %d bytes, a block holds up to %d", n, MaxBlock))
	}
	var sum [sumSize]byte
	if _, err := io.ReadFull(j.r, sum[:]); err != nil {
		return j.cutOr(err)
	}
	j.buf.Reset()
	// In pieces, so that a length that lies takes no more memory than the file has bytes.
	if _, err := io.CopyN(&j.buf, j.r, int64(n)); err != nil {
		return j.cutOr(err)
	}
	j.block = j.buf.Bytes()
	if is, said := crc32.Checksum(j.block, castagnoli), binary.LittleEndian.Uint32(sum[:]); is != said {
		return j.tear(fmt.Errorf("its checksum is %08x, its content's is %08x", said, is))
	}
	return nil
}

// length reads how long the next block is.
func (j *Reader) length() (n uint64, err error) {
	for shift := 0; shift < 28; shift += 7 { // four bytes tell more than MaxBlock
		c, err := j.r.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && shift == 0:
			return 0, io.EOF
		case err != nil:
			return 0, j.cutOr(err)
		case shift == 0:
			j.blocks++
		}
		if n |= uint64(c&0x7f) << shift; c < 0x80 {
			return n, nil
		}
	}
	return 0, j.tear(errors.New("its length is none"))
}

var errCut = errors.New("the file ends within it")

func (j *Reader) cutOr(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return j.tear(errCut)
	}
	return fmt.Errorf("read journal: %w", err)
}
