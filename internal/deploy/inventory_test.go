package deploy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/install"
)

var update = flag.Bool("update", false, "write docs/inventory.yaml anew")

const referencePath = "../../docs/inventory.yaml"

func atHome(p string) string { return strings.Replace(p, "~/", "/home/me/", 1) }

func TestInventory(t *testing.T) {
	hosts, ds := Parse("/site/inventory.yaml", strings.NewReader(`
defaults: {user: kevin, become: sudo, known_hosts: keys/known_hosts}
hosts:
  - name: cake-att
    address: 10.10.110.247
    wans: [att_config.yaml]
  - name: cake-spectrum
    port: 2222
    user: root
    become: none
    key: ~/.ssh/deploy
    arch: arm64
    root: /srv/try/
    wans: [/abs/spectrum.yaml]
    steering: ../steering_config_v2.yaml
`), atHome)
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	want := []Host{
		{
			Name: "cake-att", Address: "10.10.110.247", Port: 22, User: "kevin", KnownHosts: "/site/keys/known_hosts", Sudo: true, Root: "/",
			WANs: []string{"/site/att_config.yaml"},
		},
		{
			Name: "cake-spectrum", Address: "cake-spectrum", Port: 2222, User: "root", Key: "/home/me/.ssh/deploy", KnownHosts: "/site/keys/known_hosts",
			Arch: "arm64", Root: "/srv/try", WANs: []string{"/abs/spectrum.yaml"}, Steering: "/steering_config_v2.yaml",
		},
	}
	for i := range hosts {
		if hosts[i].At.Line == 0 {
			t.Error("a host without a place")
		}
		hosts[i].At = want[0].At
	}
	if d := cmp.Diff(want, hosts); d != "" {
		t.Error(d)
	}
}

