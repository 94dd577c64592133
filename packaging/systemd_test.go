package packaging

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// maxExposure is what `systemd-analyze security` may say of a unit: 0 is none, 10 is all of the host.
const maxExposure = 2.0

// need returns the path of a program of the machine, or skips and says so; in CI nothing is skipped.
func need(t *testing.T, program, debian string) string {
	t.Helper()
	p, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("no %s here (Debian package %s)", program, debian)
	}
	return p
}

// unitFiles are the names of units, without drop-ins.
func unitFiles(t *testing.T) []string {
	t.Helper()
	entries, err := fs.ReadDir(Systemd, "systemd")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}

func unit(t *testing.T, name string) string {
	t.Helper()
	b, err := Systemd.ReadFile(path.Join("systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// installed is a root with all units in place, under which the analyser looks for them. With drop-ins for every service of ours.
func installed(t *testing.T, dropIns ...string) string {
	t.Helper()
	root := t.TempDir()
	units := filepath.Join(root, "usr/lib/systemd/system")
	sub, err := fs.Sub(Systemd, "systemd")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(units, sub); err != nil {
		t.Fatal(err)
	}
	for _, d := range dropIns {
		for _, u := range unitFiles(t) {
			if !strings.HasPrefix(u, "wanctl") || !strings.HasSuffix(u, ".service") {
				continue
			}
			dir := filepath.Join(units, u+".d")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, d), []byte(unit(t, path.Join("drop-ins", d))), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What the units run, and what they wait for.
	for _, p := range []string{"usr/bin/wanctl", "bin/sh", "bin/true"} {
		f := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range []string{"network-online", "time-sync", "multi-user", "timers", "sysinit", "basic", "shutdown"} {
		if err := os.WriteFile(filepath.Join(units, u+".target"), []byte("[Unit]\nDescription="+u+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func instance(u string) string { return strings.Replace(u, "@.", "@att.", 1) }

func TestUnitsVerify(t *testing.T) {
	analyze := need(t, "systemd-analyze", "systemd")
	root := installed(t)
	args := []string{"--root=" + root, "--man=no", "verify"}
	for _, u := range unitFiles(t) {
		args = append(args, instance(u))
	}
	out, err := exec.Command(analyze, args...).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

var exposureLine = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

func TestUnitsExposeLittle(t *testing.T) {
	analyze := need(t, "systemd-analyze", "systemd")
	for _, dropIns := range [][]string{nil, {"linux.conf"}, {"linux.conf", "qdisc.conf"}, {"ping-group.conf"}} {
		root := installed(t, dropIns...)
		for _, u := range unitFiles(t) {
			if !strings.HasSuffix(u, ".service") {
				continue
			}
			out, err := exec.Command(analyze, "--root="+root, "--offline=true", "--no-pager", "security", instance(u)).CombinedOutput()
			m := exposureLine.FindSubmatch(out)
			if err != nil || m == nil {
				t.Errorf("%s: %v\n%s", u, err, out)
				continue
			}
			exposure, err := strconv.ParseFloat(string(m[1]), 64)
			t.Logf("%s %v: exposure %.1f", u, dropIns, exposure)
			if err != nil || exposure > maxExposure {
				t.Errorf("%s with %v has an exposure of %s, above %.1f:\n%s", u, dropIns, m[1], maxExposure, out)
			}
		}
	}
}

// The units that run wanctl are in the same box: one that is edited alone would be the open door.
func TestUnitsShareTheirBox(t *testing.T) {
	box := func(u string) string {
		_, s, ok := strings.Cut(unit(t, u), "\n# Who it runs as")
		if !ok {
			t.Fatalf("%s does not say who it runs as", u)
		}
		s, _, _ = strings.Cut(s, "\n[Install]")
		var kept []string
		for l := range strings.Lines(s) {
			if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
				kept = append(kept, l)
			}
		}
		return strings.Join(kept[1:], "\n") // the first is the rest of a comment
	}
	want := box("wanctl@.service")
	if strings.ReplaceAll(box("wanctl-qdisc@.service"), "CAP_NET_ADMIN", "CAP_NET_RAW") != want {
		t.Error("wanctl-qdisc@.service and wanctl@.service differ in more than their one right")
	}
	for _, u := range []string{"wanctl-steer.service", "wanctl-once@.service", "wanctl-steer-once.service"} {
		if box(u) != want {
			t.Errorf("%s and wanctl@.service differ in what they may do", u)
		}
	}
}

// A line of this host gets its queues before its controller, at boot, too.
func TestQueuesComeFirst(t *testing.T) {
	dropIn, qdisc := unit(t, "drop-ins/qdisc.conf"), unit(t, "wanctl-qdisc@.service")
	for _, want := range []string{"Wants=wanctl-qdisc@%i.service", "After=wanctl-qdisc@%i.service"} {
		if !strings.Contains(dropIn, "\n"+want+"\n") {
			t.Errorf("qdisc.conf lacks %s", want)
		}
	}
	if !strings.Contains(qdisc, "\nExecStart=/usr/bin/wanctl qdisc apply /etc/wanctl/%i.yaml\n") || !strings.Contains(qdisc, "\nRemainAfterExit=yes\n") {
		t.Error("wanctl-qdisc@.service does not make the queues, or makes them again and again")
	}
}

// A note of a hand-over is valid for a minute; the last of the failed starts has to come later, or nobody gives the router its rates back.
func TestTheLastFailureReleases(t *testing.T) {
	for _, u := range []string{"wanctl@.service", "wanctl-steer.service"} {
		value := func(key string) int {
			m := regexp.MustCompile(`(?m)^` + key + `=([0-9]+)$`).FindStringSubmatch(unit(t, u))
			if m == nil {
				t.Fatalf("%s has no %s", u, key)
			}
			n, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		last := (value("StartLimitBurst") - 1) * value("RestartSec")
		if last <= 60 || last >= value("StartLimitIntervalSec") {
			t.Errorf("%s: the last start is %d s after the first: it must be over 60 and within StartLimitIntervalSec", u, last)
		}
	}
}
