package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Logger writes the lines of a deployment.
type Logger struct{ W io.Writer }

// Event writes one step.
func (l Logger) Event(e Event) { l.line(Line{Event: &e}) }

// Result writes the last line.
func (l Logger) Result(r Result) { l.line(Line{Result: &r}) }

func (l Logger) line(v Line) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(fmt.Sprintf(`{"step":"log","state":"failed","text":%q}`, err.Error()))
	}
	_, _ = l.W.Write(append(b, '\n')) // a log on a full disk is no reason to stop half-way
}

// maxLog bounds what is read of a run's log, in bytes.
const maxLog = 4 << 20

// Detached starts a program in a session of its own, with log as its output, and hands its lines to each as they come until
// the result: when this process loses its terminal or its connection, the other one goes on to the end.
func Detached(ctx context.Context, log string, command []string, env []string, each func(Line)) error {
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return fmt.Errorf("make the directory of %s: %w", log, err)
	}
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("begin the log of this run: %w", err)
	}
	defer out.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env, cmd.Dir = env, "/"
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the deployment: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its result is in the log
		close(ended)
	}()
	return follow(ctx, log, ended, each)
}

// errNoResult is a run that ended without one: it was killed.
var errNoResult = errors.New("the deployment's process ended without a result; the next one undoes what it left")

// follow hands on the lines of a log until the result.
func follow(ctx context.Context, log string, ended <-chan struct{}, each func(Line)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	read := 0
	for {
		over := false
		select {
		case <-ended:
			over = true // and the lines that came last are read below
		default:
		}
		text, err := os.ReadFile(log)
		if err != nil || len(text) > maxLog {
			return errors.Join(err, fmt.Errorf("read the log %s of the deployment", log))
		}
		for {
			n := bytes.IndexByte(text[read:], '\n')
			if n < 0 {
				break
			}
			raw := text[read : read+n]
			read += n + 1
			var l Line
			if json.Unmarshal(raw, &l) != nil {
				l = Line{Event: &Event{Step: "log", State: Warning, Text: string(raw)}}
			}
			each(l)
			if l.Result != nil {
				return nil
			}
		}
		if over {
			return errNoResult
		}
		select {
		case <-tick.C:
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
