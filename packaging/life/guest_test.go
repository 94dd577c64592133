package life

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// storySteps is the fewest steps that the story of both boots has: one that ends early must not pass. In namespaces linuxSteps come
// to it, on interfaces of this machine's kernel.
const (
	storySteps = 55
	linuxSteps = 9
	// freshSteps is the fewest of the story from nothing.
	freshSteps = 17
	// deployedSteps is the fewest of the story of deployments.
	deployedSteps = 39
)

var (
	stepLine = regexp.MustCompile(`STEP (\S+) (ok.*|FAILED.*)`)
	endLine  = regexp.MustCompile(`END boot (\d) *, (\d+) failures`)
)

const (
	guestWAN = `wan_name: ATT
router: {host: 127.0.0.1, port: 2222, user: wanctl, ssh_key: /etc/wanctl/ssh/router.key, known_hosts: /etc/wanctl/ssh/known_hosts}
queues: {download: WAN-Download-ATT, upload: WAN-Upload-ATT}
continuous_monitoring:
  interval_ms: 500
  download: {floor_mbps: 25, ceiling_mbps: 90, base_mbps: 80, step_up_mbps: 50}
  upload: {floor_mbps: 6, ceiling_mbps: 17, base_mbps: 15}
  thresholds: {target_bloat_ms: 900, warn_bloat_ms: 1000}
  baseline_rtt_bounds: {min: 0.01, max: 500}
  ping_hosts: [127.0.0.1, 127.0.0.2, 127.0.0.3]
  use_median_of_three: true
timeouts: {ssh_command: 30, ping: 5}
`
	guestSteering = `wan_name: steering
topology: {primary_wan: ATT, alternate_wan: Spectrum}
router: {host: 127.0.0.1, port: 2222, user: wanctl, ssh_key: /etc/wanctl/ssh/router.key, known_hosts: /etc/wanctl/ssh/known_hosts}
mangle_rule: {comment: "ADAPTIVE: Steer latency-sensitive to ATT"}
cake_state_sources: {primary: /run/wanctl/ATT_feed.json}
measurement: {interval_seconds: 1, ping_host: 127.0.0.1, ping_count: 1}
cake_queues: {primary_download: WAN-Download-ATT, primary_upload: WAN-Upload-ATT}
thresholds: {green_rtt_ms: 5, yellow_rtt_ms: 900, red_rtt_ms: 900, min_queue_yellow: 100000, min_queue_red: 200000, baseline_rtt_bounds: {min: 0.01, max: 500}}
timeouts: {ssh_command: 30, ping: 5, ping_total: 10}
`
	// A line and steering of the host itself, on the interfaces that boot.sh makes.
	guestLinuxWAN = `wan_name: Lin
router: {transport: linux}
interfaces: {upload: wan1, download: ifb4wan1}
qdisc: {access: docsis}
continuous_monitoring:
  interval_ms: 500
  download: {floor_mbps: 25, ceiling_mbps: 90, base_mbps: 80}
  upload: {floor_mbps: 6, ceiling_mbps: 17, base_mbps: 15}
  thresholds: {target_bloat_ms: 900, warn_bloat_ms: 1000}
  baseline_rtt_bounds: {min: 0.01, max: 500}
  ping_hosts: [127.0.0.1, 127.0.0.2, 127.0.0.3]
  use_median_of_three: true
`
	guestLinuxSteering = `wan_name: steering
topology: {primary_wan: ATT, alternate_wan: Spectrum}
router: {transport: linux}
interfaces: {lan: [lan0]}
lines:
  ATT: {interface: wan1, gateway: 198.51.100.1}
  Spectrum: {interface: wan2, gateway: 192.0.2.1}
cake_state_sources: {primary: /run/wanctl/ATT_feed.json}
measurement: {interval_seconds: 1, ping_host: 127.0.0.1, ping_count: 1}
alternate: {ping_source_ip: 192.0.2.130}
cake_queues: {primary_download: ifb4wan1, primary_upload: wan1}
thresholds: {green_rtt_ms: 5, yellow_rtt_ms: 900, red_rtt_ms: 900, min_queue_yellow: 100000, min_queue_red: 200000, baseline_rtt_bounds: {min: 0.01, max: 500}}
`
)

// stage is a root in which a story of testdata happens at each boot.
func stage(t *testing.T, story string) string {
	t.Helper()
	dir := unpacked(t)
	build(t, "1.0.0", "amd64")
	packages := build(t, "1.1.0", "amd64")
	for name, from := range map[string]string{
		"story/one.deb": filepath.Join(packages, "wanctl_1.0.0_amd64.deb"), "story/two.deb": filepath.Join(packages, "wanctl_1.1.0_amd64.deb"),
		"story/story.sh": filepath.Join("testdata", story), "story/steps.sh": "testdata/steps.sh", "story/factory.rsc": "testdata/factory.rsc", "etc/systemd/system/story.service": "testdata/story.service",
	} {
		put(t, dir, name, slurp(t, "", from))
	}
	put(t, dir, "story/att.yaml", guestWAN)
	put(t, dir, "story/steering.yaml", guestSteering)
	put(t, dir, "story/lin.yaml", guestLinuxWAN)
	put(t, dir, "story/steering-linux.yaml", guestLinuxSteering)
	for _, d := range []string{"var/log/journal", "etc/systemd/system/multi-user.target.wants"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "story/story.sh"), 0o755),
		os.Symlink("../story.service", filepath.Join(dir, "etc/systemd/system/multi-user.target.wants/story.service"))); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"1.0.0", "1.1.0"} {
		output(t, nil, "dpkg-deb", "-x", filepath.Join(packages, "wanctl_"+v+"_amd64.deb"), filepath.Join(dir, "story/unpacked-"+v))
	}
	return dir
}

