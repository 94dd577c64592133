package install

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRootOf(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/local/lib/wanctl/versions/1-ab/wanctl":      "/",
		"/srv/try/usr/local/lib/wanctl/versions/1/wanctl": "/srv/try",
		"/usr/bin/wanctl": "/", "/usr/local/lib/wanctl/staging/x/wanctl": "/", "wanctl": "/",
	} {
		if got := RootOf(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func aBundle() Bundle {
	return Bundle{
		Format: Format, Run: "20260101T000000.000-7", Root: "/", Version: "1.0", Binary: strings.Repeat("0a", 32), HealthyS: 60,
		WANs: []Config{{Name: "att_config.yaml", Unit: "att", Text: "x"}}, Steering: &Config{Name: "steering.yaml", Unit: SteeringUnit, Text: "y"},
	}
}

// A bundle comes over a network and is carried out by root: whatever is not as it should be is refused.
func TestBundles(t *testing.T) {
	if err := aBundle().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Bundle){
		"has format 2":                func(b *Bundle) { b.Format = 2 },
		"has no name of its run":      func(b *Bundle) { b.Run = "../x" },
		"is no full path":             func(b *Bundle) { b.Root = "srv" },
		"has no checksum":             func(b *Bundle) { b.Binary = "0A" },
		"has no configuration":        func(b *Bundle) { b.WANs, b.Steering = nil, nil },
		"not 1 to 3600":               func(b *Bundle) { b.HealthyS = 0 },
		`"../att.yaml" is no name of`: func(b *Bundle) { b.WANs[0].Name = "../att.yaml" },
		`"att.yml" is no name of`:     func(b *Bundle) { b.WANs[0].Name = "att.yml" },
		`"a@b" is no name of a unit`:  func(b *Bundle) { b.WANs[0].Unit = "a@b" },
		`"steering" is no name`:       func(b *Bundle) { b.WANs[0].Unit = SteeringUnit },
		`"att" is no name`:            func(b *Bundle) { b.Steering.Unit = "att" },
		"is there twice":              func(b *Bundle) { b.WANs = append(b.WANs, b.WANs[0]) },
	} {
		b := aBundle()
		change(&b)
		if err := b.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "bundle.json")
	text, err := json.Marshal(aBundle())
	if err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string]string{"": string(text), "unexpected end": "{", "larger than 8 MiB": strings.Repeat(" ", maxBundle+1)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadBundle(path)
		if want == "" && (err != nil || cmp.Diff(got, aBundle()) != "") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v %v", want, got, err)
		}
	}
}

// The same content has the same name, and any other another one.
func TestIDs(t *testing.T) {
	a, b := aBundle(), aBundle()
	b.Run, b.By, b.Host, b.HealthyS = "r", "b", "h", 7
	if a.id() != b.id() || !strings.HasPrefix(a.id(), "1.0-") {
		t.Errorf("%s %s", a.id(), b.id())
	}
	b.WANs[0].Text += " "
	c := aBundle()
	c.Binary = strings.Repeat("0b", 32)
	if a.id() == b.id() || a.id() == c.id() {
		t.Error("two versions have one name")
	}
	a.Version = "1/../2 +x"
	if strings.ContainsAny(a.id(), "/ +") {
		t.Error(a.id())
	}
}

// Whatever a path was, it is that again.
func TestKeepAndBack(t *testing.T) {
	dir := t.TempDir()
	at := func(n string) string { return filepath.Join(dir, n) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(at("file"), []byte("text"), 0o640))
	must(os.Symlink("nowhere", at("link")))
	must(os.Mkdir(at("dir"), 0o755))
	var all []kept
	for i, n := range []string{"none", "file", "link"} {
		k, err := keep(at(n), at("undo"), i)
		must(err)
		all = append(all, k)
	}
	if _, err := keep(at("dir"), at("undo"), 9); err == nil {
		t.Error("a directory is kept")
	}
	for _, n := range []string{"none", "file", "link"} {
		must(point(at(n), "elsewhere"))
	}
	for _, k := range all {
		must(k.back())
		must(k.back()) // and once more: an undo can be interrupted
	}
	if _, err := os.Lstat(at("none")); err == nil {
		t.Error("there is something where was nothing")
	}
	if info, err := os.Lstat(at("file")); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v %v", info, err)
	}
	if b, err := os.ReadFile(at("file")); err != nil || string(b) != "text" {
		t.Errorf("%q %v", b, err)
	}
	if l, err := os.Readlink(at("link")); err != nil || l != "nowhere" {
		t.Errorf("%q %v", l, err)
	}
}

func TestCronLines(t *testing.T) {
	in := "# autorate_continuous.py is commented\n0 3 * * * backup\n* * * * * python3 /h/autorate_continuous.py --configs x\n@reboot /h/wan_steering_daemon.py"
	want := "# autorate_continuous.py is commented\n0 3 * * * backup\n# disabled by wanctl deploy on 20260107: * * * * * python3 /h/autorate_continuous.py --configs x\n" +
		"# disabled by wanctl deploy on 20260107: @reboot /h/wan_steering_daemon.py"
	if got := string(withoutCron([]byte(in), "20260107")); got != want {
		t.Error(cmp.Diff(want, got))
	}
	if again := string(withoutCron([]byte(want), "20260108")); again != want {
		t.Error("a second time changes it again")
	}
}

