// Package systemd tells the service manager that wanctl is ready, alive, reloading or stopping, and finds the secrets that
// it hands over. Without a service manager every call does nothing.
package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Ready says that start-up is complete; status is one line for `systemctl status`.
func Ready(status string) error { return notify("READY=1\nSTATUS=" + status) }

// Status replaces the status line.
func Status(status string) error { return notify("STATUS=" + status) }

// Alive feeds the watchdog.
func Alive() error { return notify("WATCHDOG=1") }

// Stopping says that the service is on its way out.
func Stopping() error { return notify("STOPPING=1") }

// Reloading says that a reload began; call [Ready] when it is over. The monotonic stamp is what
// sd_notify(3) asks for since systemd 253.
func Reloading() error {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return fmt.Errorf("read the monotonic clock: %w", err)
	}
	return notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", ts.Nano()/1000))
}

// WatchdogInterval returns how often the manager wants to hear [Alive], or 0 when it does not watch this process.
func WatchdogInterval() (time.Duration, error) {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0, fmt.Errorf("WATCHDOG_USEC=%q, WATCHDOG_PID=%q: %w",
			os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID"), err)
	}
	return d, nil
}

func notify(s string) error {
	if _, err := daemon.SdNotify(false, s); err != nil {
		return fmt.Errorf("notify the service manager at NOTIFY_SOCKET=%q: %w", os.Getenv("NOTIFY_SOCKET"), err)
	}
	return nil
}

// Credential returns the file that the service manager read for this service in the place of a secret's file, for which
// the service's own user needs no right: NAME in $CREDENTIALS_DIRECTORY, or PARENT_NAME, as LoadCredential= of a whole
// directory calls it. Without one it is the path itself.
func Credential(path string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return path
	}
	base, parent := filepath.Base(path), filepath.Base(filepath.Dir(path))
	for _, name := range []string{parent + "_" + base, base} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return filepath.Join(dir, name)
		}
	}
	return path
}
