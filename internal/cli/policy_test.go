package cli

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wanctl/internal/config"
	"wanctl/internal/policy"
)

// fakePolicies is a kernel that plans what it is told to.
type fakePolicies struct {
	Planned, Removed policy.Plan
	Err, SteeredErr  error
	To               string
	Did              []string
	Paired           policy.Pair
}

func (f *fakePolicies) Plan() (policy.Plan, error) { return f.Planned, f.Err }

func (f *fakePolicies) Apply() (policy.Plan, error) {
	f.Did = append(f.Did, "apply")
	return f.Planned, f.Err
}

func (f *fakePolicies) PlanRemove() (policy.Plan, error) { return f.Removed, f.Err }

func (f *fakePolicies) Remove() (policy.Plan, error) {
	f.Did = append(f.Did, "remove")
	return f.Removed, f.Err
}

func (f *fakePolicies) Text() string { return "table inet wanctl_steering_linux {\n}\n" }

func (f *fakePolicies) Steered() (string, error) { return f.To, f.SteeredErr }

func (f *fakePolicies) Counts() (policy.Counts, error) { return policy.Counts{New: 5, New6: 2}, f.Err }

func (f *fakePolicies) Pair(_, _ netip.Addr) (policy.Pair, error) { return f.Paired, f.Err }

func runPolicy(t *testing.T, k *fakePolicies, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = Main(append([]string{"policy"}, args...), &App{
		Stdout: &stdout, Stderr: &stderr, LookupEnv: os.LookupEnv, ReadFile: os.ReadFile,
		Getenv:       func(n string) string { return map[string]string{"RUNTIME_DIRECTORY": t.TempDir()}[n] },
		OpenPolicies: func(*config.Steering) Policies { return k },
	})
	return code, stdout.String(), stderr.String()
}

func TestPolicy(t *testing.T) {
	file := filepath.Join(repository, "configs", "steering_linux.yaml")
	steps := []policy.Step{{Command: "nft -f - <<'EOF'", Why: "the chain choose is gone"}, {Command: "ip -4 rule add x"}}
	for name, c := range map[string]struct {
		kernel fakePolicies
		args   []string
		code   int
		out    string // part of the output, or of the errors
		did    string
	}{
		"plan":            {fakePolicies{Planned: policy.Plan{Steps: steps, Notes: []string{"a note"}}}, []string{"plan", file}, exitOK, "would run\n# because the chain choose is gone\nnft -f - <<'EOF'\nip -4 rule add x\nnote: a note\n", ""},
		"nothing to plan": {fakePolicies{}, []string{"plan", file}, exitOK, "nothing to do\n", ""},
		"plan in JSON":    {fakePolicies{}, []string{"plan", "--json", file}, exitOK, `"steps": []`, ""},
		"in the way":      {fakePolicies{Planned: policy.Plan{Problems: []string{"no forwarding"}}}, []string{"plan", file}, exitFailed, "error: no forwarding", ""},
		"no kernel":       {fakePolicies{Err: errors.New("no right")}, []string{"plan", file}, exitFailed, "wanctl: no right", ""},
		"apply":           {fakePolicies{Planned: policy.Plan{Steps: steps}}, []string{"apply", file}, exitOK, "changed as these commands would have", "apply"},
		"apply dry":       {fakePolicies{Planned: policy.Plan{Steps: steps}}, []string{"apply", "--dry-run", file}, exitOK, "would run", ""},
		"apply not":       {fakePolicies{Planned: policy.Plan{Problems: []string{"no forwarding"}}, Err: errors.New("apply: no forwarding")}, []string{"apply", file}, exitFailed, "error: no forwarding", "apply"},
		"remove":          {fakePolicies{Removed: policy.Plan{Steps: steps}}, []string{"remove", file}, exitOK, "ip -4 rule add x", "remove"},
		"remove dry":      {fakePolicies{Removed: policy.Plan{Steps: steps}}, []string{"remove", "--dry-run", file}, exitOK, "would run", ""},
		"show":            {fakePolicies{To: "DSL"}, []string{"show", file}, exitOK, "table inet wanctl_steering_linux {\n}\n# new connections of the classes go to DSL; 5 over IPv4 and 2 over IPv6 were seen\n", ""},
		"show nothing":    {fakePolicies{SteeredErr: &policy.Error{Kind: policy.Missing, Err: errors.New("x")}}, []string{"show", file}, exitOK, "the kernel does not have it", ""},
		"show as ever":    {fakePolicies{}, []string{"show", file}, exitOK, "go to Cable, as ever", ""},
		"show not":        {fakePolicies{SteeredErr: errors.New("no right")}, []string{"show", file}, exitFailed, "no right", ""},
		"counts not":      {fakePolicies{Err: errors.New("no right")}, []string{"show", file}, exitFailed, "no right", ""},
		"another file":    {fakePolicies{}, []string{"plan", linuxFile()}, exitFailed, "is not the configuration of a host that steers by itself", ""},
		"no file":         {fakePolicies{}, []string{"apply", file + "x"}, exitFailed, "cannot be opened", ""},
	} {
		code, out, errs := runPolicy(t, &c.kernel, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.out) || strings.Join(c.kernel.Did, " ") != c.did {
			t.Errorf("%s: %d, did %v\n%s%s", name, code, c.kernel.Did, out, errs)
		}
	}
}