// Everything that is wrong is said at once, each with its place and a way out.
func TestWrongInventories(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"all at once": {`
hosts:
  - name: a
    addr3ss: 10.0.0.1
    port: 70000
    become: suod
    wans: att.yaml
  - address: "10.0.0.1:22"
    user: "a b"
    wans: [7]
host: x
`, `i:4:5: error: hosts[0].addr3ss: unknown key (did you mean "address"?)
i:5:11: error: hosts[0].port: 70000 is outside 1 to 65535
i:6:13: error: hosts[0].become: found the text "suod", want one of none, sudo (did you mean "sudo"?)
i:7:11: error: hosts[0].wans: found the text "att.yaml", want a list (write it in brackets: [att_config.yaml])
i:9:11: error: hosts[1].user: "a b" is no user
i:10:12: error: hosts[1].wans: found the number 7, want a path
i:11:1: error: host: unknown key (did you mean "hosts"?)
`},
		"empty":        {"", "i:1:1: error: the file is empty (start from configs/deploy/inventory.yaml)\n"},
		"no hosts":     {"defaults: {}\n", "i:1:1: error: hosts: is missing: an inventory is a list of hosts (see configs/deploy/inventory.yaml)\n"},
		"no list":      {"hosts: {}\n", "i:1:1: error: hosts: found a section, want a list (write each host as an entry that begins with \"- name:\")\n"},
		"empty list":   {"hosts: []\n", "i:1:1: error: hosts: has 0 hosts, want 1 to 256\n"},
		"no section":   {"hosts: [a]\ndefaults: 1\n", "i:1:9: error: hosts[0]: found the text \"a\", want a section of keys\ni:2:11: error: defaults: found the number 1, want a section of keys\n"},
		"bad defaults": {"defaults: {wans: [a.yaml], nam: x}\nhosts: [{name: a, wans: [a.yaml]}]\n", "i:1:12: error: defaults.wans: cannot be a default (give it to each host)\ni:1:28: error: defaults.nam: unknown key (known here: port, user, key, known_hosts, become, arch, root)\n"},
		"nameless":     {"hosts: [{wans: [a.yaml]}]\n", "i:1:9: error: hosts[0].name: is missing (add it)\n"},
		"no work":      {"hosts: [{name: a}]\n", "i:1:9: error: hosts[0]: has nothing to run (add wans: [FILE], or steering: FILE)\n"},
		"names": {"hosts: [{name: \"a b\", address: \"-x\", root: srv, wans: [a.yaml], steering: s.json}]\n", `i:1:16: error: hosts[0].name: "a b" is no name (letters, digits, _ . -)
i:1:32: error: hosts[0].address: "-x" is no address (a name or an address without a port; the port is a key of its own)
i:1:44: error: hosts[0].root: "srv" is no full path (give a full path)
i:1:75: error: hosts[0].steering: "s.json" is no name of a configuration (call it NAME.yaml)
`},
		"units": {"hosts: [{name: a, wans: [att.yaml, sub/att_config.yaml, steering.yaml, \"x y.yaml\", att.yml]}]\n", `i:1:25: error: hosts[0].wans: att.yaml and att_config.yaml would both be wanctl@att.service (rename one)
i:1:25: error: hosts[0].wans: the name steering is that of the steering configuration (rename it)
i:1:25: error: hosts[0].wans: "x y.yaml" gives no name for a unit (call it LINE.yaml or LINE_config.yaml, of letters, digits, _ and -)
i:1:25: error: hosts[0].wans: "att.yml" gives no name for a unit (call it LINE.yaml or LINE_config.yaml, of letters, digits, _ and -)
`},
		"twice": {"hosts: [{name: a, wans: [a.yaml]}, {name: a, wans: [b.yaml]}, {name: b, address: a, wans: [c.yaml]}]\n", `i:1:36: error: hosts[1].name: "a" is there twice (rename one)
i:1:63: error: hosts[2]: b is the same host as a (a port 22, root /) (make one host of them)
`},
		"types": {"hosts: [{name: [a], port: x, user: 5, wans: {a: b}}]\n", `i:1:16: error: hosts[0].name: found a list, want text (put it in quotes)
i:1:27: error: hosts[0].port: found the text "x", want a whole number
i:1:36: error: hosts[0].user: found the number 5, want text (put it in quotes)
i:1:45: error: hosts[0].wans: found a section, want a list (write it in brackets: [att_config.yaml])
`},
	} {
		hosts, ds := Parse("i", strings.NewReader(c.in), atHome)
		got := ds.String()
		// What follows from another error is not worth a word.
		var kept []string
		for l := range strings.Lines(got) {
			if !strings.Contains(l, "has nothing to run") || name == "no work" {
				kept = append(kept, l)
			}
		}
		if d := cmp.Diff(c.want, strings.Join(kept, "")); d != "" || hosts != nil {
			t.Errorf("%s: %v\n%s", name, hosts, d)
		}
	}
}

func FuzzInventory(f *testing.F) {
	b, err := os.ReadFile(referencePath)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add("hosts: [{name: a, wans: [a.yaml]}]")
	f.Fuzz(func(t *testing.T, in string) {
		hosts, ds := Parse("i", strings.NewReader(in), atHome)
		if ds.HasErrors() == (hosts != nil) {
			t.Errorf("%d hosts and %v", len(hosts), ds)
		}
		for _, h := range hosts {
			if h.Name == "" || h.Address == "" || h.Port < 1 || !filepath.IsAbs(h.Root) || len(h.WANs) == 0 && h.Steering == "" {
				t.Errorf("%+v", h)
			}
			for _, w := range h.WANs {
				if !install.PlainUnit.MatchString(Unit(w)) {
					t.Errorf("unit %q", Unit(w))
				}
			}
		}
	})
}

