package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"wanctl/internal/unit"
)

// HandoverValid is how long a hand-over note counts: a restart that takes longer is an outage.
const HandoverValid = time.Minute

type handoverNote struct {
	BootID string    `json:"boot_id"`
	At     unit.Time `json:"at_ns"`
}

func handoverPath(run, name string) string { return filepath.Join(run, name+".handover") }

// WriteHandover tells the running process of that name that another takes over within a minute: it then leaves rates
// and rule as they are when it stops.
func WriteHandover(run, name, bootID string, now unit.Time) error {
	b, err := json.Marshal(handoverNote{BootID: bootID, At: now})
	if err != nil {
		return fmt.Errorf("encode the hand-over note of %s: %w", name, err)
	}
	return replaceFile(handoverPath(run, name), append(b, '\n'), false)
}

// maxNote bounds a hand-over note that is read, in bytes.
const maxNote = 4096

// HandedOver says whether a valid note lies in the run directory. A note of another boot, from the future or older
// than a minute is none.
func HandedOver(run, name, bootID string, now unit.Time) (bool, error) {
	var n handoverNote
	err := readFile(handoverPath(run, name), func(r io.Reader) error {
		return json.NewDecoder(io.LimitReader(r, maxNote)).Decode(&n)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the hand-over note of %s: %w", name, err)
	}
	age := now.Sub(n.At)
	return n.BootID == bootID && age >= 0 && age <= HandoverValid, nil
}

// BootSeen is the boot's name as the last holder of a name's lock in the run directory saw it, else as this process does. In a
// container that got a name of its own, a service with a /proc of its own sees the kernel's, and root around it the container's.
func BootSeen(run, name string) (string, error) {
	var o owner
	err := readFile(filepath.Join(run, name+".lock"), func(r io.Reader) error {
		return json.NewDecoder(io.LimitReader(r, maxNote)).Decode(&o)
	})
	if err == nil && o.BootID != "" {
		return o.BootID, nil
	}
	return BootID()
}

// takeHandover removes the note, because its reader has taken over.
func takeHandover(run, name string) error {
	if err := os.Remove(handoverPath(run, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the hand-over note of %s: %w", name, err)
	}
	return nil
}
