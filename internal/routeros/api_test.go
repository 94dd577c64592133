package routeros

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
)

// TestWire holds the encoding to the bytes of MikroTik's description: each length at the edges of its form.
func TestWire(t *testing.T) {
	for _, tt := range []struct {
		n      uint32
		prefix string
	}{
		{0, "00"},
		{1, "01"},
		{0x7F, "7f"},
		{0x80, "8080"},
		{0x3FFF, "bfff"},
		{0x4000, "c04000"},
		{0xFFFF, "c0ffff"},
		{0x1FFFFF, "dfffff"},
		{0x200000, "e0200000"},
		{0xFFFFFFF, "efffffff"},
		{0x10000000, "f010000000"},
		{0xFFFFFFFF, "f0ffffffff"},
	} {
		got := appendLength(nil, tt.n)
		if hex.EncodeToString(got) != tt.prefix {
			t.Errorf("%#x: %x, want %s", tt.n, got, tt.prefix)
		}
		n, err := readLength(bytes.NewReader(got))
		if err != nil || n != tt.n {
			t.Errorf("%#x reads back as %#x, %v", tt.n, n, err)
		}
	}
	sentence := appendSentence(nil, "/login", "=name=wanctl")
	if want := "\x06/login\x0c=name=wanctl\x00"; string(sentence) != want {
		t.Errorf("%q, want %q", sentence, want)
	}
}

func TestWireRefuses(t *testing.T) {
	word := func(n int) string { return string(appendLength(nil, uint32(n))) + strings.Repeat("x", n) }
	long := word(maxWord)
	for name, tt := range map[string]struct {
		in   string
		want error
	}{
		"nothing":            {"", io.EOF},
		"half a length":      {"\x80", io.ErrUnexpectedEOF},
		"half a word":        {"\x05abc", io.ErrUnexpectedEOF},
		"half a sentence":    {"\x03abc", io.ErrUnexpectedEOF},
		"reserved":           {"\xF8", errWire},
		"undefined":          {"\xF1\x00\x00\x00\x00", errWire},
		"last":               {"\xFF", errWire},
		"four gigabytes":     {"\xF0\xFF\xFF\xFF\xFF", errWire},
		"a word too long":    {word(maxWord + 1), errWire},
		"words too long":     {long + long + "\x01x", errWire},
		"too many words":     {strings.Repeat("\x01x", maxSentence+1), errWire},
		"nothing but breaks": {strings.Repeat("\x00", maxSentence+1), errWire},
	} {
		words, _, err := readSentence(bufio.NewReader(strings.NewReader(tt.in)), maxWord)
		if !errors.Is(err, tt.want) || words != nil {
			t.Errorf("%s: %v, %v", name, words, err)
		}
	}
	words, size, err := readSentence(bufio.NewReader(strings.NewReader("\x00\x00\x80\x02ab\x01c\x00")), maxWord)
	if err != nil || !slices.Equal(words, []string{"ab", "c"}) || size < 3 {
		t.Errorf("%q, %d, %v", words, size, err)
	}
}

// TestParseSaid reads the sentences of MikroTik's own description.
func TestParseSaid(t *testing.T) {
	for name, tt := range map[string]struct {
		words []string
		want  said
	}{
		"row":   {[]string{"!re", "=.id=*1", "=comment=a=b", "=empty=", ".tag=4"}, said{kind: "!re", tag: "4", item: row{".id": "*1", "comment": "a=b", "empty": ""}}},
		"trap":  {[]string{"!trap", "=category=1", "=message=input does not match any value of interface"}, said{kind: "!trap", item: row{"category": "1", "message": "input does not match any value of interface"}}},
		"fatal": {[]string{"!fatal", "session terminated", "on request"}, said{kind: "!fatal", item: row{}, reason: "session terminated on request"}},
		"twice": {[]string{"!re", "=a=1", "=a=1"}, said{kind: "!re", item: row{"a": "1"}}},
	} {
		got, err := parseSaid(tt.words)
		if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(said{})); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
	}
	for _, words := range [][]string{{"!what"}, {"/login"}, {"!re", "a=1"}, {"!re", "=a"}, {"!re", "=="}, {"!re", "=a=1", "=a=2"}, {"!done", "bare"}} {
		if got, err := parseSaid(words); !errors.Is(err, errWire) {
			t.Errorf("%q passed: %+v", words, got)
		}
	}
}

