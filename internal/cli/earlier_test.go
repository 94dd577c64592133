package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/install"
)

func parsedFile(t *testing.T, path string) *config.File {
	t.Helper()
	f, ds := (&App{LookupEnv: os.LookupEnv, ReadFile: os.ReadFile, Getenv: os.Getenv}).parseOne(path, "")
	if f == nil {
		t.Fatal(ds)
	}
	return f
}

// Beside a process of the earlier system nothing starts that would write the same; what it works on otherwise, or what cannot
// be told, is a warning.
func TestBesideTheEarlierSystem(t *testing.T) {
	att, spectrum := filepath.Join(repository, "configs", "att_config.yaml"), filepath.Join(repository, "configs", "spectrum_config.yaml")
	steering := filepath.Join(repository, "configs", "steering_config_v2.yaml")
	open := func(path string) (*config.File, error) {
		if strings.HasSuffix(path, "gone.yaml") {
			return nil, errors.New("gone")
		}
		return parsedFile(t, path), nil
	}
	process := func(config string) install.Process {
		return install.Process{PID: 7, Line: "/usr/bin/python3 /home/kevin/wanctl/autorate_continuous.py --configs " + config}
	}
	for _, c := range []struct {
		name, theirs, ours, refused string
		warned                      int
	}{
		{"the same line", att, att, "att_config.yaml: the earlier system works on the same queues (process 7, with ", 0},
		{"the same steering", steering, steering, "the same rule", 0},
		{"another line", att, spectrum, "", 0},
		{"another kind", att, steering, "", 0},
		{"a file that is gone", "/gone.yaml", att, "", 1},
	} {
		warnings, refused := beside([]install.Process{process(c.theirs)}, []*config.File{parsedFile(t, c.ours)}, open)
		if (refused != nil) != (c.refused != "") || refused != nil && !strings.Contains(refused.Error(), c.refused) || len(warnings) != c.warned {
			t.Errorf("%s: %v %q", c.name, refused, warnings)
		}
	}
}

// The same with a process that really runs: a dry run is warned, and nothing else starts.
func TestTheEarlierSystemIsSeen(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "autorate_continuous.py")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nread line\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile(filepath.Join(repository, "configs", "att_config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ours := filepath.Join(dir, "att.yaml")
	text := strings.NewReplacer("/run/wanctl", dir, "/var/lib/wanctl", dir, "/var/log/wanctl", dir, "10.10.99.1", "192.0.2.1").Replace(string(shipped))
	if err := os.WriteFile(ours, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", script, "--configs", "att.yaml")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = cmd.Wait()
	}()
	for end := time.Now().Add(storyBound); len(install.EarlierRunning()) == 0; time.Sleep(storyPause) {
		if time.Now().After(end) {
			t.Fatal("the process is not seen")
		}
	}
	app := func(errs *bytes.Buffer) *App {
		return &App{Stdout: errs, Stderr: errs, LookupEnv: os.LookupEnv, ReadFile: os.ReadFile, Getenv: func(string) string { return "" }}
	}
	var errs bytes.Buffer
	want := fmt.Sprintf("the earlier system works on the same queues (process %d, with %s)", cmd.Process.Pid, ours)
	if code := Main([]string{"autorate", ours, "--run-dir", dir}, app(&errs)); code != exitFailed || !strings.Contains(errs.String(), want) {
		t.Errorf("ended with %d: %s", code, errs.String())
	}
	errs.Reset()
	if err := app(&errs).alone([]*config.File{parsedFile(t, ours)}, true); err != nil || !strings.Contains(errs.String(), want) {
		t.Errorf("a dry run: %v %s", err, errs.String())
	}
}
