package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wanctl/internal/cake"
)

// fakeQueues is a kernel that shows what it is told to and remembers what it was asked.
type fakeQueues struct {
	Found cake.Found
	Did   []cake.Step
	// FailAt is the step, from 1, that fails.
	FailAt int
	Err    error
}

func (f *fakeQueues) Look(string, string) (cake.Found, error) { return f.Found, f.Err }

func (f *fakeQueues) Do(s cake.Step) error {
	if len(f.Did)+1 == f.FailAt {
		return errors.New("carry out: no")
	}
	f.Did = append(f.Did, s)
	return nil
}

func (f *fakeQueues) Close() error { return nil }

func qdisc(t *testing.T, k *fakeQueues, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = Main(append([]string{"qdisc"}, args...), &App{
		Stdout: &stdout, Stderr: &stderr, LookupEnv: os.LookupEnv, ReadFile: os.ReadFile,
		Getenv:     func(n string) string { return map[string]string{"RUNTIME_DIRECTORY": t.TempDir()}[n] },
		OpenQueues: func() (Queues, error) { return k, nil },
	})
	return code, stdout.String(), stderr.String()
}

func linuxFile() string { return filepath.Join(repository, "configs", "linux.yaml") }

func bareHost() cake.Found {
	return cake.Found{Upload: cake.Place{Exists: true, Interface: cake.Interface{Index: 2, Name: "wan"}, Up: true}}
}

func TestQdiscPlan(t *testing.T) {
	k := &fakeQueues{Found: bareHost()}
	code, out, errs := qdisc(t, k, "plan", linuxFile())
	if code != exitOK || errs != "" || !strings.HasPrefix(out, "linux: would run\n  ip link add name ifb4wan type ifb") ||
		!strings.Contains(out, "tc qdisc add dev wan root handle 7761: cake bandwidth 38Mbit") || !strings.Contains(out, "overhead 18 mpu 64") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	code, out, _ = qdisc(t, k, "plan", "--json", linuxFile())
	var plans []struct {
		WAN   string `json:"wan"`
		Steps []struct{ Command, Why string }
	}
	if err := json.Unmarshal([]byte(out), &plans); err != nil || code != exitOK || len(plans) != 1 || plans[0].WAN != "linux" || len(plans[0].Steps) != 6 {
		t.Errorf("%d, %v: %s", code, err, out)
	}
	if len(k.Did) > 0 {
		t.Errorf("a plan did %v", k.Did)
	}
}

func TestQdiscApply(t *testing.T) {
	k := &fakeQueues{Found: bareHost()}
	if code, out, _ := qdisc(t, k, "apply", "--dry-run", linuxFile()); code != exitOK || len(k.Did) > 0 || !strings.Contains(out, "would run") {
		t.Errorf("dry run: %d, did %v\n%s", code, k.Did, out)
	}
	if code, out, errs := qdisc(t, k, "apply", linuxFile()); code != exitOK || len(k.Did) != 6 || !strings.Contains(out, "changed as") {
		t.Errorf("%d, did %v\n%s%s", code, k.Did, out, errs)
	}
	k = &fakeQueues{Found: bareHost(), FailAt: 3}
	if code, _, errs := qdisc(t, k, "apply", linuxFile()); code != exitFailed || !strings.Contains(errs, "linux: carry out: no; 2 of 6 steps are done") {
		t.Errorf("a step that fails: %d\n%s", code, errs)
	}
	// What stands in the way is told, and nothing is done.
	k = &fakeQueues{Found: bareHost()}
	k.Found.Upload.HasRoot, k.Found.Upload.Root.Kind, k.Found.Upload.Root.Handle = true, "htb", 0x10000
	if code, _, errs := qdisc(t, k, "apply", linuxFile()); code != exitFailed || len(k.Did) > 0 || !strings.Contains(errs, "linux: error: wan: its root is somebody's own htb (handle 1:)") {
		t.Errorf("somebody's root: %d, did %v\n%s", code, k.Did, errs)
	}
	k.Found.Upload.Root.Kind, k.Found.Upload.Root.Handle = "mq", 0
	if code, _, errs := qdisc(t, k, "plan", linuxFile()); code != exitFailed || !strings.Contains(errs, "--replace-mq") {
		t.Errorf("mq: %d\n%s", code, errs)
	}
	if code, _, errs := qdisc(t, k, "apply", "--replace-mq", linuxFile()); code != exitOK || len(k.Did) != 6 {
		t.Errorf("mq to be replaced: %d, did %v\n%s", code, k.Did, errs)
	}
}

func TestQdiscRemove(t *testing.T) {
	k := &fakeQueues{Found: bareHost()}
	if code, out, _ := qdisc(t, k, "remove", linuxFile()); code != exitOK || out != "linux: nothing to do\n" {
		t.Errorf("%d: %s", code, out)
	}
	k.Found.Upload.HasRoot, k.Found.Upload.Root.Kind, k.Found.Upload.Root.Handle = true, "cake", cake.OurHandle
	if code, out, _ := qdisc(t, k, "remove", "--dry-run", linuxFile()); code != exitOK || len(k.Did) > 0 || !strings.Contains(out, "tc qdisc del dev wan root handle 7761:") {
		t.Errorf("%d: %s", code, out)
	}
	if code, _, _ := qdisc(t, k, "remove", linuxFile()); code != exitOK || len(k.Did) != 1 || k.Did[0].Op != cake.DelCake {
		t.Errorf("%d: %v", code, k.Did)
	}
}

func TestQdiscRefuses(t *testing.T) {
	k := &fakeQueues{Found: bareHost()}
	for file, want := range map[string]string{
		"minimal.yaml":            "is not the configuration of a line that this host shapes",
		"steering_config_v2.yaml": "is not the configuration of a line that this host shapes",
		"no_such_file.yaml":       "cannot be opened",
	} {
		if code, _, errs := qdisc(t, k, "apply", filepath.Join(repository, "configs", file)); code != exitFailed || !strings.Contains(errs, want) {
			t.Errorf("%s: %d\n%s", file, code, errs)
		}
	}
	if code, _, errs := qdisc(t, k, "plan", linuxFile(), linuxFile()); code != exitFailed || !strings.Contains(errs, "the same interface is used in") {
		t.Errorf("twice the same line: %d\n%s", code, errs)
	}
	k.Err = errors.New("read queues: no")
	if code, _, errs := qdisc(t, k, "plan", linuxFile()); code != exitFailed || !strings.Contains(errs, "linux: read queues: no") {
		t.Errorf("a kernel that does not answer: %d\n%s", code, errs)
	}
	if len(k.Did) > 0 {
		t.Errorf("did %v", k.Did)
	}
}

// The real kernel can be looked at without any privilege, whatever it has.
func TestQdiscPlanOnThisHost(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := Main([]string{"qdisc", "plan", linuxFile()}, &App{
		Stdout: &stdout, Stderr: &stderr, LookupEnv: os.LookupEnv, ReadFile: os.ReadFile, Getenv: func(string) string { return "" },
	})
	if _, err := os.Stat("/sys/class/net/wan"); err == nil {
		t.Skip("this host has an interface called wan")
	}
	if code != exitFailed || !strings.Contains(stderr.String(), "there is no interface wan") {
		t.Errorf("%d\n%s%s", code, stdout.String(), stderr.String())
	}
}
