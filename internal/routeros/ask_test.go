package routeros

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// note is an asker that writes down what it is asked and lets a model answer.
type note struct {
	model *model
	asks  []ask
}

func (n *note) ask(_ context.Context, op string, a ask) ([]row, *Error) {
	n.asks = append(n.asks, a)
	fields := map[string]string{".id": a.id, ".proplist": strings.Join(a.list, ","), a.key: a.value}
	for _, p := range a.add {
		fields[p.Key] = p.Value
	}
	rows, bad := n.model.do(a.menu+"/"+a.verb, fields, a.where)
	if bad != nil {
		return nil, refused(site{}, op, bad.text, Reply)
	}
	return rows, nil
}

// tasks are all that can be meant, in every variant that is said otherwise.
func tasks() map[string]task {
	named := att
	named.WAN = "bridge"
	both := &link.Rates{Down: 90 * unit.Mbps, Up: 20 * unit.Mbps}
	return map[string]task{
		"1 read both queues":                       {queues: att},
		"2 read both queues and a named interface": {queues: named},
		"3 set both rates":                         {queues: att, want: both, order: downFirst},
		"4 set both rates, upload first":           {queues: att, want: both, order: upFirst},
		"5 set the upload rate":                    {queues: att, want: &link.Rates{Up: 5_700_000}, order: downFirst},
		"6 read one queue":                         {purpose: oneQueue, queue: "Other"},
		"7 read the rule":                          {purpose: oneRule, comment: "STEER"},
		"8 enable the rule":                        {purpose: oneRule, comment: "STEER", verb: "enable"},
		"9 disable the rule":                       {purpose: oneRule, comment: "STEER", verb: "disable"},
		"B read a simple queue":                    {queues: cable},
		"C set both rates of a simple queue":       {queues: cable, want: both},
		"D set a simple queue's upload rate":       {queues: cable, want: &link.Rates{Up: 5_700_000}},
		"E set a simple queue's download rate":     {queues: Queues{Simple: cable.Simple}, want: &link.Rates{Down: 57_000_000}},
		"F read one simple queue":                  {purpose: oneSimple, queue: cable.Simple},
		"G read a rule and its list":               {purpose: listedRule, comment: "STEER", list: "wanctl-steer-ATT"},
		"H hold the list":                          {purpose: listedRule, comment: "STEER", list: "wanctl-steer-ATT", verb: "hold", lasts: time.Minute},
		"I empty the list":                         {purpose: listedRule, comment: "STEER", list: "wanctl-steer-ATT", verb: "drop"},
		"A read where an address's echoes go":      {purpose: echoPath, source: netip.MustParseAddr("192.168.88.5")},
		"J read the owner marks":                   {purpose: marking, mark: lookMarks},
		"K make an owner mark":                     {purpose: marking, mark: makeMark, address: "240.9.8.7", comment: markComment},
		"L refresh an owner mark":                  {purpose: marking, mark: refreshMark, id: "*7A"},
		"M remove an owner mark":                   {purpose: marking, mark: removeMark, id: "*7A"},
	}
}

const markComment = "wanctl: owner=0123456789abcdef host=pi4 pid=7 queue=WAN-Download queue=WAN-Upload"

// asked are the commands of a task that succeeds.
func asked(t *testing.T, k task) []ask {
	t.Helper()
	n := &note{model: newModel()}
	if _, err := sit(t.Context(), site{}, n, k); err != nil {
		t.Fatal(err)
	}
	return n.asks
}

// TestAsks keeps every command of the API and REST as a golden file: these are what a router must understand.
func TestAsks(t *testing.T) {
	var b strings.Builder
	all := tasks()
	for _, name := range sortedKeys(all) {
		b.WriteString("# " + name[2:] + "\n")
		for _, a := range asked(t, all[name]) {
			words := a.words()
			method, path, body := a.request()
			if err := guardWords(words); err != nil {
				t.Errorf("%q: %v", words, err)
			}
			if err := guardRequest(method, path, body); err != nil {
				t.Errorf("%s %s %s: %v", method, path, body, err)
			}
			b.WriteString("api:  " + strings.Join(words, " ") + "\nrest: " + strings.TrimSpace(method+" "+path+" "+body) + "\n")
		}
	}
	golden(t, "asks.golden", b.String())
}

