package guest

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
)

// changer is one `tc` that stays: changes cost a line, not a process. It is not safe for concurrent use.
type changer struct {
	ns   string
	cmd  *exec.Cmd
	in   io.WriteCloser
	said tail
}

func newChanger(ns string) (*changer, error) {
	c := &changer{ns: ns, cmd: exec.Command("tc", "-n", ns, "-force", "-batch", "-")}
	c.cmd.Stdout, c.cmd.Stderr = &c.said, &c.said
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("tc in %s: %w", ns, err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("tc in %s: %w", ns, err)
	}
	return c, nil
}

// do makes changes. What tc could not do is told by close.
func (c *changer) do(lines ...string) error {
	if _, err := io.WriteString(c.in, strings.Join(lines, "\n")+"\n"); err != nil {
		return fmt.Errorf("tc in %s: %w: %s", c.ns, err, c.said.String())
	}
	return nil
}

func (c *changer) close() error {
	c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("tc in %s: %w: %s", c.ns, err, c.said.String())
	}
	return nil
}

// tail keeps the end of what was written to it. It is safe for concurrent use.
type tail struct {
	mu sync.Mutex
	b  []byte
	// want, when set, is closed by found once the text has passed.
	want  []byte
	found chan struct{}
}

// tailBytes is how much a tail keeps.
const tailBytes = 16 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if t.found != nil && bytes.Contains(t.b, t.want) {
		close(t.found)
		t.found = nil
	}
	if over := len(t.b) - tailBytes; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
