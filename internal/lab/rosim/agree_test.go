package rosim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// edit is one change, to be made through any door.
type edit struct {
	path, cmd, id string
	args          []pair
}

// line makes it as a line of the console.
func (c edit) line() string {
	line := c.path + "/" + c.cmd
	if c.id != "" {
		line += " " + c.id
	}
	for _, a := range c.args {
		line += " " + a.name + "=" + word(a.val)
	}
	return line
}

// words makes it as a sentence of the API.
func (c edit) words(t *rapid.T, r *Router) bool {
	words := []string{c.path + "/" + c.cmd}
	if c.id != "" {
		words = append(words, "=.id="+c.id)
	}
	for _, a := range c.args {
		words = append(words, "="+a.name+"="+a.val)
	}
	s := readWords(words)
	_, _, err := r.perform(t.Context(), "root", ^policySet(0), s.request, func(row) error { return nil })
	return err == nil
}

// rest makes it as a request of REST.
func (c edit) rest(t *rapid.T, r *Router) bool {
	method, path := http.MethodPost, c.path+"/"+c.cmd
	fields := map[string]string{}
	for _, a := range c.args {
		fields[a.name] = a.val
	}
	switch c.cmd {
	case "add":
		method, path = http.MethodPut, c.path
	case "set":
		method, path = http.MethodPatch, c.path+"/"+c.id
	case "remove":
		method, path = http.MethodDelete, c.path+"/"+c.id
	default:
		fields[".id"] = c.id
	}
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.ParseRequestURI(restPrefix + path)
	if err != nil {
		t.Fatal(err)
	}
	in, bad := r.readREST(&http.Request{Method: method, URL: u}, body)
	if bad != nil {
		return false
	}
	resp, _ := r.answerREST(t.Context(), "root", ^policySet(0), in)
	return resp.status < 300
}

// The same changes through each door leave the same router, and are taken or refused alike.
func TestTheDoorsAgree(t *testing.T) {
	text := rapid.StringOfN(rapid.RuneFrom([]rune(`abc AZ09"\$?;=[]{}é`)), 1, 20, -1)
	ids := rapid.SampledFrom([]string{"*1", "*2", "*3", "*4", "*5", "*6", "*99"})
	one := rapid.Custom(func(t *rapid.T) edit {
		pick := func(vals ...string) string { return rapid.SampledFrom(vals).Draw(t, "value") }
		path := pick(queueTreePath, manglePath, routingTablePath, "/interface/list")
		c := edit{path: path, cmd: pick("add", "add", "set", "set", "remove", "enable", "disable", "move")}
		if c.cmd != "add" {
			c.id = ids.Draw(t, "id")
		}
		if c.cmd == "move" {
			c.args = []pair{{"destination", ids.Draw(t, "destination")}}
		}
		if c.cmd != "add" && c.cmd != "set" {
			return c
		}
		c.args = []pair{{"comment", text.Draw(t, "comment")}}
		switch path {
		case queueTreePath:
			c.args = append(c.args, pair{"parent", pick("ether1", "bridge", "nosuch")}, pair{"max-limit", pick("0", "48M", "1500k", "fast")},
				pair{"priority", pick("1", "8", "9")}, pair{"bucket-size", pick("0.1", "0.01", "x")}, pair{"disabled", pick("yes", "no", "perhaps")})
		case manglePath:
			c.args = append(c.args, pair{"chain", pick("forward", "prerouting")}, pair{"action", pick("accept", "mark-packet", "teleport")},
				pair{"connection-state", pick("new", "established,related")}, pair{"passthrough", pick("yes", "no")})
		default:
			c.args = append(c.args, pair{"name", pick("a", "b", "c")})
		}
		return c
	})
	rapid.Check(t, func(rt *rapid.T) {
		changes := rapid.SliceOfN(one, 1, 8).Draw(rt, "changes")
		var exports, taken [3]string
		for i := range exports {
			r, _ := steady(t, func(o *Options) {
				o.Users, o.HostKeys = append(o.Users, User{Name: "root", Group: "full"}), fuzzKeys(t)
			})
			for _, c := range changes {
				ok := false
				switch i {
				case 0:
					_, failed := r.Exec(rt.Context(), "root", c.line())
					ok = !failed
				case 1:
					ok = c.words(rt, r)
				case 2:
					ok = c.rest(rt, r)
				}
				taken[i] += fmt.Sprintf("%v ", ok)
			}
			exports[i] = r.Export()
		}
		for i, door := range []string{"API", "REST"} {
			if d := cmp.Diff(taken[0]+"\n"+exports[0], taken[i+1]+"\n"+exports[i+1]); d != "" {
				rt.Errorf("(-SSH +%s):\n%s", door, d)
			}
		}
	})
}

