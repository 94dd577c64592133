// Package state holds the formats of the files wanctl keeps: the durable state of a WAN and of steering, the feed one
// process publishes for another, and the hand-over note.
package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Schema is the version of every format here but steering's state. A file of a higher version is foreign: an older program must not guess.
const Schema = 1

// MaxSize bounds a file that is read: a state file is a few kilobytes.
const MaxSize = 1 << 20

// ErrCorrupt marks a file that cannot be trusted: torn, edited or of another program.
var ErrCorrupt = errors.New("not a file this version of wanctl can trust")

// ErrNewer marks a whole file of a later version of wanctl: it is an [ErrCorrupt] that is worth keeping.
var ErrNewer = fmt.Errorf("%w: of a later version", ErrCorrupt)

// sumKey is followed by eight hexadecimal digits: the CRC-32C of the whole file with the digits as zeros. It is the
// last key, so that a torn file has none.
const sumKey = `"checksum": "`

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal writes v as indented JSON that ends in its checksum. v's last field must be `Checksum string`, left empty.
func seal(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	i := bytes.LastIndex(b, []byte(sumKey+`"`))
	if i < 0 {
		return errors.New("encode state: the type has no empty checksum as its last field")
	}
	i += len(sumKey)
	b = append(b[:i:i], append([]byte("00000000"), b[i:]...)...)
	b = append(b, '\n')
	copy(b[i:], fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli)))
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// unseal reads what seal wrote and checks it: its content, of a version up to newest, is what is returned. Every error wraps
// [ErrCorrupt] unless reading itself failed. With [ErrNewer] the content is returned, too.
func unseal(r io.Reader, newest int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrCorrupt, MaxSize)
	}
	i := bytes.LastIndex(b, []byte(sumKey))
	if i < 0 || len(b) < i+len(sumKey)+8 {
		return nil, fmt.Errorf("%w: no checksum at its end (torn or foreign)", ErrCorrupt)
	}
	i += len(sumKey)
	said := string(b[i : i+8])
	copy(b[i:], "00000000")
	if is := fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli)); is != said {
		return nil, fmt.Errorf("%w: its checksum is %s, its content's is %s", ErrCorrupt, said, is)
	}
	var head struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	switch {
	case head.Schema > newest:
		return b, fmt.Errorf("%w: schema %d, this version reads 1 to %d", ErrNewer, head.Schema, newest)
	case head.Schema < 1:
		return nil, fmt.Errorf("%w: schema %d, this version reads 1 to %d", ErrCorrupt, head.Schema, newest)
	}
	return b, nil
}