// Only who runs the earlier system's program is a process of it: not an editor, a grep, or a program of another name.
func TestEarlierProcesses(t *testing.T) {
	proc := t.TempDir()
	lines := map[string]string{
		"11": "/usr/bin/python3\x00-u\x00/home/kevin/wanctl/autorate_continuous.py\x00--configs\x00/home/kevin/a.yaml\x00",
		"12": "/home/kevin/wanctl/wan_steering_daemon.py\x00--config\x00configs/s.yaml\x00",
		"13": "vi\x00autorate_continuous.py\x00",
		"14": "grep\x00-r\x00autorate_continuous.py\x00/etc\x00",
		"15": "python3\x00other.py\x00autorate_continuous.py\x00",
		"16": "tail\x00-f\x00autorate_continuous.py.log\x00",
		"17": "",
	}
	for pid, line := range lines {
		if err := os.MkdirAll(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "cmdline"), []byte(line), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := earlierProcesses("/", proc)
	if len(got) != 2 || got[0].PID != 11 || got[1].PID != 12 {
		t.Errorf("%+v", got)
	}
	if c := got[0].ConfigOf(); c != "/home/kevin/a.yaml" {
		t.Error(c)
	}
	if c := (Process{PID: 0, Line: "python3 autorate_continuous.py --configs a.yaml"}).ConfigOf(); c != "" {
		t.Error(c)
	}
	if len(earlierProcesses("/srv/root", proc)) != 0 {
		t.Error("processes of another root are counted")
	}
	// What is found is read from units as they were written, and ours are none of them.
	root := t.TempDir()
	units := filepath.Join(root, "etc/systemd/system")
	if err := os.MkdirAll(units, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"cake-att-continuous.service": "[Service]\nExecStart=/bin/true\n", "cake-att-continuous.timer": "[Timer]\n",
		"cake-old.timer": "[Timer]\n", "wan-steering.service": "[Service]\nExecStart=/usr/bin/wanctl steer x\n",
	} {
		if err := os.WriteFile(filepath.Join(units, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if e := FindEarlier(root, proc); e.Found() {
		t.Errorf("ours are taken for it: %s", e)
	}
}

func TestMissing(t *testing.T) {
	now := []Running{{Name: "ATT", PID: 2, Healthy: true}, {Name: "Spectrum", PID: 3, Why: []string{"no reply"}}, {Name: "old", PID: 1, Healthy: true}}
	if got := missing([]string{"ATT", "Spectrum", "old", "none"}, map[string]int{"old": 1, "ATT": 1}, now); got != "Spectrum no reply; old is still process 1 of before; none does not answer" {
		t.Error(got)
	}
	if got := missing([]string{"ATT"}, nil, now); got != "" {
		t.Error(got)
	}
}

// The second holds back, and says who is at it; a dead one's lock is free.
func TestLock(t *testing.T) {
	p := place{t.TempDir()}
	now := time.Date(2026, 1, 7, 2, 35, 0, 0, time.UTC)
	release, err := p.lock("kevin@laptop", "deployment of 1.0", now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.lock("x", "y", now); err == nil || !strings.Contains(err.Error(), "deployment of 1.0 by kevin@laptop since 2026-01-07 02:35:00, process ") {
		t.Error(err)
	}
	release()
	release, err = p.lock("x", "y", now)
	if err != nil {
		t.Fatal(err)
	}
	release()
}

// A watcher sees every line and the result, whatever stands between; a process that dies without one is said.
func TestDetached(t *testing.T) {
	dir := t.TempDir()
	var said []string
	var result *Result
	each := func(l Line) {
		if l.Result != nil {
			result = l.Result
			return
		}
		said = append(said, l.Step+": "+l.Text)
	}
	script := `echo '{"step":"a","state":"done","text":"1"}'; echo 'plain words'; echo '{"result":{"outcome":"installed"}}'`
	log := filepath.Join(dir, "log", "r.jsonl")
	if err := Detached(t.Context(), log, []string{"/bin/sh", "-c", script}, os.Environ(), each); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a: 1", "log: plain words"}, said); d != "" || result == nil || result.Outcome != Installed {
		t.Errorf("%v\n%s", result, d)
	}
	if err := Detached(t.Context(), log, []string{"/bin/true"}, nil, each); err == nil {
		t.Error("a run's log is written twice")
	}
	if err := Detached(t.Context(), log+"2", []string{"/bin/true"}, nil, each); err == nil || !strings.Contains(err.Error(), "without a result") {
		t.Error(err)
	}
	if err := Detached(t.Context(), log+"3", []string{filepath.Join(dir, "none")}, nil, each); err == nil {
		t.Error("a program that is not there runs")
	}
}