func TestTraps(t *testing.T) {
	for category, want := range map[string]Kind{"0": NoSuchItem, "1": Syntax, "2": Lost, "3": Syntax, "4": Reply, "5": Syntax, "6": Reply, "7": Reply, "8": Reply, "": Reply} {
		text, kind := said{item: row{"category": category, "message": "moo"}}.trap()
		if text != "moo" || kind != want {
			t.Errorf("%q: %q, %v", category, text, kind)
		}
	}
	if text, _ := (said{item: row{"category": "7", "ret": "x"}}).trap(); !contains(text, "ret:x") || !contains(text, `"7"`) {
		t.Errorf("a trap without a message says %q", text)
	}
}

// apiPeer serves one script after a login.
func apiPeer(t *testing.T, script func(*talk)) *Client {
	t.Helper()
	p := serve(t, nil, func(c net.Conn) {
		k := talkOn(c)
		if k.login() {
			script(k)
		}
	})
	return dialer(t, p.options(API))
}

// TestAPIAnswers: what may come in place of an answer.
func TestAPIAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		script func(k *talk, tag string)
		kind   Kind
		says   string
		alive  bool
	}{
		"half a sentence, then silence's end": {func(k *talk, tag string) { _, _ = k.Write([]byte("\x03!re\x20=name")) }, Lost, "not known", false},
		"a reserved length":                   {func(k *talk, tag string) { _, _ = k.Write([]byte("\xF8\x00")); k.hear() }, Reply, "0xf8", false},
		"a word of four gigabytes":            {func(k *talk, tag string) { _, _ = k.Write([]byte("\xF0\xFF\xFF\xFF\xFF")); k.hear() }, Reply, "longer than", false},
		"another protocol":                    {func(k *talk, tag string) { _, _ = k.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); k.hear() }, Reply, "really the router's api", false},
		"fatal":                               {func(k *talk, tag string) { k.tell("", "!fatal", "session terminated on request"); k.hear() }, Lost, `"session terminated on request"`, false},
		"fatal with a message":                {func(k *talk, tag string) { k.tell("", "!fatal", "=message=bye"); k.hear() }, Lost, `"bye"`, false},
		"another's answer":                    {func(k *talk, tag string) { k.tell(".tag=77", "!done"); k.hear() }, Reply, "not asked for", false},
		"an untagged answer":                  {func(k *talk, tag string) { k.tell("", "!done"); k.hear() }, Reply, "not asked for", false},
		"two values":                          {func(k *talk, tag string) { k.tell(tag, "!re", "=name=q", "=name=r"); k.hear() }, Reply, "two values", false},
		"a trap without category or text": {func(k *talk, tag string) {
			k.tell(tag, "!trap")
			k.tell(tag, "!done")
			k.hear()
		}, Reply, "no text", true},
		"two traps": {func(k *talk, tag string) {
			k.tell(tag, "!trap", "=message=not enough permissions (9)")
			k.tell(tag, "!trap", "=message=moo")
			k.tell(tag, "!done")
			k.hear()
		}, Permission, "permissions (9)", true},
		"empty": {func(k *talk, tag string) {
			k.tell(tag, "!empty")
			k.tell(tag, "!done")
			k.hear()
		}, NoSuchItem, `no queue tree entry is called "q"`, true},
		"rows of others": {func(k *talk, tag string) {
			k.tell(tag, "!re", "=name=Q")
			k.tell(tag, "!re", "=name=q ")
			k.tell(tag, "!done")
			k.hear()
		}, NoSuchItem, `"q"`, true},
		"rows without end": {func(k *talk, tag string) {
			row := appendSentence(nil, "!re", "=name="+strings.Repeat("x", 1000), tag)
			for {
				if _, err := k.Write(row); err != nil {
					return
				}
			}
		}, Reply, "longer than", false},
		"small rows without end": {func(k *talk, tag string) {
			rows := bytes.Repeat(appendSentence(nil, "!re", tag), 100)
			for {
				if _, err := k.Write(rows); err != nil {
					return
				}
			}
		}, Reply, "longer than", false},
		"empty sentences without end": {func(k *talk, tag string) {
			for {
				if _, err := k.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, Reply, "empty sentences", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := apiPeer(t, func(k *talk) {
				if _, tag := k.hear(); tag != "" {
					tt.script(k, tag)
				}
			})
			_, err := c.Queue(t.Context(), "q")
			e := failure(t, err, tt.kind, tt.says)
			if !e.Sent || c.Connected() != tt.alive || !strings.HasPrefix(e.Command, "/queue/tree/print =.proplist=") {
				t.Errorf("%#v, connected %t", e, c.Connected())
			}
		})
	}
}

