package systemd

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMessagesReachTheManager(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	for _, s := range []struct {
		send func() error
		want string
	}{
		{func() error { return Ready("two WANs") }, "READY=1\nSTATUS=two WANs"},
		{func() error { return Status("degraded") }, "STATUS=degraded"},
		{Alive, "WATCHDOG=1"},
		{Reloading, "RELOADING=1\nMONOTONIC_USEC="},
		{Stopping, "STOPPING=1"},
	} {
		if err := s.send(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 256)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b[:n]); !strings.HasPrefix(got, s.want) {
			t.Errorf("the manager read %q, want %q", got, s.want)
		}
	}
}

func TestNoManagerIsNoError(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Ready("x"); err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := Alive(); err == nil || !strings.Contains(err.Error(), "NOTIFY_SOCKET") {
		t.Errorf("a dead socket gave %v, want an error that names NOTIFY_SOCKET", err)
	}
}

func TestWatchdogInterval(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "")
	if d, err := WatchdogInterval(); d != 0 || err != nil {
		t.Errorf("unwatched: %v, %v", d, err)
	}
	t.Setenv("WATCHDOG_USEC", "3000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	if d, err := WatchdogInterval(); d != 3*time.Second || err != nil {
		t.Errorf("watched: %v, %v, want 3s", d, err)
	}
	t.Setenv("WATCHDOG_USEC", "soon")
	if _, err := WatchdogInterval(); err == nil {
		t.Error("a bad WATCHDOG_USEC passed")
	}
}

func TestCredential(t *testing.T) {
	const key = "/etc/wanctl/ssh/router.key"
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if got := Credential(key); got != key {
		t.Errorf("without credentials %s became %s", key, got)
	}
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if err := os.Mkdir(filepath.Join(dir, "router.key"), 0o700); err != nil { // no secret, but of its name
		t.Fatal(err)
	}
	if got := Credential(key); got != key {
		t.Errorf("without its credential %s became %s", key, got)
	}
	for _, name := range []string{"other.key", "ssh_router.key"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{key: "ssh_router.key", "/home/me/other.key": "other.key"} {
		if got := Credential(path); got != filepath.Join(dir, want) {
			t.Errorf("%s became %s, want %s", path, got, want)
		}
	}
}
