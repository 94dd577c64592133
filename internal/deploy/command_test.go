package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wanctl/internal/install"
)

// wanctl runs the program itself as somebody would, and returns its exit code.
func wanctl(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(theProgram(t), args...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// inventory is this host's entry in words.
func (b *box) inventory(name, more string) string {
	return fmt.Sprintf("  - {name: %s, address: 127.0.0.1, port: %d, user: root, key: %s, known_hosts: %s, root: %s, %s}\n", name, b.port, b.key, b.known, b.root, more)
}

// The command line: summary and exit codes.
func TestCommand(t *testing.T) {
	t.Parallel()
	b := newBox(t, boxOptions{})
	b.emulate()
	b.write("att_config.yaml", b.wan("ATT", ""), 0o644)
	inventory := b.write("inventory.yaml", "hosts:\n"+b.inventory("cake-att", "wans: [att_config.yaml]"), 0o644)
	code, out, errs := wanctl(t, nil, "deploy", inventory)
	if code != 0 || !strings.Contains(out, "cake-att  ok health          ATT healthy\n") || !strings.Contains(out, "\ncake-att: installed one-") || strings.Contains(out, "\x1b") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	code, out, errs = wanctl(t, nil, "deploy", inventory, "--json", "--only", "cake-att")
	var s Summary
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || !s.OK || s.Hosts[0].Outcome != install.Unchanged || !strings.Contains(errs, "ok check") {
		t.Errorf("exit code %d, %v\n%s%s", code, err, out, errs)
	}
	// Going back on the host itself, with its systemctl and never this machine's.
	code, out, errs = wanctl(t, []string{"PATH=" + b.root + "/shim:" + os.Getenv("PATH")}, "install", "--rollback", "--root", b.root)
	if code != 0 || !strings.Contains(out, "ok roll back       wanctl is not in force any more; one-") || len(b.running()) > 0 {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"deploy", inventory, "--only", "cake-at"}, 64, "--only cake-at: the inventory has cake-att"},
		{[]string{"deploy", inventory, "--healthy", "1ms"}, 64, "give 1s to 1h"},
		{[]string{"deploy", b.dir + "/none.yaml"}, 1, "no such file"},
		{[]string{"deploy", b.write("bad.yaml", "hosts: 1\n", 0o644)}, 64, "bad.yaml:1:1: error: hosts: found the number 1, want a list"},
		{[]string{"install"}, 64, "name a bundle, or --rollback"},
		{[]string{"install", "x.json", "--rollback"}, 64, "name a bundle, or --rollback"},
		{[]string{"install", "--rollback", "--root", "x"}, 64, "give a full path"},
		{[]string{"install", b.write("bad.json", "{}", 0o644)}, 1, "has format 0, this program reads 1"},
		{[]string{"install", b.dir + "/none.json"}, 1, "no such file"},
	} {
		if code, out, errs := wanctl(t, nil, c.args...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit code %d, want %d\n%s%s", c.args, code, c.code, out, errs)
		}
	}
}

// site are two hosts, cake-att and cake-spectrum, with one router, and somebody's shell beside them.
type site struct {
	b              [2]*box
	bin, inventory string
}

func newSite(t *testing.T) *site {
	t.Helper()
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Skip("no ssh client here (Debian package openssh-client)")
	}
	s := &site{b: [2]*box{newBox(t, boxOptions{}), newBox(t, boxOptions{})}}
	s.b[0].emulate()
	s.b[1].emulatorRouter = s.b[0].emulatorRouter
	s.inventory = s.b[0].write("configs/inventory.yaml", "hosts:\n"+s.b[0].inventory("cake-att", "wans: [att_config.yaml]")+
		s.b[1].inventory("cake-spectrum", "wans: [spectrum_config.yaml], steering: steering_config_v2.yaml"), 0o644)
	config := ""
	for i, name := range []string{"cake-att", "cake-spectrum"} {
		b := s.b[i]
		config += fmt.Sprintf("Host %s\n HostName 127.0.0.1\n Port %d\n User root\n IdentityFile %s\n UserKnownHostsFile %s\n", name, b.port, b.key, b.known)
	}
	path := s.b[0].write("ssh_config", config, 0o600)
	s.bin = filepath.Join(s.b[0].dir, "bin")
	s.b[0].write("bin/ssh", fmt.Sprintf("#!/bin/sh\nexec %s -F %s \"$@\"\n", ssh, path), 0o755)
	if err := os.Symlink(theProgram(t), filepath.Join(s.bin, "wanctl")); err != nil {
		t.Fatal(err)
	}
	return s
}

// shell runs a line in a directory.
func (s *site) shell(dir, line string) (string, error) {
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+s.bin+":"+os.Getenv("PATH"), "WANCTL_INVENTORY="+s.inventory)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// steering is the text of the steering configuration.
func (s *site) steering(log string) string {
	return fmt.Sprintf(`wan_name: steering
topology: {primary_wan: Spectrum, alternate_wan: ATT}
%s
mangle_rule: {comment: "ADAPTIVE: Steer latency-sensitive to ATT"}
cake_state_sources: {primary: %s/run/wanctl/Spectrum_feed.json}
measurement: {interval_seconds: 0.5, ping_host: 127.0.0.1, ping_count: 1}
cake_queues: {primary_download: WAN-Download-Spectrum, primary_upload: WAN-Upload-Spectrum}
thresholds: {green_rtt_ms: 5, yellow_rtt_ms: 300, red_rtt_ms: 300, min_queue_yellow: 100000, min_queue_red: 200000, baseline_rtt_bounds: {min: 0.01, max: 500}}
logging: {main_log: %s}
`, s.b[0].emulatorRouter, s.b[1].root, log)
}

