package rosim

import (
	"bufio"
	"errors"
	"io"
)

// The bounds of what a client may send: before it has logged in, and after. RouterOS has such bounds, too; their size is
// not published.
type wordLimits struct{ word, words, total int }

var (
	limitsBefore = wordLimits{word: 1 << 10, words: 16, total: 4 << 10}
	limitsAfter  = wordLimits{word: maxText, words: 512, total: maxOutput}
)

var (
	errReservedByte = errors.New("a word's length begins with a reserved byte")
	errTooLong      = errors.New("a sentence is longer than the router takes")
)

// appendLength appends a word's length in as few bytes as it takes.
func appendLength(b []byte, n int) []byte {
	switch {
	case n < 1<<7:
		return append(b, byte(n))
	case n < 1<<14:
		return append(b, byte(n>>8)|0x80, byte(n))
	case n < 1<<21:
		return append(b, byte(n>>16)|0xc0, byte(n>>8), byte(n))
	case n < 1<<28:
		return append(b, byte(n>>24)|0xe0, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, 0xf0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func appendSentence(b []byte, words ...string) []byte {
	for _, w := range words {
		b = append(appendLength(b, len(w)), w...)
	}
	return append(b, 0)
}

// readLength reads a word's length; a longer spelling than needed is taken, too.
func readLength(rd io.ByteReader) (int, error) {
	first, err := rd.ReadByte()
	if err != nil {
		return 0, err
	}
	more, n := 0, int(first)
	switch {
	case first >= 0xf8:
		return 0, errReservedByte
	case first >= 0xf0:
		more, n = 4, 0
	case first >= 0xe0:
		more, n = 3, n&0x0f
	case first >= 0xc0:
		more, n = 2, n&0x1f
	case first >= 0x80:
		more, n = 1, n&0x3f
	}
	for range more {
		c, err := rd.ReadByte()
		if err != nil {
			return 0, noEOF(err)
		}
		n = n<<8 | int(c)
	}
	return n, nil
}

// noEOF makes an end in the middle of something an unexpected one.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readSentence reads words up to the empty one; empty sentences are skipped. Nothing is set aside for a word before its
// length was found to be within the limits.
func readSentence(rd *bufio.Reader, limits wordLimits) ([]string, error) {
	var words []string
	total := 0
	for {
		n, err := readLength(rd)
		if err != nil {
			if len(words) > 0 {
				err = noEOF(err)
			}
			return nil, err
		}
		if n == 0 {
			if len(words) == 0 {
				continue
			}
			return words, nil
		}
		if total += n; n > limits.word || total > limits.total || len(words) >= limits.words {
			return nil, errTooLong
		}
		w := make([]byte, n)
		if _, err := io.ReadFull(rd, w); err != nil {
			return nil, noEOF(err)
		}
		words = append(words, string(w))
	}
}