// Something that comes while nobody asks ends the connection, and the next command makes another.
func TestAPIUnasked(t *testing.T) {
	c := apiPeer(t, func(k *talk) {
		k.tell("", "!fatal", "not logged in")
		k.hear()
	})
	if err := c.warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-c.line.ended()
	if c.Connected() {
		t.Error("still connected")
	}
	// A line that has ended sends nothing more.
	_, e := c.line.carry(t.Context(), task{purpose: oneQueue, op: "read queue", queue: "q"})
	failure(t, e, Unreachable, "not logged in")
	if e.Sent {
		t.Error("sent")
	}
}

func TestAPILogin(t *testing.T) {
	for name, tt := range map[string]struct {
		script func(k *talk)
		kind   Kind
		says   []string
		is     error
	}{
		"wrong password": {func(k *talk) {
			k.tell("", "!trap", "=message=invalid user name or password (6)")
			k.tell("", "!done")
			k.hear()
		}, Auth, []string{"refused the user name or the password", `needs the policies read,write,api`}, errPassword},
		"no policy": {func(k *talk) {
			k.tell("", "!trap", "=message=std failure: not allowed (9)")
			k.tell("", "!done")
			k.hear()
		}, Auth, []string{"may not use this service", "read,write,api"}, errPolicy},
		"another reason": {func(k *talk) {
			k.tell("", "!trap", "=message=busy")
			k.tell("", "!done")
			k.hear()
		}, Unreachable, []string{"refused the login", `"busy"`}, nil},
		"locked": {func(k *talk) {
			k.tell("", "!fatal", "too many commands before login")
			k.hear()
		}, Auth, []string{"too many commands before login"}, nil},
		"hung up":   {func(k *talk) {}, Unreachable, []string{"the login did not end", "max-sessions"}, nil},
		"no API":    {func(k *talk) { _, _ = k.Write([]byte("SSH-2.0-x\r\n")); k.hear() }, Unreachable, []string{"the login did not end", "is this port the router's API service"}, nil},
		"old login": {func(k *talk) { k.tell("", "!done", "=ret=00112233445566778899aabbccddeeff"); k.hear() }, Unreachable, []string{"before 6.43", "7.12"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			heard := make(chan []string, 9)
			p := serve(t, nil, func(c net.Conn) {
				k := talkOn(c)
				words, _ := k.hear()
				heard <- words
				tt.script(k)
			})
			c := dialer(t, p.options(API))
			_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 1})
			e := failure(t, err, tt.kind, tt.says...)
			if e.Sent || c.Logins() != 0 || c.Connected() || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%#v", e)
			}
			if words := <-heard; !slices.Equal(words, []string{"/login", "=name=wanctl", "=password=" + secret}) {
				t.Errorf("it said %q", words[:1])
			}
			if p.conns.Load() != 1 {
				t.Errorf("%d connections", p.conns.Load())
			}
		})
	}
}