// TestGuardsRefuse: what is near to an allowed command and is none.
func TestGuardsRefuse(t *testing.T) {
	for _, words := range [][]string{
		nil,
		{""},
		{"/system/reboot"},
		{"/queue/tree/set", "=.id=*1", "=max-limit=0"},
		{"/queue/tree/set", "=.id=*1", "=max-limit=-5"},
		{"/queue/tree/set", "=.id=*1", "=max-limit=1000000000000"},
		{"/queue/tree/set", "=.id=*1", "=queue=default"},
		{"/queue/tree/set", "=.id=1", "=max-limit=5"},
		{"/queue/tree/set", "=.id=*1,*2", "=max-limit=5"},
		{"/queue/tree/set", "=.id=*1", "=max-limit=5", "=disabled=yes"},
		{"/queue/tree/set", "=max-limit=5"},
		{"/queue/tree/remove", "=.id=*1"},
		{"/queue/tree/print"},
		{"/queue/tree/print", "=.proplist=.id,name", "?name=a"},
		{"/queue/tree/print", "=.proplist=.id,name", "?name=a", "?name=", "?#|"},
		{"/queue/tree/print", "=.proplist=.id,name", "?name=a\n?name=b", "?#|"},
		{"/ip/firewall/mangle/enable"},
		{"/ip/firewall/mangle/set", "=.id=*1"},
		{"/ip/firewall/mangle/enable", "=.id=*1\n"},
		{"/ip/firewall/filter/disable", "=.id=*1"},
		{"/queue/simple/set", "=.id=*1", "=max-limit=0/0"},
		{"/queue/simple/set", "=.id=*1", "=max-limit=5"},
		{"/queue/simple/set", "=.id=*1", "=max-limit=5/"},
		{"/queue/simple/set", "=.id=*1", "=max-limit=00/5"},
		{"/queue/simple/set", "=.id=*1", "=max-limit=5/5/5"},
		{"/queue/simple/set", "=.id=*1", "=max-limit=1000000000000/5"},
		{"/queue/simple/set", "=.id=*1", "=target=*2"},
		{"/queue/simple/print"},
		{"/queue/simple/print", "=.proplist=.id,name,max-limit", "?name=a", "?name=b", "?#|"},
		{"/ip/firewall/address-list/print", "=.proplist=.id,list", "?list=kids"},
		{"/ip/firewall/address-list/add", "=list=kids", "=address=0.0.0.0/1", "=timeout=60s"},
		{"/ip/firewall/address-list/add", "=list=wanctl-steer-ATT", "=address=0.0.0.0/0", "=timeout=60s"},
		{"/ip/firewall/address-list/add", "=list=wanctl-steer-ATT", "=address=0.0.0.0/1"},
		{"/ip/firewall/address-list/add", "=list=wanctl-steer-ATT", "=address=0.0.0.0/1", "=timeout=1d"},
		{"/ip/firewall/address-list/set", "=.id=*1", "=address=0.0.0.0/0"},
		{"/cancel"},
		{"/cancel", "=tag=x"},
		{"/system/resource/print", "=file=x"},
		{"/system/resource/print", ""},
		{"/login", "=name=a", "=password=b"},
		{"/user/print"},
		{"/ip/firewall/address-list/print", "=.proplist=.id,list,address,timeout,comment", "?list=calls"},
		{"/ip/firewall/address-list/add", "=list=wanctl-owner", "=address=192.0.2.1", "=timeout=10m", "=comment=" + markComment},
		{"/ip/firewall/address-list/add", "=list=calls", "=address=240.1.2.3", "=timeout=10m", "=comment=" + markComment},
		{"/ip/firewall/address-list/add", "=list=wanctl-owner", "=address=240.1.2.3", "=timeout=1w", "=comment=" + markComment},
		{"/ip/firewall/address-list/add", "=list=wanctl-owner", "=address=240.1.2.3", "=comment=" + markComment},
		{"/ip/firewall/address-list/add", "=list=wanctl-owner", "=address=240.1.2.3", "=timeout=10m", "=comment=a note"},
		{"/ip/firewall/address-list/set", "=.id=*1", "=address=240.1.2.3"},
		{"/ip/firewall/address-list/set", "=.id=*1", "=timeout=0s"},
		{"/ip/firewall/address-list/remove", "=.id=*1,*2"},
		{"/queue/tree/print\n=.proplist=.id,name\n?name=a\n?name=b\n?#|"},
	} {
		if guardWords(words) == nil {
			t.Errorf("%q passed", words)
		}
	}
	for _, r := range [][3]string{
		{"GET", "/rest/system/identity", ""},
		{"GET", "/rest/system/resource", "{}"},
		{"DELETE", "/rest/queue/tree/*1", ""},
		{"POST", "/rest/system/reboot", "{}"},
		{"PATCH", "/rest/queue/tree/*1", `{"max-limit":"0"}`},
		{"PATCH", "/rest/queue/tree/*1", `{"max-limit":5}`},
		{"PATCH", "/rest/queue/tree/*1", `{"max-limit":"5","queue":"x"}`},
		{"PATCH", "/rest/queue/tree/../user/*1", `{"max-limit":"5"}`},
		{"PATCH", "/rest/queue/tree/", `{"max-limit":"5"}`},
		{"PATCH", "/rest/queue/tree/*1?x", `{"max-limit":"5"}`},
		{"PATCH", "/rest/queue/simple/*1", `{"max-limit":"0/0"}`},
		{"PATCH", "/rest/queue/simple/*1", `{"max-limit":"5"}`},
		{"PATCH", "/rest/queue/simple/*1", `{"max-limit":"5/5","target":"x"}`},
		{"POST", "/rest/queue/simple/print", `{".proplist":[".id","name","max-limit"],".query":["name="]}`},
		{"POST", "/rest/ip/firewall/mangle/enable", `{".id":"*1","comment":"x"}`},
		{"PUT", "/rest/ip/firewall/address-list", `{"address":"240.1.2.3","comment":"` + markComment + `","list":"calls","timeout":"10m"}`},
		{"PUT", "/rest/ip/firewall/address-list", `{"address":"10.1.2.3","comment":"` + markComment + `","list":"wanctl-owner","timeout":"10m"}`},
		{"PATCH", "/rest/ip/firewall/address-list/*1", `{"list":"calls"}`},
		{"DELETE", "/rest/ip/firewall/address-list/*1", ""},
		{"POST", "/rest/execute", `{"script":":put 1"}`},
		{"POST", "/rest/queue/tree/print", `{".proplist":[".id","name"],".query":["name=a"x","name=b","#|"]}`},
		{"POST", "/rest/queue/tree/print", `{".proplist":[".id","name"],".query":["name=a\u0022","name=b","#|"]}`},
		{"POST", "/rest/interface/print", `{".proplist":[".id","name","rx-byte","tx-byte"],".query":["name="]}`},
	} {
		if guardRequest(r[0], r[1], r[2]) == nil {
			t.Errorf("%q passed", r)
		}
	}
}

