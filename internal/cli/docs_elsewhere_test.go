package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		"docs/DEPLOYMENT.md", "", "it takes two hosts with SSH servers and service managers",
		"internal/deploy/command_test.go",
		[]string{"func TestDeploymentPage(", `"DEPLOYMENT.md"`, "sh norun"},
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
		"docs/TROUBLESHOOTING.md", "journalctl -u 'wanctl@*' -u wanctl-steer --since -1h", "it takes a systemd",
		"packaging/life/testdata/story.sh",
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

// helpRuns are the commands of the help, whose examples docs/cli.md repeats, and the test that runs each: a file, and what
// stands in it.
var helpRuns = map[string][2]string{
	"check": {"testdata/script/check.txtar", "wanctl check"}, "autorate": {"testdata/script/autorate.txtar", "wanctl autorate"},
	"steer": {"testdata/script/steer.txtar", "wanctl steer"}, "steer run": {"testdata/script/steer.txtar", "wanctl steer"},
	"steer explain": {"docs/steering.md", "wanctl steer explain"}, "steer history": {"docs/steering.md", "wanctl steer history"},
	"run": {"testdata/script/run.txtar", "wanctl run"}, "status": {"testdata/script/run.txtar", "wanctl status"},
	"record": {"testdata/script/record.txtar", "wanctl record"}, "replay": {"testdata/script/record.txtar", "wanctl replay"},
	"release": {"testdata/script/release.txtar", "wanctl release"}, "qdisc": {"internal/cli/lab_test.go", `"qdisc", `},
	"qdisc plan": {"internal/cli/lab_test.go", `"qdisc", "plan"`}, "qdisc apply": {"internal/cli/lab_test.go", `"qdisc", "apply"`},
	"qdisc remove": {"internal/cli/lab_test.go", `"qdisc", "remove"`}, "policy": {"docs/linux.md", "wanctl policy"},
	"policy plan": {"docs/linux.md", "wanctl policy plan"}, "policy apply": {"docs/linux.md", "wanctl policy apply"},
	"policy remove": {"docs/linux.md", "wanctl policy remove"}, "policy show": {"docs/linux.md", "wanctl policy show"},
	"doctor": {"docs/routeros.md", "wanctl doctor"}, "router": {"docs/routeros.md", "wanctl router"},
	"router trust": {"docs/routeros.md", "wanctl router trust"}, "router show": {"docs/SSH_SECURITY_SETUP.md", "wanctl router show"},
	"router plan": {"docs/routeros.md", "wanctl router plan"}, "router apply": {"docs/routeros.md", "wanctl router apply"},
	"router undo": {"internal/cli/router_test.go", `"router", "undo"`}, "handover": {"testdata/script/release.txtar", "wanctl handover"},
	"deploy": {"docs/DEPLOYMENT.md", "wanctl deploy"}, "install": {"docs/DEPLOYMENT.md", "wanctl install"},
	"state": {"testdata/script/state.txtar", "wanctl state"}, "state import": {"testdata/script/state.txtar", "wanctl state import"},
	"demo": {"testdata/script/demo.txtar", "wanctl demo"}, "sim": {"docs/measurements.md", "wanctl sim"},
	"sim play": {"docs/scenarios.md", "wanctl sim play"}, "sim bench": {"docs/measurements.md", "wanctl sim bench"},
	"emulate": {"testdata/script/emulate.txtar", "wanctl emulate"}, "lab": {"internal/lab/kernel/kernel_test.go", `"lab", "run"`},
	"lab run": {"internal/lab/kernel/kernel_test.go", `"lab", "run"`}, "lab image": {"scripts/test", "lab image"},
	"lab list": {"docs/scenarios.md", "wanctl lab list"}, "lab show": {"docs/scenarios.md", "wanctl lab show"},
	"lab compare": {"docs/lab-figures.md", "wanctl lab compare"}, "version": {"testdata/script/usage.txtar", "wanctl version"},
	"completion": {"internal/cli/completion_test.go", `"completion", shell`}, "man": {"internal/cli/completion_test.go", `"man", page`},
}

// Every block of commands is run by some test: here, on a host of its own, or by the one that the table names.
func TestEveryCommandOfDocumentsIsRun(t *testing.T) {
	used := make([]int, len(typedElsewhere))
	for _, name := range documents(t) {
		if name == "docs/cli.md" {
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
	parser, err := newParser(&App{Stdout: io.Discard, Stderr: io.Discard}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, n := range commands(parser.Model.Node) {
		name := strings.TrimPrefix(n.FullPath(), "wanctl ")
		there[name] = true
		if run, ok := helpRuns[name]; ok {
			contains(t, run[0], run[1])
		} else {
			t.Errorf("helpRuns does not name the test that runs `wanctl %s`", name)
		}
	}
	for name := range helpRuns {
		if !there[name] {
			t.Errorf("there is no `wanctl %s`", name)
		}
	}
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
