package routeros

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
)

// ask is one command as the binary API and REST know it: a menu, a verb, and data that needs no quoting.
type ask struct {
	menu, verb string
	// list are the properties a print asks for; where its query, in words as REST has them: "name=WAN", "#|" for or.
	list, where []string
	// add are the properties of a new item, in their order.
	add []Arg
	// id is the item that set, enable and disable are for; key and value are what set sets.
	id, key, value string
	// keep picks the rows of a print that are wanted, nil all; after most of them the rest need not come. 0 is no bound.
	keep func(row) bool
	most int
}

// row is one item of a print: its properties, as text.
type row map[string]string

// asker is a connection that answers asks, one at a time.
type asker interface {
	ask(ctx context.Context, op string, a ask) ([]row, *Error)
}

// words are the command as a sentence of the binary API, without its tag.
func (a ask) words() []string {
	w := []string{a.menu + "/" + a.verb}
	if a.id != "" {
		w = append(w, "=.id="+a.id)
	}
	if a.key != "" {
		w = append(w, "="+a.key+"="+a.value)
	}
	for _, p := range a.add {
		w = append(w, "="+p.Key+"="+p.Value)
	}
	if len(a.list) > 0 {
		w = append(w, "=.proplist="+strings.Join(a.list, ","))
	}
	for _, q := range a.where {
		w = append(w, "?"+q)
	}
	return w
}