// What the earlier system's page tells people to type, on two hosts that were deployed to by its own script's name. Not here:
// commands that never end (tail -f), the journal of a machine without one, and its programs' own names.
func TestTheEarlierSystemsPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	att, spectrum := s.b[0], s.b[1]
	logged := func(b *box, text, file string) string { // where that system's logs were
		old := fmt.Sprintf("main_log: %s/run/", b.root)
		i := strings.Index(text, old)
		return text[:i] + "main_log: " + b.root + "/home/kevin/wanctl/logs/" + file + text[i+strings.IndexByte(text[i:], '}'):]
	}
	for _, b := range s.b {
		b.mkdir(filepath.Join(b.root, "home/kevin/wanctl/logs"))
	}
	att.write("configs/att_config.yaml", logged(att, att.wan("ATT", ""), "cake_auto.log"), 0o644)
	att.write("configs/spectrum_config.yaml", logged(spectrum, spectrum.wan("Spectrum", ""), "cake_auto.log"), 0o644)
	att.write("configs/steering_config_v2.yaml", s.steering(spectrum.root+"/home/kevin/wanctl/logs/steering.log"), 0o644)
	shell := func(line string) (string, error) { return s.shell(filepath.Join("..", ".."), line) }
	if out, err := shell("./scripts/deploy_clean.sh"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	att.healthyWith("ATT")
	spectrum.healthyWith("Spectrum")
	spectrum.healthyWith("steering")
	const active = "active (running)"
	for _, c := range []struct{ line, want string }{
		{"ssh cake-att 'systemctl status cake-att-continuous.service'", active},
		{"ssh cake-spectrum 'systemctl status cake-spectrum-continuous.service wan-steering.service'", active},
		{"ssh cake-att 'tail -5 /home/kevin/wanctl/logs/cake_auto.log | grep \"ATT:\"'", "ATT: [GREEN/GREEN] RTT="},
		{"ssh cake-spectrum 'tail -5 /home/kevin/wanctl/logs/cake_auto.log | grep \"Spectrum:\"'", "Spectrum: [GREEN/GREEN] RTT="},
		{"ssh cake-spectrum 'tail -5 /home/kevin/wanctl/logs/steering.log | grep SPECTRUM'", "[SPECTRUM_GOOD] rtt="},
		{"ssh cake-att 'tail -100 /home/kevin/wanctl/logs/cake_auto.log | grep -i error; true'", ""},
		{"ssh cake-spectrum 'cat /home/kevin/wanctl/configs/steering_config_v2.yaml | head -20'", "topology:"},
	} {
		b := att
		if strings.Contains(c.line, "cake-spectrum '") {
			b = spectrum
		}
		// The hosts' directories are below a root; configurations are in /etc/wanctl now.
		line := strings.NewReplacer("/home/kevin/wanctl/configs", b.root+"/etc/wanctl", "/home/kevin", b.root+"/home/kevin").Replace(c.line)
		eventually(t, c.line, func() error {
			out, err := shell(line)
			if err != nil || !strings.Contains(out, c.want) || strings.Contains(strings.ToLower(out), "inactive") {
				return fmt.Errorf("%w\n%s", err, out)
			}
			return nil
		})
	}
	// By the earlier names they can be stopped, too.
	if out, err := shell("ssh cake-spectrum 'systemctl stop wan-steering.service'"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	eventually(t, "steering is stopped by its earlier name", func() error {
		if _, ok := spectrum.running()["steering"]; ok {
			return errors.New("it runs")
		}
		return nil
	})
}

// The commands of docs/DEPLOYMENT.md, one after the other, on two hosts.
func TestDeploymentPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.b[0].write("configs/att_config.yaml", s.b[0].wan("ATT", ""), 0o644)
	s.b[0].write("configs/spectrum_config.yaml", s.b[1].wan("Spectrum", ""), 0o644)
	s.b[0].write("configs/steering_config_v2.yaml", s.steering(s.b[1].root+"/run/steering.log"), 0o644)
	ran, open := 0, false
	for n, line := range strings.Split(mustRead(t, filepath.Join("..", "..", "docs", "DEPLOYMENT.md")), "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			open = line == "```sh norun"
		case open:
			ran++
			if out, err := s.shell(filepath.Join(s.b[0].dir, "configs"), line); err != nil {
				t.Errorf("docs/DEPLOYMENT.md:%d: %s: %v\n%s", n+1, line, err, out)
			}
		}
	}
	if ran < 10 {
		t.Errorf("%d commands ran", ran)
	}
	s.b[0].healthyWith("ATT")
	s.b[1].healthyWith("Spectrum")
	s.b[1].healthyWith("steering")
}