// TestHostileNames: whatever a name or a comment holds, each door says exactly that name and nothing else, or nothing at all.
func TestHostileNames(t *testing.T) {
	piece := rapid.OneOf(
		rapid.SampledFrom([]string{`"`, `\`, `$`, `[`, `]`, `{`, `}`, `;`, "\n", "\r", "\x00", "\u2028", `=`, `?`, `#|`, `?#!`, `.tag=1`, `=.id=*1`, `/`, `..`, `%2A`, ` `, `,`, `!done`, "é", "\xff", `[/system/reboot]`}),
		rapid.StringN(0, 6, 20),
	)
	name := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(piece, 1, 6).Draw(t, "pieces"), "") })
	rapid.Check(t, func(t *rapid.T) {
		down, up, wan, comment := name.Draw(t, "down"), name.Draw(t, "up"), name.Draw(t, "wan"), name.Draw(t, "comment")
		for _, k := range []task{
			{queues: Queues{Down: down, Up: up, WAN: wan}},
			{queues: Queues{Down: down, Up: up}, want: &link.Rates{Down: 1, Up: 2}, order: downFirst},
			{queues: Queues{Simple: down, WAN: wan}},
			{queues: Queues{Simple: down}, want: &link.Rates{Up: 2}},
			{queues: Queues{Simple: up}, want: &link.Rates{Down: 1, Up: 2}},
			{purpose: oneQueue, queue: down},
			{purpose: oneSimple, queue: down},
			{purpose: oneRule, comment: comment, verb: "enable"},
		} {
			if k.check() != nil {
				for _, d := range []door{sshDoor{}, apiDoor{}, restDoor{}} {
					if said, err := d.say(k); err == nil && strings.ContainsAny(said, "\n\r\x00") {
						t.Fatalf("%T says %q", d, said)
					}
				}
				continue
			}
			for _, d := range []door{sshDoor{}, apiDoor{}, restDoor{}} {
				if _, err := d.say(k); err != nil {
					t.Fatalf("%T does not say %+v: %v", d, k, err)
				}
			}
			a := firstAsk(k)
			words := appendSentence(nil, a.words()...)
			if got := strings.Count(string(words), "/queue/tree/print"); k.purpose == oneQueue && got != 1+strings.Count(down, "/queue/tree/print") {
				t.Fatalf("%q", words)
			}
			_, _, body := a.request()
			var in struct {
				Query []string `json:".query"`
				List  []string `json:".proplist"`
			}
			dec := json.NewDecoder(strings.NewReader(body))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&in); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if d := cmp.Diff(a.where, in.Query); d != "" {
				t.Fatal(d)
			}
			if d := cmp.Diff(a.list, in.List); d != "" {
				t.Fatal(d)
			}
		}
	})
}

// TestHostileItems: nothing a router answers becomes a part of a command but an id.
func TestHostileItems(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.OneOf(rapid.String(), rapid.StringMatching(`\*[0-9A-F]{0,20}`), rapid.Just("*1/../../user")).Draw(t, "id")
		a := ask{menu: treeMenu, verb: "set", id: id, key: "max-limit", value: "5"}
		method, path, body := a.request()
		passed := guardWords(a.words()) == nil
		if passed != isID(id) || passed != (guardRequest(method, path, body) == nil) {
			t.Fatalf("%q: passed %t, an id %t", id, passed, isID(id))
		}
	})
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
