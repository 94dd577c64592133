package routeros

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RouterOS has no rights narrower than "write", so the client narrows itself: a line leaves this process only when
// one of these shapes describes it from its first to its last character. The shapes are written out by hand, apart from
// the code that builds the lines: a mistake there is caught here.
//
// ‹name› stands for a non-empty quoted string, ‹rate› for 1 to 999 999 999 999 without a leading zero, so that no
// line can remove a limit; ‹list› for a list that switches a rule, ‹time› for 10 to 999 s; ‹from› for a pattern that is one IPv4 address, with a port or without;
// ‹mark› for an address of a mark, ‹owner› for its comment and ‹id› for an item's id; (… …)? is optional.
var shapes = compileShapes(
	// Exchange: find both queues, set at most one max-limit each, read back.
	`{:local d [/queue/tree find where name=‹name›];:local u [/queue/tree find where name=‹name›];`+
		`:put ("wanctl|found|" . [:len $d] . "|" . [:len $u] . "|.");‹sets›`+
		`:if ([:len $d]=1) do={:put ("wanctl|queue|download|" . [/queue/tree get $d max-limit] . "|" . [/queue/tree get $d bytes]`+
		` . "|" . [/queue/tree get $d packets] . "|" . [/queue/tree get $d dropped] . "|" . [/queue/tree get $d queued-bytes]`+
		` . "|" . [/queue/tree get $d queued-packets] . "|" . [/queue/tree get $d parent] . "|.")};`+
		`:if ([:len $u]=1) do={:put ("wanctl|queue|upload|" . [/queue/tree get $u max-limit] . "|" . [/queue/tree get $u bytes]`+
		` . "|" . [/queue/tree get $u packets] . "|" . [/queue/tree get $u dropped] . "|" . [/queue/tree get $u queued-bytes]`+
		` . "|" . [/queue/tree get $u queued-packets] . "|" . [/queue/tree get $u parent] . "|.")};‹wan›;`+
		`:put ("wanctl|uptime|" . [/system/resource get uptime] . "|.");:put "wanctl|end|."}`,
	// One queue, read only.
	`{:local d [/queue/tree find where name=‹name›];:put ("wanctl|found|" . [:len $d] . "|.");`+
		`:if ([:len $d]=1) do={:put ("wanctl|queue|download|" . [/queue/tree get $d max-limit] . "|" . [/queue/tree get $d bytes]`+
		` . "|" . [/queue/tree get $d packets] . "|" . [/queue/tree get $d dropped] . "|" . [/queue/tree get $d queued-bytes]`+
		` . "|" . [/queue/tree get $d queued-packets] . "|" . [/queue/tree get $d parent] . "|.")};:put "wanctl|end|."}`,
	// A simple queue: set max-limit or not, one half from what the router has or both, and read it back.
	`{:local q [/queue/simple find where name=‹name›];:put ("wanctl|found|" . [:len $q] . "|.");‹pair›‹simple›‹through›;`+
		`:put ("wanctl|uptime|" . [/system/resource get uptime] . "|.");:put "wanctl|end|."}`,
	// A simple queue, read only.
	`{:local q [/queue/simple find where name=‹name›];:put ("wanctl|found|" . [:len $q] . "|.");‹simple›:put "wanctl|end|."}`,
	// One mangle rule: switch it or not, read it.
	`{:local r [/ip/firewall/mangle find where comment=‹name› dynamic=no];:put ("wanctl|found|" . [:len $r] . "|.");‹switch›`+
		`:if ([:len $r]=1) do={:put ("wanctl|rule|" . [:tostr $r] . "|" . [/ip/firewall/mangle get $r disabled] . "|"`+
		` . [/ip/firewall/mangle get $r invalid] . "|" . [/ip/firewall/mangle get $r chain] . "|" . [/ip/firewall/mangle get $r action]`+
		` . "|" . [:tostr [/ip/firewall/mangle get $r connection-state]] . "|" . [/ip/firewall/mangle get $r new-connection-mark]`+
		` . "|" . [/ip/firewall/mangle get $r new-routing-mark] . "|" . [/ip/firewall/mangle get $r src-address-list] . "|.")};:put "wanctl|end|."}`,
	// One mangle rule and the list that switches it: hold the list, or empty it, or neither; read both.
	`{:local r [/ip/firewall/mangle find where comment=‹name› dynamic=no];:local e [/ip/firewall/address-list find where list=‹list›];`+
		`:put ("wanctl|found|" . [:len $r] . "|.");‹hold›`+
		`:if ([:len $r]=1) do={:put ("wanctl|rule|" . [:tostr $r] . "|" . [/ip/firewall/mangle get $r disabled] . "|"`+
		` . [/ip/firewall/mangle get $r invalid] . "|" . [/ip/firewall/mangle get $r chain] . "|" . [/ip/firewall/mangle get $r action]`+
		` . "|" . [:tostr [/ip/firewall/mangle get $r connection-state]] . "|" . [/ip/firewall/mangle get $r new-connection-mark]`+
		` . "|" . [/ip/firewall/mangle get $r new-routing-mark] . "|" . [/ip/firewall/mangle get $r src-address-list] . "|.")};`+
		`:put ("wanctl|list|" . [:len [/ip/firewall/address-list find where list=‹list›]] . "|.");:put "wanctl|end|."}`,
	// The tracked echoes of one address, and the router's own addresses; read only.
	`{:local c [/ip/firewall/connection find where protocol=icmp src-address~‹from›];`+
		`:foreach i in=[:pick $c 0 16] do={:put ("wanctl|echo|" . [/ip/firewall/connection get $i dst-address]`+
		` . "|" . [/ip/firewall/connection get $i reply-dst-address] . "|.")};`+
		`:foreach i in=[/ip/address find where disabled=no] do={:put ("wanctl|address|" . [/ip/address get $i address]`+
		` . "|" . [/ip/address get $i interface] . "|.")};:put "wanctl|end|."}`,
	// The marks of the router's controllers: read all, make ours, refresh ours, remove one.
	`{:local m [/ip/firewall/address-list find where list="wanctl-owner"];:foreach i in=[:pick $m 0 32] do={:put ("wanctl|mark|" . $i`+
		` . "|" . [/ip/firewall/address-list get $i address] . "|" . [/ip/firewall/address-list get $i timeout]`+
		` . "|" . [/ip/firewall/address-list get $i comment] . "|.")};:put "wanctl|end|."}`,
	`{/ip/firewall/address-list add list="wanctl-owner" address=‹mark› timeout=10m comment="‹owner›";:put "wanctl|set|mark|.";`+
		`:put "wanctl|end|."}`,
	`{/ip/firewall/address-list set ‹id› timeout=10m;:put "wanctl|set|mark|.";:put "wanctl|end|."}`,
	`{:local m [/ip/firewall/address-list find where list="wanctl-owner" .id=‹id›];`+
		`:foreach i in=$m do={/ip/firewall/address-list remove $i};:put "wanctl|set|mark|.";:put "wanctl|end|."}`,
)