// TestAPICancel: when enough rows have come the rest is cancelled, and the connection stays usable whatever the order of the two ends.
func TestAPICancel(t *testing.T) {
	rows := func(k *talk, tag string, n int) {
		for range n {
			k.tell(tag, "!re", "=.id=*1", "=protocol=icmp", "=src-address=192.168.88.5", "=dst-address=1.1.1.1", "=reply-dst-address=203.0.113.2")
		}
	}
	for name, end := range map[string]func(k *talk, tag, cancel string){
		"as described": func(k *talk, tag, cancel string) {
			k.tell(tag, "!trap", "=category=2", "=message=interrupted")
			k.tell(cancel, "!done")
			k.tell(tag, "!done")
		},
		"without a category": func(k *talk, tag, cancel string) {
			k.tell(tag, "!trap", "=message=interrupted")
			k.tell(tag, "!done")
			k.tell(cancel, "!done")
		},
		"the other way round": func(k *talk, tag, cancel string) {
			rows(k, tag, 3)
			k.tell(tag, "!trap", "=category=2", "=message=interrupted")
			k.tell(tag, "!done")
			k.tell(cancel, "!done")
		},
		"too late": func(k *talk, tag, cancel string) {
			k.tell(tag, "!done")
			k.tell(cancel, "!trap", "=category=0", "=message=unknown tag")
			k.tell(cancel, "!done")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := apiPeer(t, func(k *talk) {
				words, tag := k.hear()
				if words == nil {
					return
				}
				rows(k, tag, mostEchoes+2)
				words, cancel := k.hear()
				if !slices.Equal(words, []string{"/cancel", "=tag=" + strings.TrimPrefix(tag, ".tag=")}) || cancel == "" || cancel == tag {
					t.Errorf("%q %q", words, cancel)
				}
				end(k, tag, cancel)
				for {
					words, tag := k.hear()
					if words == nil {
						return
					}
					k.tell(tag, "!done")
				}
			})
			for range 2 {
				path, err := c.Path(t.Context(), netip.MustParseAddr("192.168.88.5"))
				if err != nil || len(path.Echoes) != mostEchoes && len(path.Echoes) != 0 {
					t.Fatalf("%+v, %v", path, err)
				}
			}
			if c.Logins() != 1 {
				t.Errorf("%d logins", c.Logins())
			}
		})
	}
	// Another failure than the one we caused is one.
	c := apiPeer(t, func(k *talk) {
		_, tag := k.hear()
		rows(k, tag, mostEchoes)
		_, cancel := k.hear()
		k.tell(tag, "!trap", "=message=not enough permissions (9)")
		k.tell(tag, "!done")
		k.tell(cancel, "!done")
		k.hear()
	})
	_, err := c.Path(t.Context(), netip.MustParseAddr("192.168.88.5"))
	failure(t, err, Permission)
	// All rows have come, and the end with them: nothing is cancelled.
	heard := make(chan []string, 1)
	c = apiPeer(t, func(k *talk) {
		_, tag := k.hear()
		var all bytes.Buffer
		for range mostEchoes {
			all.Write(appendSentence(nil, "!re", "=.id=*1", "=protocol=icmp", "=src-address=192.168.88.5", "=dst-address=1.1.1.1", "=reply-dst-address=203.0.113.2", tag))
		}
		all.Write(appendSentence(nil, "!done", tag))
		_, _ = k.Write(all.Bytes())
		for {
			words, tag := k.hear()
			if words == nil {
				return
			}
			if words[0] != "/cancel" {
				heard <- words
			}
			k.tell(tag, "!done")
		}
	})
	if _, err := c.Path(t.Context(), netip.MustParseAddr("192.168.88.5")); err != nil {
		t.Error(err)
	}
	if words := <-heard; words[0] != "/ip/address/print" {
		t.Errorf("it went on with %q", words)
	}
}

// FuzzSentence: no bytes make the decoder panic, take more than its limits, or read what it would not write.
func FuzzSentence(f *testing.F) {
	f.Add(appendSentence(nil, "!re", "=.id=*1", "=name=WAN", ".tag=3"))
	f.Add(appendSentence(appendSentence(nil, "!trap", "=category=1", "=message=moo"), "!done"))
	f.Add(appendSentence(nil, "!fatal", "not logged in"))
	f.Add([]byte("\x00\x00\x80\x02ab\x00\xF0\xFF\xFF\xFF\xFF"))
	f.Add(bytes.Repeat([]byte{0}, 400))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReader(bytes.NewReader(in))
		for {
			words, size, err := readSentence(r, maxWord)
			if err != nil {
				return
			}
			if len(words) == 0 || len(words) > maxSentence || size > 2*maxWord+maxSentence {
				t.Fatalf("%d words, %d bytes", len(words), size)
			}
			again, _, err := readSentence(bufio.NewReader(bytes.NewReader(appendSentence(nil, words...))), maxWord)
			if err != nil || !slices.Equal(again, words) {
				t.Fatalf("%q reads back as %q, %v", words, again, err)
			}
			if s, err := parseSaid(words); err == nil {
				s.trap()
			}
		}
	})
}
