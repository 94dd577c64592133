// Package daemon assembles wanctl: it owns the loops, the goroutines beside them, the files, reload and shutdown, and
// declares the interfaces it needs from the hands.
package daemon

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"wanctl/internal/unit"
)

// Clock tells instants since boot, for everything that is decided, and the time of day, for people.
type Clock interface {
	Now() unit.Time
	Wall() time.Time
}

// HostClock reads CLOCK_BOOTTIME, which goes on during suspend, so that ages stay true.
type HostClock struct{}

// Now returns the instant since boot.
func (HostClock) Now() unit.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has had this clock since 2.6.39; a kernel that refuses it under a filter still has the monotonic one.
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			return 0
		}
	}
	return unit.Time(ts.Nano())
}

// MinuteOfDay is the minute of the local day, from 1 to 1440, as [link.Outside] has it.
func MinuteOfDay(wall time.Time) int { return 60*wall.Hour() + wall.Minute() + 1 }

// Wall returns the time of day.
func (HostClock) Wall() time.Time { return time.Now() }

// BootID names this boot of the host, so that instants in files are never compared across boots.
func BootID() (string, error) {
	const path = "/proc/sys/kernel/random/boot_id"
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the boot's name: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