// request is the command as a request of REST: a method, a path and a JSON body.
func (a ask) request() (method, path, body string) {
	path = "/rest" + a.menu
	fields := map[string]any{}
	switch {
	case a.verb == "set":
		method, path = "PATCH", path+"/"+a.id
		fields[a.key] = a.value
	case a.verb == "add":
		method = "PUT"
		for _, p := range a.add {
			fields[p.Key] = p.Value
		}
	case a.id != "":
		method, path = "POST", path+"/"+a.verb
		fields[".id"] = a.id
	case a.list == nil:
		return "GET", path, ""
	default:
		method, path = "POST", path+"/"+a.verb
		fields[".proplist"] = a.list
		if len(a.where) > 0 {
			fields[".query"] = a.where
		}
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it is no page, and RouterOS's own parser need not know more escapes than it must
	_ = enc.Encode(fields)   // strings and lists of strings: it cannot fail
	return method, path, strings.TrimSuffix(b.String(), "\n")
}

// What may leave the process through the API and REST, written out by hand apart from the code that builds it, as
// [shapes] are for SSH. ‹name› is one non-empty text, ‹rate› 1 to 999 999 999 999, ‹pair› two rates of
// which one may be 0, a direction that was unlimited and stays so, ‹id› an item's id, ‹list› a list that
// switches a rule, ‹half› one half of IPv4's addresses, ‹time› 10 to 999 s.
//
// An API sentence is one text here, its words ended by line feeds, which no word of ours can hold.
var sentences = compileAsks(
	"/queue/tree/print\n=.proplist=.id,name\n?name=‹name›\n?name=‹name›\n?#|\n",
	"/queue/tree/print\n=.proplist=.id,name,max-limit,bytes,packets,dropped,queued-bytes,queued-packets,parent\n?name=‹name›\n(?:?name=‹name›\n?#|\n)?",
	"/queue/tree/set\n=.id=‹id›\n=max-limit=‹rate›\n",
	"/queue/simple/print\n=.proplist=.id,name,max-limit\n?name=‹name›\n",
	"/queue/simple/print\n=.proplist=.id,name,max-limit,bytes,packets,dropped,queued-bytes,queued-packets,target,dst\n?name=‹name›\n",
	"/queue/simple/set\n=.id=‹id›\n=max-limit=‹pair›\n",
	"/interface/print\n=.proplist=.id,name,rx-byte,tx-byte\n?name=‹name›\n",
	"/system/resource/print\n",
	"/ip/firewall/mangle/print\n=.proplist=.id,comment,dynamic,disabled,invalid,chain,action,connection-state,new-connection-mark,new-routing-mark,src-address-list\n?comment=‹name›\n",
	"/ip/firewall/mangle/enable\n=.id=‹id›\n",
	"/ip/firewall/mangle/disable\n=.id=‹id›\n",
	"/ip/firewall/address-list/print\n=.proplist=.id,list\n?list=‹list›\n",
	"/ip/firewall/address-list/add\n=list=‹list›\n=address=‹half›\n=timeout=‹time›\n",
	"/ip/firewall/address-list/set\n=.id=‹id›\n=timeout=‹time›\n",
	"/ip/firewall/address-list/remove\n=.id=‹id›\n",
	"/ip/firewall/connection/print\n=.proplist=.id,protocol,src-address,dst-address,reply-dst-address\n?protocol=icmp\n",
	"/ip/address/print\n=.proplist=.id,address,interface,disabled\n",
	"/ip/firewall/address-list/print\n=.proplist=.id,list,address,timeout,comment\n?list=wanctl-owner\n(?:?.id=‹id›\n?#&\n)?",
	"/ip/firewall/address-list/add\n=list=wanctl-owner\n=address=‹mark›\n=timeout=10m\n=comment=‹owner›\n",
	"/ip/firewall/address-list/set\n=.id=‹id›\n=timeout=10m\n",
	"/cancel\n=tag=‹tag›\n",
)

// requests are the same for REST: method, path and body, parted by blanks.
var requests = compileAsks(
	`POST /rest/queue/tree/print {".proplist":[".id","name"],".query":["name=‹json›","name=‹json›","#|"]}`,
	`POST /rest/queue/tree/print {".proplist":[".id","name","max-limit","bytes","packets","dropped","queued-bytes","queued-packets","parent"],`+
		`".query":["name=‹json›"(?:,"name=‹json›","#|")?]}`,
	`PATCH /rest/queue/tree/‹id› {"max-limit":"‹rate›"}`,
	`POST /rest/queue/simple/print {".proplist":[".id","name","max-limit"],".query":["name=‹json›"]}`,
	`POST /rest/queue/simple/print {".proplist":[".id","name","max-limit","bytes","packets","dropped","queued-bytes","queued-packets","target","dst"],`+
		`".query":["name=‹json›"]}`,
	`PATCH /rest/queue/simple/‹id› {"max-limit":"‹pair›"}`,
	`POST /rest/interface/print {".proplist":[".id","name","rx-byte","tx-byte"],".query":["name=‹json›"]}`,
	`GET /rest/system/resource `,
	`POST /rest/ip/firewall/mangle/print {".proplist":[".id","comment","dynamic","disabled","invalid","chain","action","connection-state",`+
		`"new-connection-mark","new-routing-mark","src-address-list"],".query":["comment=‹json›"]}`,
	`POST /rest/ip/firewall/mangle/enable {".id":"‹id›"}`,
	`POST /rest/ip/firewall/mangle/disable {".id":"‹id›"}`,
	`POST /rest/ip/firewall/address-list/print {".proplist":[".id","list"],".query":["list=‹list›"]}`,
	`PUT /rest/ip/firewall/address-list {"address":"‹half›","list":"‹list›","timeout":"‹time›"}`,
	`PATCH /rest/ip/firewall/address-list/‹id› {"timeout":"‹time›"}`,
	`POST /rest/ip/firewall/address-list/remove {".id":"‹id›"}`,
	`POST /rest/ip/firewall/connection/print {".proplist":[".id","protocol","src-address","dst-address","reply-dst-address"],".query":["protocol=icmp"]}`,
	`POST /rest/ip/address/print {".proplist":[".id","address","interface","disabled"]}`,
	`POST /rest/ip/firewall/address-list/print {".proplist":[".id","list","address","timeout","comment"],`+
		`".query":["list=wanctl-owner"(?:,".id=‹id›","#&")?]}`,
	`PUT /rest/ip/firewall/address-list {"address":"‹mark›","comment":"‹owner›","list":"wanctl-owner","timeout":"10m"}`,
	`PATCH /rest/ip/firewall/address-list/‹id› {"timeout":"10m"}`,
)

func compileAsks(texts ...string) []*regexp.Regexp {
	slots := strings.NewReplacer(
		`‹name›`, `[^\n]+`, `‹json›`, `(?:[^"\\]|\\["\\])+`, `‹rate›`, `[1-9][0-9]{0,11}`,
		`‹pair›`, `(?:[1-9][0-9]{0,11}/(?:0|[1-9][0-9]{0,11})|0/[1-9][0-9]{0,11})`, `‹id›`, `\*[0-9A-F]{1,16}`, `‹tag›`, `[0-9]{1,20}`,
		`‹list›`, `wanctl-steer-[A-Za-z0-9_.-]{1,64}`, `‹time›`, `[1-9][0-9]{1,2}s`, `‹half›`, `(?:0|128)\.0\.0\.0/1`,
		`‹mark›`, markAddress, `‹owner›`, `wanctl: `+ownerComment,
		`\(\?:`, `(?:`, "\n\\)\\?", "\n)?", `"\)\?`, `")?`, // what is optional
	)
	all := make([]*regexp.Regexp, 0, len(texts))
	for _, text := range texts {
		all = append(all, regexp.MustCompile(`\A`+slots.Replace(regexp.QuoteMeta(text))+`\z`))
	}
	return all
}

// errNotAsked is what both guards answer; they do not repeat the command, which the Error carries.
var errNotAsked = errors.New("the command is none of the few wanctl may send, so it was not sent")

// guardWords passes a sentence that one of the shapes describes completely, and nothing else.
func guardWords(words []string) error {
	if !passes(sentences, strings.Join(words, "\n")+"\n", strings.Join(words, "")) {
		return errNotAsked
	}
	return nil
}

// guardRequest does the same for a request.
func guardRequest(method, path, body string) error {
	text := method + " " + path + " " + body
	if !passes(requests, text, text) {
		return errNotAsked
	}
	return nil
}
