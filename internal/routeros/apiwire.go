package routeros

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
)

// Limits on what a peer may send. RouterOS's own rows are under 2 kB, its longest texts under 4 kB.
const (
	maxWord     = 64 << 10 // bytes of one word
	maxSentence = 256      // words of one sentence
	// maxAnswer bounds one whole answer of the binary API or REST, in bytes, and maxRows in items: a few thousand tracked
	// connections.
	maxAnswer = 1 << 20
	maxRows   = 20_000
)

// maxFirst bounds the first word of a reply: "!empty" is the longest.
const maxFirst = 16

// errWire is a peer that does not speak the binary API as we know it; the connection cannot be used further.
var errWire = errors.New("the peer does not speak RouterOS's API")

// appendLength writes the length of a word: 1 to 5 bytes, big endian, the number of leading ones in the first byte telling how
// many follow.
func appendLength(b []byte, n uint32) []byte {
	switch {
	case n < 1<<7:
		return append(b, byte(n))
	case n < 1<<14:
		return binary.BigEndian.AppendUint16(b, uint16(n)|0x8000)
	case n < 1<<21:
		return append(b, byte(n>>16)|0xC0, byte(n>>8), byte(n))
	case n < 1<<28:
		return binary.BigEndian.AppendUint32(b, n|0xE0000000)
	}
	return binary.BigEndian.AppendUint32(append(b, 0xF0), n)
}

// appendSentence writes words and the empty one that ends them.
func appendSentence(b []byte, words ...string) []byte {
	for _, w := range words {
		b = append(appendLength(b, uint32(len(w))), w...)
	}
	return append(b, 0)
}

// readLength reads the length of a word.
func readLength(r io.ByteReader) (uint32, error) {
	first, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	var more int
	n := uint32(first)
	switch {
	case first < 0x80:
	case first < 0xC0:
		more, n = 1, n&0x3F
	case first < 0xE0:
		more, n = 2, n&0x1F
	case first < 0xF0:
		more, n = 3, n&0x0F
	case first == 0xF0:
		more, n = 4, 0
	default: // 0xF8 and above are reserved, and nothing is defined between
		return 0, fmt.Errorf("%w: a word's length begins with %#x", errWire, first)
	}
	for range more {
		b, err := r.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		n = n<<8 | uint32(b)
	}
	return n, nil
}

// unexpected makes an end of the stream that is none of a sentence's.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readSentence reads one sentence and how many bytes its words have; empty ones are passed over. io.EOF means that the stream
// ended between two. Nothing is allocated on a peer's word alone: a word is refused before it is read when it is too long,
// and the first, which says what the sentence is, when it is longer than first bytes: whoever speaks another protocol is
// found out by its first byte.
func readSentence(r *bufio.Reader, first uint32) (words []string, size int, err error) {
	for {
		n, err := readLength(r)
		if err != nil {
			if len(words) > 0 {
				err = unexpected(err)
			}
			return nil, 0, err
		}
		if n == 0 {
			if len(words) > 0 {
				return words, size, nil
			}
			if size++; size > maxSentence {
				return nil, 0, fmt.Errorf("%w: more than %d empty sentences", errWire, maxSentence)
			}
			continue
		}
		if n > maxWord || size+int(n) > 2*maxWord || len(words) == maxSentence {
			return nil, 0, fmt.Errorf("%w: a sentence is longer than %d words or %d bytes, or one word than %d", errWire, maxSentence, 2*maxWord, maxWord)
		}
		if len(words) == 0 && n > first {
			return nil, 0, fmt.Errorf("%w: a sentence begins with a word of %d bytes", errWire, n)
		}
		word := make([]byte, n)
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, 0, unexpected(err)
		}
		words, size = append(words, string(word)), size+int(n)
	}
}

// said is one sentence of an answer.
type said struct {
	// kind is !re, !done, !trap, !fatal or !empty.
	kind string
	// tag is what the command was tagged with; empty for none.
	tag  string
	item row
	// reason is the bare word of !fatal.
	reason string
}

// parseSaid takes a sentence apart. It refuses a word of another form, and two values of one property: nobody knows which
// counts.
func parseSaid(words []string) (said, error) {
	s := said{kind: words[0], item: row{}}
	switch s.kind {
	case "!re", "!done", "!trap", "!fatal", "!empty":
	default:
		return s, fmt.Errorf("%w: a sentence begins with %q", errWire, clip(s.kind))
	}
	for _, w := range words[1:] {
		if tag, ok := strings.CutPrefix(w, ".tag="); ok {
			s.tag = tag
			continue
		}
		body, ok := strings.CutPrefix(w, "=")
		key, value, eq := strings.Cut(body, "=")
		switch {
		case !ok && s.kind == "!fatal":
			s.reason = strings.TrimSpace(s.reason + " " + w)
			continue
		case !ok || !eq || key == "":
			return s, fmt.Errorf("%w: a word is %q", errWire, clip(w))
		}
		if old, twice := s.item[key]; twice && old != value {
			return s, fmt.Errorf("%w: a sentence has two values of %q", errWire, clip(key))
		}
		s.item[key] = value
	}
	return s, nil
}

// categories are what the numbers of a trap mean.
var categories = map[string]Kind{
	"0": NoSuchItem, // missing item or command
	"1": Syntax,     // argument value failure
	"2": Lost,       // execution interrupted
	"3": Syntax,     // scripting failure
	"4": Reply,      // general failure
	"5": Syntax,     // API failure
	"6": Reply,      // terminal failure
	"7": Reply,      // value of :return
}

// trap reads why a command failed: the text, and the kind its category names.
func (s said) trap() (text string, kind Kind) {
	text, kind = s.item["message"], categories[s.item["category"]]
	if text == "" {
		rest := maps.Clone(s.item)
		delete(rest, "category")
		text = fmt.Sprintf("no text, category %q %v", clip(s.item["category"]), rest)
	}
	if kind == 0 {
		kind = Reply
	}
	return text, kind
}