// The parts of a mark: an address in 240.0.0.0/5, and who left it, in plain characters, behind "wanctl: ".
const (
	markAddress  = `24[0-7](?:\.(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}`
	ownerComment = `owner=[0-9a-f]{16} host=[A-Za-z0-9._%~-]{1,96} pid=[0-9]{1,10}(?: (?:queue|simple|rule)=[A-Za-z0-9._%~-]{1,96}){1,8}`
)

// optional holds what a shape may contain in some places.
var optional = map[string][]string{
	`‹sets›`: {
		``, `‹down›`, `‹up›`, `‹down›‹up›`, `‹up›‹down›`,
	},
	`‹wan›`: {
		`:local i [/interface find where name=‹name›];:if ([:len $i]=1) do={:put ("wanctl|wan|" . [/interface get $i rx-byte] . "|"` +
			` . [/interface get $i tx-byte] . "|.")}`,
		`:if ([:len $u]=1) do={:local p [/queue/tree get $u parent];:local i [/interface find where name=$p];` +
			`:if ([:len $i]=1) do={:put ("wanctl|wan|" . [/interface get $i rx-byte] . "|" . [/interface get $i tx-byte] . "|.")}}`,
	},
	`‹through›`: {
		`:local i [/interface find where name=‹name›];:if ([:len $i]=1) do={:put ("wanctl|wan|" . [/interface get $i rx-byte] . "|"` +
			` . [/interface get $i tx-byte] . "|.")}`,
		`:if ([:len $q]=1) do={:local p [/queue/simple get $q dst];:local i [/interface find where name=$p];` +
			`:if ([:len $i]=1) do={:put ("wanctl|wan|" . [/interface get $i rx-byte] . "|" . [/interface get $i tx-byte] . "|.")}}`,
	},
	`‹pair›`: {
		``,
		`:if ([:len $q]=1) do={/queue/simple set $q max-limit=‹rate›/‹rate›;:put "wanctl|set|both|."};`,
		`:if ([:len $q]=1) do={:local m [:tostr [/queue/simple get $q max-limit]];` +
			`/queue/simple set $q max-limit=("‹rate›" . [:pick $m [:find $m "/"] [:len $m]]);:put "wanctl|set|upload|."};`,
		`:if ([:len $q]=1) do={:local m [:tostr [/queue/simple get $q max-limit]];` +
			`/queue/simple set $q max-limit=([:pick $m 0 [:find $m "/"]] . "/‹rate›");:put "wanctl|set|download|."};`,
	},
	`‹simple›`: {
		`:if ([:len $q]=1) do={:put ("wanctl|simple|" . [/queue/simple get $q max-limit] . "|" . [/queue/simple get $q bytes]` +
			` . "|" . [/queue/simple get $q packets] . "|" . [/queue/simple get $q dropped] . "|" . [/queue/simple get $q queued-bytes]` +
			` . "|" . [/queue/simple get $q queued-packets] . "|" . [:tostr [/queue/simple get $q target]] . "|" . [/queue/simple get $q dst] . "|.")};`,
	},
	`‹switch›`: {
		``,
		`:if ([:len $r]=1) do={/ip/firewall/mangle enable $r;:put "wanctl|set|rule|."};`,
		`:if ([:len $r]=1) do={/ip/firewall/mangle disable $r;:put "wanctl|set|rule|."};`,
	},
	`‹hold›`: {
		``,
		`:if ([:len $r]=1) do={:if ([:len $e]=2) do={/ip/firewall/address-list set $e timeout=‹time›} else={` +
			`:if ([:len $e]>0) do={/ip/firewall/address-list remove $e};/ip/firewall/address-list add list=‹list› address=0.0.0.0/1 timeout=‹time›;` +
			`/ip/firewall/address-list add list=‹list› address=128.0.0.0/1 timeout=‹time›};:put "wanctl|set|list|."};`,
		`:if ([:len $e]>0) do={/ip/firewall/address-list remove $e;:put "wanctl|set|list|."};`,
	},
	`‹down›`: {`:if ([:len $d]=1) do={/queue/tree set $d max-limit=‹rate›;:put "wanctl|set|download|."};`},
	`‹up›`:   {`:if ([:len $u]=1) do={/queue/tree set $u max-limit=‹rate›;:put "wanctl|set|upload|."};`},
}