// Every change of the schema of 1.3 is seen: what a version has, and what it does not.
func TestVersionsDiffer(t *testing.T) {
	for _, tc := range []struct{ menu, cmd, arg, from, to string }{
		{queueTreePath, "print", "group-by", "7.18.2", "7.24"},
		{queueTreePath, "print", "on-event", "7.22.3", "7.24"},
		{queueTreePath, "print", "order-by", "7.24", "7.24"},
		{queueTreePath, "print", "proplist", "7.12.2", "7.24"},
		{"/ip/firewall/mangle", "add", "tos", "7.21.5", "7.24"},
		{"/ip/firewall/filter", "add", "hw-offload", "7.12.2", "7.20.8"},
		{"/routing/rule", "add", "chain", "7.22.3", "7.24"},
		{servicePath, "set", "max-sessions", "7.16.2", "7.24"},
		{servicePath, "set", "available-from", "7.24", "7.24"},
		{webserverPath, "set", "rest-plain", "7.21.5", "7.24"},
		{userPath, "set", "inactivity-policy", "7.16.2", "7.24"},
		{activePath, "request-logout", "numbers", "7.12.2", "7.18.2"},
		{activePath, "remove", "numbers", "7.20.8", "7.24"},
		{manglePath, "unset", "numbers", "7.12.2", "7.24"},
		{"/", "ping", "address", "7.12.2", "7.22.3"},
		{"/tool", "ping", "address", "7.12.2", "7.24"},
		{queueTypePath, "set", "cake-memlimit", "7.12.2", "7.24"},
	} {
		within := false
		for _, s := range saved {
			if s == tc.from {
				within = true
			}
			v, err := parseVersion(s)
			if err != nil {
				t.Fatal(err)
			}
			root, err := newTree(v)
			if err != nil {
				t.Fatal(err)
			}
			has := false
			if m := root.at(tc.menu); m != nil && m.cmdNamed(tc.cmd) != nil {
				_, has = m.cmdNamed(tc.cmd).params[tc.arg]
			}
			if has != within {
				t.Errorf("%s: %s/%s %s is there: %v", s, tc.menu, tc.cmd, tc.arg, has)
			}
			if s == tc.to {
				within = false
			}
		}
	}
	root, err := newTree(version{7, 24})
	if err != nil {
		t.Fatal(err)
	}
	if root.at(queueTreePath).cmdNamed("unset") != nil || root.at(simplePath).cmdNamed("unset") == nil {
		t.Error("unset of queues")
	}
	if v := savedAs(version{7, 23}); saved[v] != "7.22.3" {
		t.Errorf("7.23 is taken for %s", saved[v])
	}
	if v := savedAs(version{7, 1}); saved[v] != "7.12.2" {
		t.Errorf("7.1 is taken for %s", saved[v])
	}
}

func TestSchemaMistakesAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"/x@7.99-":             `schema.txt:1: "/x@7.99-" names no saved version`,
		"/x\n  add name":       `schema.txt:2: "add name" is no command`,
		"/x\n  add@7.1: a":     "schema.txt:2:",
		"/x\n  add: a b@-9.99": "schema.txt:2:",
	} {
		if _, err := readSchema(text, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Required arguments, as they were measured: the console says so in one way, the other doors in theirs.
func TestRequiredArguments(t *testing.T) {
	for _, tc := range []struct{ path, missing string }{
		{"/queue/tree", "parent"},
		{"/queue/simple", "target"},
		{"/queue/type", "name kind"},
		{"/ip/firewall/mangle", "chain"},
		{"/ip/firewall/filter", "chain"},
		{"/ip/firewall/nat", "chain"},
		{"/ip/firewall/raw", "chain"},
		{"/ipv6/firewall/mangle", "chain"},
		{"/tool/netwatch", "host"},
		{"/interface/list", "name"},
		{"/interface/list/member", "list interface"},
		{"/ip/address", "address interface"},
		{"/system/scheduler", "name"},
		{"/user", "name group password"},
		{"/ip/firewall/address-list", "list"},
		{"/ip/route", ""},
		{"/routing/table", ""},
		{"/routing/rule", ""},
		{"/system/script", ""},
	} {
		for _, version := range []string{"7.20.8", "7.22.1"} {
			r, _ := steady(t, func(o *Options) { o.Version, o.Users = version, append(o.Users, User{Name: "root", Group: "full"}) })
			out, failed := r.Exec(t.Context(), "root", tc.path+"/add")
			want := "Script Error: missing value(s) of argument(s) " + tc.missing
			if version == "7.22.1" {
				want += " (" + tc.path + "/add; line 1)"
			}
			if want += "\n"; tc.missing == "" {
				want = ""
			}
			if out != want || failed != (want != "") {
				t.Errorf("%s on %s: %q, want %q", tc.path, version, out, want)
			}
			_, _, err := r.perform(t.Context(), "root", ^policySet(0), request{path: tc.path + "/add"}, nil)
			first, _, _ := strings.Cut(tc.missing, " ")
			if tc.missing != "" && (err == nil || err.Error() != "missing ="+first+"=") {
				t.Errorf("%s in words: %v", tc.path, err)
			}
		}
	}
	r, _ := steady(t, func(o *Options) { o.Users = append(o.Users, User{Name: "root", Group: "full"}) })
	if out, _ := r.Exec(t.Context(), "root", "/user/ssh-keys/add"); out != wrongKey+" (/user/ssh-keys/add; line 1)\n" {
		t.Errorf("no key: %q", out)
	}
	if out, _ := r.Exec(t.Context(), "root", "/user/group/add"); out != "failure: invalid group name (/user/group/add; line 1)\n" {
		t.Errorf("a group without a name: %q", out)
	}
}
