package cli

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// elsewhere are the commands of documents that neither run in the repository nor are typed on a host of their own: a block of
// kind `sh norun`.
type elsewhere struct {
	// page and first, a block's first line, say which; no first is all of the page.
	page, first string
	// why it needs another place.
	why string
	// file is the test's, and says what stands in it and the files it reads, so that the table cannot outlive the test.
	file string
	says []string
}

var typedElsewhere = []elsewhere{
	{
		"docs/calibrate.md", "wanctl calibrate /etc/wanctl/att_config.yaml", "it takes a controller that has recorded for a while",
		"internal/cli/calibrate_test.go",
		[]string{"func TestCalibrateHostileRecordings(", "journal: {dir: %q}"},
	},
	{
		"docs/calibrate.md", "wanctl calibrate /etc/wanctl/att_config.yaml --iperf3 iperf.example.net", "it takes a line, and a server beyond it",
		"testdata/script/calibrate.txtar",
		[]string{"wanctl calibrate att.yaml --http $URL/endless --irtt", "--lift"},
	},
	{
		"docs/DEPLOYMENT.md", "", "it takes two hosts with SSH servers and service managers",
		"internal/deploy/command_test.go",
		[]string{"func TestDeploymentPage(", `"DEPLOYMENT.md"`, "sh norun"},
	},
	{
		"README.md", "sudo wanctl init", "it asks a person, who has to see what to answer",
		"internal/cli/init_test.go",
		[]string{"func TestInitByHand(", "pty.Start("},
	},
	{
		"README.md", "sudo install -m 600 configs/linux.yaml /etc/wanctl/linux.yaml", "it takes a kernel with CAKE, which the lab's machine has",
		"internal/cli/lab_test.go",
		[]string{`"qdisc", "plan"`, `"qdisc", "apply"`, `"autorate", "--configs"`},
	},
	{
		"README.md", "wanctl lab image", "the machine takes minutes to build, once",
		"internal/lab/kernel/kernel_test.go",
		[]string{`"lab", "run", "drop"`},
	},
	{
		"docs/lab-figures.md", "wanctl lab run dsl -c wanctl -c wanctl-2s --real-time -o real", "the machine takes minutes to build, once",
		"internal/lab/kernel/kernel_test.go",
		[]string{"func TestRealTimeCountsTheController(", "RealTime = "},
	},
	{
		"docs/install.md", "dpkg -i wanctl_1.0.0_amd64.deb", "it takes a package and a systemd",
		"packaging/life/testdata/story.sh",
		[]string{"dpkg -i", "systemctl enable --now wanctl@", "wanctl status"},
	},
	{
		"docs/install.md", "cp /usr/share/doc/wanctl/examples/minimal.yaml /etc/wanctl/cable.yaml", "it takes a package and a systemd",
		"packaging/life/testdata/story.sh",
		[]string{"systemctl enable --now wanctl@", "wanctl status"},
	},
	{
		"docs/install.md", "install -m 640 -g wanctl-config cable.yaml /etc/wanctl/cable.yaml", "it takes a package and a systemd",
		"packaging/life/testdata/story.sh",
		[]string{"install -m 640 -g wanctl-config", "its-configuration-is-not-for-everybody"},
	},
	{
		"docs/TROUBLESHOOTING.md", "journalctl -u 'wanctl@*' -u wanctl-steer --since -1h", "it takes a systemd",
		"packaging/life/testdata/steps.sh",
		[]string{"journalctl --no-pager", "systemctl status"},
	},
	{
		"docs/TROUBLESHOOTING.md", "systemctl reset-failed wanctl@cable.service", "it takes a systemd",
		"packaging/life/testdata/story.sh",
		[]string{"systemctl reset-failed", "systemctl start"},
	},
	{
		"docs/UPGRADING.md", "wanctl state import /var/lib/wanctl/cable_state.json.corrupt --config /etc/wanctl/cable.yaml", "it takes a state of another program",
		"testdata/script/state.txtar",
		[]string{"wanctl state import"},
	},
	{
		"docs/files.md", "wanctl debug ATT on --for 30m", "it takes a controller of that name",
		"testdata/script/autorate.txtar",
		[]string{"wanctl debug ATT on --for 90s", "wanctl debug att.yaml off"},
	},
	{
		"docs/container.md", "docker load -i wanctl_1.0.0_docker_amd64.tar", "it takes a Docker daemon; the image runs in namespaces as these options ask for",
		"packaging/life/image_test.go",
		[]string{"func TestImageRuns(", "container.sh"},
	},
	{
		"docs/container.md", "scp wanctl_1.0.0_routeros_arm64.tar admin@192.168.88.1:/usb1/wanctl.tar", "the emulated router keeps no files; the archive is read back",
		"packaging/life/image_test.go",
		[]string{"func TestImages(", "routeros"},
	},
}