// told reads what a boot said, and returns how many steps were well.
func told(t *testing.T, boot int, said string) (passed int) {
	t.Helper()
	over := false
	for line := range strings.Lines(said) {
		if m := stepLine.FindStringSubmatch(line); m != nil {
			t.Logf("boot %d: %s %s", boot, m[1], m[2])
			if strings.HasPrefix(m[2], "ok") {
				passed++
			} else {
				t.Errorf("boot %d: %s %s", boot, m[1], m[2])
			}
		}
		over = over || strings.HasPrefix(line, "REBOOT") || endLine.MatchString(line)
	}
	if !over || t.Failed() {
		t.Fatalf("boot %d ended early:\n%s", boot, said)
	}
	return passed
}

// needSpaces skips where no namespaces can be made, or no interfaces in them.
func needSpaces(t *testing.T) {
	t.Helper()
	root(t)
	need(t, "unshare", "util-linux")
	need(t, "ip", "iproute2")
}

// boot boots a root in namespaces and returns what it said.
func boot(t *testing.T, dir, id string) string {
	t.Helper()
	put(t, dir, "story/console", "")
	output(t, nil, "testdata/boot.sh", dir, id)
	return slurp(t, dir, "story/console")
}

// boots does so once with each id, and returns how many steps were well.
func boots(t *testing.T, dir string, ids ...string) (passed int) {
	t.Helper()
	for i, id := range ids {
		passed += told(t, i+1, boot(t, dir, id))
	}
	return passed
}

// The services of the packages under a real systemd, as the first process of its own part of this machine.
func TestServicesUnderSystemd(t *testing.T) {
	t.Parallel()
	needSpaces(t)
	passed := boots(t, stage(t, "story.sh"), "11111111-aaaa-4000-8000-000000000001", "22222222-bbbb-4000-8000-000000000002")
	if passed < storySteps+linuxSteps {
		t.Errorf("%d steps of at least %d", passed, storySteps+linuxSteps)
	}
}

// What "wanctl deploy" brings to a host with the earlier system, over a real OpenSSH server and sudo, under a real systemd.
func TestDeployedUnderSystemd(t *testing.T) {
	t.Parallel()
	needSpaces(t)
	passed := boots(t, stage(t, "deployed.sh"), "44444444-dddd-4000-8000-000000000004", "55555555-eeee-4000-8000-000000000005")
	if passed < deployedSteps {
		t.Errorf("%d steps of at least %d", passed, deployedSteps)
	}
}

// From nothing to a house with two lines that is steered, examined, upgraded under load, taken back, and away again.
func TestFromNothingAndBack(t *testing.T) {
	t.Parallel()
	needSpaces(t)
	said := boot(t, stage(t, "fresh.sh"), "33333333-cccc-4000-8000-000000000003")
	for line := range strings.Lines(said) {
		if figure, ok := strings.CutPrefix(line, "FIGURE "); ok {
			t.Log(strings.TrimSpace(figure))
		}
	}
	if passed := told(t, 1, said); passed < freshSteps {
		t.Errorf("%d steps of at least %d", passed, freshSteps)
	}
}

// The same in a machine with a kernel of its own, an emulated one: minutes, so only where WANCTL_LONG is set.
func TestServicesInAMachine(t *testing.T) {
	if os.Getenv("WANCTL_LONG") == "" {
		return
	}
	_, kernel := debian(t)
	qemu := need(t, "qemu-system-x86_64", "qemu-system-x86")
	mke2fs := need(t, "mke2fs", "e2fsprogs")
	dir := stage(t, "story.sh")
	disk := filepath.Join(t.TempDir(), "disk")
	output(t, nil, mke2fs, "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", dir, disk, "1G")
	passed := 0
	for boot := 1; boot <= 2; boot++ {
		cmd := exec.CommandContext(t.Context(), qemu, "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-m", "512", "-smp", "2",
			"-no-reboot", "-nodefaults", "-display", "none", "-serial", "stdio", "-kernel", kernel,
			"-drive", "if=none,id=d,format=raw,cache=unsafe,file="+disk, "-device", "nvme,drive=d,serial=1",
			"-append", "root=/dev/nvme0n1 rw console=ttyS0 loglevel=3 mitigations=off systemd.show_status=0")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("boot %d: the machine ended with %v", boot, err)
		}
		passed += told(t, boot, string(out))
	}
	if passed < storySteps {
		t.Errorf("%d steps of at least %d", passed, storySteps)
	}
}