// docs/inventory.yaml is what the table says, and an inventory.
func TestReference(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Every key of an inventory for "wanctl deploy": meaning, default and bounds. A test holds it to the program.
#
# Paths of this machine are relative to the inventory; ~/ is the home directory.

`)
	section := func(indent, first string, some func(row) bool) {
		for i, r := range rows {
			if !some(r) {
				continue
			}
			for _, l := range wrapped(r.doc, 116-len(indent)) {
				b.WriteString(indent + "# " + l + "\n")
			}
			facts := r.takes()
			if r.required {
				facts += "; required"
			}
			if r.def != "" {
				facts += "; default: " + r.def
			}
			if r.common {
				facts += "; may stand in defaults"
			}
			b.WriteString(indent + "# [" + facts + "]\n")
			lead := indent
			if i == 0 {
				lead = first
			}
			b.WriteString(lead + r.name + ": " + r.example + "\n")
		}
	}
	b.WriteString("hosts:\n")
	section("    ", "  - ", func(row) bool { return true })
	b.WriteString("\n# What holds for every host that does not say otherwise: each key above that may stand here.\ndefaults:\n  user: kevin\n  become: sudo\n")
	if *update {
		if err := os.WriteFile(referencePath, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text := mustRead(t, referencePath)
	if d := cmp.Diff(text, b.String()); d != "" {
		t.Errorf("docs/inventory.yaml is not what the program says (go test ./internal/deploy -run Reference -update writes it anew):\n%s", d)
	}
	for _, path := range []string{referencePath, "../../configs/deploy/inventory.yaml"} {
		hosts, ds := Parse(path, strings.NewReader(mustRead(t, path)), atHome)
		if len(ds) > 0 || len(hosts) == 0 {
			t.Errorf("%s: %v", path, ds)
		}
		for _, h := range hosts {
			if h.Steering != "" && path != referencePath {
				if _, err := configs(h); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
		}
	}
}

func wrapped(s string, width int) (out []string) {
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && len(line)+1+len(w) > width {
			out, line = append(out, line), ""
		}
		line = strings.TrimPrefix(line+" "+w, " ")
	}
	return append(out, line)
}

func TestFacts(t *testing.T) {
	good := "system Linux\nmachine x86_64\nuid 0\nhome /root\nsystemd yes\ncurrent versions/1-ab\nwritable yes\nspace /dev/disk by name 1000 400 600 40% /\nearlier cake-att-continuous.service\n"
	f, err := parseFacts(good)
	if err != nil || f.Free != 600<<10 || f.Current != "1-ab" || f.Arch != "amd64" || f.String() != "x86_64, systemd, root, has 1-ab, earlier system: cake-att-continuous.service" {
		t.Errorf("%+v %v %s", f, err, f)
	}
	if f, _ := parseFacts("system Linux\nmachine armv7l\nuid 7\nspace nonsense\n"); f.Free != -1 || f.String() != "armv7l, no systemd, user 7 without root's rights" {
		t.Errorf("%+v %s", f, f)
	}
	if f, _ := parseFacts("system Linux\nmachine armv7l\nuid 7\nwritable yes\n"); f.String() != "armv7l, no systemd, user 7, who may install there" {
		t.Error(f)
	}
	for in, want := range map[string]string{
		"":                                       "does not say what it is",
		"system FreeBSD\nmachine amd64\nuid 0\n": "it runs FreeBSD",
		"system Linux\nmachine mips\nuid 0\n":    "its architecture is mips",
		"system Linux\nmachine x86_64\nuid x\n":  "does not say what it is",
	} {
		if _, err := parseFacts(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// A log is read in any pieces, and twice without a word twice.
func TestLines(t *testing.T) {
	text := `{"step":"a","state":"done","text":"1"}` + "\nno json\n{}\n" + `{"step":"b","state":"note","text":"2"}` + "\n" + `{"result":{"outcome":"installed"}}` + "\n"
	for n := 1; n < len(text); n += 7 {
		var said []string
		l := &lines{each: func(e install.Event) { said = append(said, e.Step) }}
		if _, err := l.Write([]byte(text[:n])); err != nil {
			t.Fatal(err)
		}
		l.again()
		for i := 0; i < len(text); i += 5 {
			if _, err := l.Write([]byte(text[i:min(i+5, len(text))])); err != nil {
				t.Fatal(err)
			}
		}
		if fmt.Sprint(said) != "[a b]" || l.result == nil || l.result.Outcome != install.Installed {
			t.Errorf("%d: %v %+v", n, said, l.result)
		}
	}
	l := &lines{}
	if _, err := l.Write(make([]byte, maxLine+1)); err == nil {
		t.Error("a line without an end is taken")
	}
}