// of says whether the entry is the block's.
func (e elsewhere) of(page string, f fence) bool {
	return e.page == page && (e.first == "" || len(f.lines) > 0 && f.lines[0] == e.first)
}

// helpRuns are the commands of the help of which an example cannot be typed on a host (notTyped), and the test that runs the
// command: a file, and what stands in it.
var helpRuns = map[string][2]string{
	"init": {"testdata/script/init.txtar", "wanctl init --yes"}, "calibrate": {"testdata/script/calibrate.txtar", "wanctl calibrate"},
	"record": {"testdata/script/record.txtar", "wanctl record --import"}, "handover": {"testdata/script/release.txtar", "wanctl handover"},
	"qdisc": {"internal/cli/lab_test.go", `"qdisc", `}, "qdisc plan": {"internal/cli/lab_test.go", `"qdisc", "plan"`},
	"qdisc apply": {"internal/cli/lab_test.go", `"qdisc", "apply"`}, "qdisc remove": {"internal/cli/lab_test.go", `"qdisc", "remove"`},
	"policy": {"docs/linux.md", "wanctl policy"}, "policy plan": {"docs/linux.md", "wanctl policy plan"},
	"policy apply": {"docs/linux.md", "wanctl policy apply"}, "policy remove": {"docs/linux.md", "wanctl policy remove"},
	"policy show": {"docs/linux.md", "wanctl policy show"},
	"deploy":      {"docs/DEPLOYMENT.md", "wanctl deploy"}, "install": {"docs/DEPLOYMENT.md", "wanctl install"},
	"state": {"testdata/script/state.txtar", "wanctl state"}, "state import": {"testdata/script/state.txtar", "wanctl state import"},
	"demo": {"testdata/script/demo.txtar", "wanctl demo"}, "sim": {"docs/measurements.md", "wanctl sim"},
	"sim bench": {"docs/measurements.md", "wanctl sim bench"}, "lab": {"internal/lab/kernel/kernel_test.go", `"lab", "run"`},
	"lab run": {"internal/lab/kernel/kernel_test.go", `"lab", "run"`}, "lab image": {"scripts/test", "lab image"},
	"lab compare": {"docs/lab-figures.md", "wanctl lab compare"},
}

// Every block of commands is run by some test: here, on a host of its own, or by the one that the table names.
func TestEveryCommandOfDocumentsIsRun(t *testing.T) {
	used := make([]int, len(typedElsewhere))
	for _, name := range documents(t) {
		if name == helpPage {
			continue // by command, below
		}
		for _, f := range fences(t, name) {
			if f.info != "sh norun" {
				continue
			}
			found := 0
			for i, e := range typedElsewhere {
				if e.of(name, f) {
					used[i]++
					found++
				}
			}
			if found != 1 {
				t.Errorf("%s: %d entries of typedElsewhere are for this block: make it `sh host`, or name the test that runs it:\n%s", f.where, found, strings.Join(f.lines, "\n"))
			}
		}
	}
	for i, e := range typedElsewhere {
		if used[i] == 0 {
			t.Errorf("%s has no block %q any more", e.page, e.first)
		}
		if e.why == "" {
			t.Errorf("%s: %q: no reason", e.page, e.first)
		}
		contains(t, e.file, e.says...)
	}
	parser, err := understanding()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range commands(parser.Model.Node) {
		name := strings.TrimPrefix(n.FullPath(), "wanctl ")
		run, listed := helpRuns[name]
		if needed := slices.ContainsFunc(strings.Split(indented(n.Detail), "\n"), notTyped.MatchString); needed != listed {
			t.Errorf("`wanctl %s`: an example of its help is not typed: %t; helpRuns names a test: %t", name, needed, listed)
		}
		if listed {
			contains(t, run[0], run[1])
		}
	}
	if names := commandNames(parser.Model.Node); slices.ContainsFunc(slices.Collect(maps.Keys(helpRuns)), func(name string) bool { return !names[name] }) {
		t.Errorf("helpRuns has a command that there is not: %v", helpRuns)
	}
}

// commandNames are the commands there are: "check", "router plan".
func commandNames(root *kong.Node) map[string]bool {
	names := map[string]bool{}
	for _, n := range commands(root) {
		names[strings.TrimPrefix(n.FullPath(), "wanctl ")] = true
	}
	return names
}

func contains(t *testing.T, file string, texts ...string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repository, file))
	if err != nil {
		t.Error(err)
		return
	}
	for _, s := range texts {
		if !strings.Contains(string(b), s) {
			t.Errorf("%s does not contain %q any more", file, s)
		}
	}
}
