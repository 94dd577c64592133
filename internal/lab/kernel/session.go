package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wanctl/internal/lab/report"
	"wanctl/internal/lab/scenario"
)

// Session is one scenario under one controller.
type Session struct {
	Scenario   *scenario.Scenario
	Controller string
	// Dir is made, and gets the run's files. What an earlier run left there goes.
	Dir   string
	Image Image
	// Binary is the static program that plays in the machine, and that controllers called wanctl are.
	Binary string
	// Files, when set, is a directory that the machine sees as /lab/files: a foreign controller's own.
	Files    string
	RealTime bool
	Timeout  time.Duration
	Warden   []string
	Version  string
	// Now is the host's clock, for how long it took.
	Now func() time.Time
}

// Files of a run's directory besides [report]'s.
const (
	binaryFile = "bin/wanctl"
	planFile   = "plan.json"
	filesDir   = "files"
)

// Run plays it and returns what was written down. A run whose controller failed is a result, not an error.
func (s Session) Run(ctx context.Context) (*report.Raw, error) {
	began := s.Now()
	if err := s.prepare(); err != nil {
		return nil, err
	}
	defer func() {
		_ = os.RemoveAll(filepath.Join(s.Dir, filepath.Dir(binaryFile)))
		_ = os.RemoveAll(filepath.Join(s.Dir, filesDir))
	}()
	m := Machine{
		Image: s.Image, Dir: s.Dir, RealTime: s.RealTime, Timeout: s.Timeout, Warden: s.Warden,
		// One processor for each process (the player takes a second one), and no signals between threads: each call costs
		// the machine much.
		Command: "export GOMAXPROCS=1 GODEBUG=asyncpreemptoff=1 TZ=UTC; mkdir -p " + runDir + " " + emulatorDir + "; exec ./" + binaryFile + " lab-guest " + planFile,
	}
	status, err := m.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s under %s: %w", s.Scenario.Name, s.Controller, err)
	}
	if status != 0 {
		return nil, fmt.Errorf("%s under %s: the run failed with status %d (its files are in %s):\n%s",
			s.Scenario.Name, s.Controller, status, s.Dir, indent(lastLines(filepath.Join(s.Dir, "stderr"), consoleLines)))
	}
	if err := stampWall(s.Dir, s.Now().Sub(began)); err != nil {
		return nil, err
	}
	return report.Load(s.Dir)
}

// stampWall adds to the run's description what only the outside knows.
func stampWall(dir string, took time.Duration) error {
	path := filepath.Join(dir, report.MetaFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the run's description: %w", err)
	}
	var meta report.Meta
	if err := json.Unmarshal(b, &meta); err != nil {
		return fmt.Errorf("the run's description %s: %w", path, err)
	}
	meta.WallS = took.Seconds()
	return writeJSON(path, meta)
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// prepare lays out the run's directory.
func (s Session) prepare() error {
	// Only what is a run's directory is emptied.
	if entries, err := os.ReadDir(s.Dir); err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(s.Dir, planFile)); err != nil {
			return fmt.Errorf("%s holds something that is not a run of the lab; choose another directory", s.Dir)
		}
		if err := os.RemoveAll(s.Dir); err != nil {
			return fmt.Errorf("remove the earlier run: %w", err)
		}
	}
	for _, d := range []string{"bin", "etc", "log"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, d), 0o755); err != nil {
			return fmt.Errorf("the run's directory: %w", err)
		}
	}
	p, err := plan(s.Scenario, s.Controller, s.Version, s.Dir, s.RealTime)
	if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(s.Dir, planFile), p); err != nil {
		return err
	}
	if err := copyFile(s.Binary, filepath.Join(s.Dir, binaryFile)); err != nil {
		return fmt.Errorf("the program for the machine: %w", err)
	}
	if s.Files == "" {
		return nil
	}
	if err := os.CopyFS(filepath.Join(s.Dir, filesDir), os.DirFS(s.Files)); err != nil {
		return fmt.Errorf("the controller's files: %w", err)
	}
	return nil
}

// copyFile makes an executable copy; a link where the file system allows it.
func copyFile(from, to string) error {
	if err := os.Link(from, to); err == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// DirName is a run's directory below the one for all: scenario and controller, as a file name.
func DirName(sc *scenario.Scenario, controller string, run int) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, controller)
	if len(safe) > 60 {
		safe = safe[:60]
	}
	return fmt.Sprintf("%s.%s.%d", sc.Name, safe, run)
}
