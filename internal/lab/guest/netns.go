package guest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// within runs f in a network namespace. Sockets and processes made in it stay there.
func within(ns string, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("own network namespace: %w", err)
	}
	defer own.Close()
	other, err := os.Open("/run/netns/" + ns)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer other.Close()
	if err := unix.Setns(int(other.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", ns, err)
	}
	err = f()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread is in the wrong namespace, and nothing else may run on it.
		panic(fmt.Sprintf("leave namespace %s: %v", ns, back))
	}
	return err
}

// batch hands lines to `ip` or `tc` in one process.
func batch(tool, ns string, lines ...string) error {
	args := []string{"-batch", "-"}
	if ns != "" {
		args = append([]string{"-n", ns}, args...)
	}
	cmd := exec.Command(tool, args...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s in %s: %w: %s\nof:\n%s", tool, ns, err, strings.TrimSpace(out.String()), strings.Join(lines, "\n"))
	}
	return nil
}

// sysctl sets a namespace's values: "net/ipv4/ip_forward" "1", …
func sysctl(ns string, pairs ...string) error {
	return within(ns, func() error {
		for i := 0; i+1 < len(pairs); i += 2 {
			if err := os.WriteFile("/proc/sys/"+pairs[i], []byte(pairs[i+1]), 0); err != nil {
				return fmt.Errorf("in %s: %w", ns, err)
			}
		}
		return nil
	})
}