func compileShapes(texts ...string) []*regexp.Regexp {
	shapes := make([]*regexp.Regexp, 0, len(texts))
	for _, text := range texts {
		expression := regexp.QuoteMeta(text)
		for _, slot := range []string{`‹sets›`, `‹wan›`, `‹switch›`, `‹hold›`, `‹down›`, `‹up›`, `‹pair›`, `‹simple›`, `‹through›`} {
			choices := make([]string, 0, len(optional[slot]))
			for _, choice := range optional[slot] {
				choices = append(choices, regexp.QuoteMeta(choice))
			}
			expression = strings.ReplaceAll(expression, slot, `(?:`+strings.Join(choices, `|`)+`)`)
		}
		expression = strings.ReplaceAll(expression, `‹name›`, `"(?:[^"\\$]|\\["\\$])+"`)
		expression = strings.ReplaceAll(expression, `‹rate›`, `[1-9][0-9]{0,11}`)
		expression = strings.ReplaceAll(expression, `‹list›`, `"wanctl-steer-[A-Za-z0-9_.-]{1,64}"`)
		expression = strings.ReplaceAll(expression, `‹time›`, `[1-9][0-9]{1,2}s`)
		expression = strings.ReplaceAll(expression, `‹from›`, `"\^[0-9]{1,3}(?:\\\\\.[0-9]{1,3}){3}\(:\|\\\$\)"`)
		expression = strings.ReplaceAll(expression, `‹mark›`, markAddress)
		expression = strings.ReplaceAll(expression, `‹owner›`, `wanctl: `+ownerComment)
		expression = strings.ReplaceAll(expression, `‹id›`, `\*[0-9A-F]{1,16}`)
		shapes = append(shapes, regexp.MustCompile(`\A`+expression+`\z`))
	}
	return shapes
}

// errNotAllowed is what guard answers; it does not repeat the line, which the Error carries.
var errNotAllowed = errors.New("the line is none of the few shapes wanctl may send, so it was not sent")

// guard passes a line that one of the shapes describes completely, and nothing else.
func guard(line string) error {
	if !passes(shapes, line, line) {
		return errNotAllowed
	}
	return nil
}

// passes says whether one of the shapes describes a text completely; plain is the text without what parts it, and may hold
// no control characters.
func passes(shapes []*regexp.Regexp, text, plain string) bool {
	if !utf8.ValidString(plain) || strings.ContainsFunc(plain, unicode.IsControl) {
		return false
	}
	return slices.ContainsFunc(shapes, func(s *regexp.Regexp) bool { return s.MatchString(text) })
}
