// Package install puts a version of wanctl into force on the host it runs on, as one change that is undone when the new
// version is not healthy: program, configurations and units, and the earlier system that it takes over from.
package install

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Format is the version of a bundle.
const Format = 1

// maxBundle bounds a bundle's file, in bytes: a few configurations.
const maxBundle = 8 << 20

// Bundle says what is to be in force on a host. It lies beside the program it goes with.
type Bundle struct {
	Format int `json:"format"`
	// Run names this deployment: its log on the host is found by it.
	Run string `json:"run"`
	// Host is what the inventory calls the host, By who deploys, as user@machine.
	Host string `json:"host"`
	By   string `json:"by"`
	// Root is put before every path; "/" is the host itself.
	Root string `json:"root"`
	// Version is the program's, Binary its SHA-256 in hexadecimal.
	Version string `json:"version"`
	Binary  string `json:"binary_sha256"`
	// WANs and Steering are the configurations.
	WANs     []Config `json:"wans"`
	Steering *Config  `json:"steering,omitempty"`
	// HealthyS is how long the new version may take to be healthy, in seconds.
	HealthyS float64 `json:"healthy_within_s"`
}

// Config is one configuration file.
type Config struct {
	// Name is the file's own name, Unit the instance of wanctl@.service that runs it; steering has "steering".
	Name string `json:"name"`
	Unit string `json:"unit"`
	Text string `json:"text"`
}

// SteeringUnit is the Unit of steering's configuration.
const SteeringUnit = "steering"

var (
	plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	// PlainUnit is what an instance may be called: it is part of file names and of units.
	PlainUnit = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$`)
	hexSum    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// ReadBundle reads and checks a bundle.
func ReadBundle(path string) (Bundle, error) {
	var b Bundle
	f, err := os.Open(path)
	if err != nil {
		return b, fmt.Errorf("bundle: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBundle+1))
	switch {
	case err != nil:
		return b, fmt.Errorf("bundle %s: %w", path, err)
	case len(text) > maxBundle:
		return b, fmt.Errorf("bundle %s is larger than %d MiB", path, maxBundle>>20)
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return b, fmt.Errorf("bundle %s: %w", path, err)
	}
	if err := b.Validate(); err != nil {
		return b, fmt.Errorf("bundle %s: %w", path, err)
	}
	return b, nil
}

// Validate says what is wrong with a bundle.
func (b Bundle) Validate() error {
	switch {
	case b.Format != Format:
		return fmt.Errorf("has format %d, this program reads %d: take both from one deployment", b.Format, Format)
	case !plainName.MatchString(b.Run):
		return errors.New("has no name of its run")
	case !filepath.IsAbs(b.Root):
		return fmt.Errorf("root %q is no full path", b.Root)
	case !hexSum.MatchString(b.Binary):
		return errors.New("has no checksum of its program")
	case len(b.configs()) == 0:
		return errors.New("has no configuration")
	case b.HealthyS < 1 || b.HealthyS > 3600:
		return fmt.Errorf("lets the new version have %g s, not 1 to 3600", b.HealthyS)
	}
	seen := map[string]bool{}
	for i, c := range b.configs() {
		steering := b.Steering != nil && i == len(b.configs())-1
		switch {
		case !plainName.MatchString(c.Name), !strings.HasSuffix(c.Name, ".yaml"):
			return fmt.Errorf("%q is no name of a configuration file (NAME.yaml)", c.Name)
		case !PlainUnit.MatchString(c.Unit), steering != (c.Unit == SteeringUnit):
			return fmt.Errorf("%s: %q is no name of a unit's instance", c.Name, c.Unit)
		case seen["f"+c.Name] || seen["u"+c.Unit]:
			return fmt.Errorf("%s is there twice", c.Name)
		}
		seen["f"+c.Name], seen["u"+c.Unit] = true, true
	}
	return nil
}

// configs are all of them, steering last.
func (b Bundle) configs() []Config {
	all := append([]Config(nil), b.WANs...)
	if b.Steering != nil {
		all = append(all, *b.Steering)
	}
	return all
}

// within is HealthyS as a duration.
func (b Bundle) within() time.Duration { return time.Duration(b.HealthyS * float64(time.Second)) }

// unitOf is the service that runs a configuration.
func unitOf(c Config) string {
	if c.Unit == SteeringUnit {
		return "wanctl-steer.service"
	}
	return "wanctl@" + c.Unit + ".service"
}

// onceOf is what runs a configuration's cycle as a process of its own, a service by a timer.
func onceOf(c Config) string {
	if c.Unit == SteeringUnit {
		return "wanctl-steer-once"
	}
	return "wanctl-once@" + c.Unit
}

// id names the version's directory: the same program with the same configurations has the same.
func (b Bundle) id() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", b.Binary)
	for _, c := range b.configs() {
		fmt.Fprintf(h, "%q %q %q\n", c.Name, c.Unit, c.Text)
	}
	v := strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_", r) {
			return r
		}
		return '_'
	}, b.Version)
	return v + "-" + hex.EncodeToString(h.Sum(nil))[:10]
}

// Sum is a file's SHA-256 in hexadecimal.
func Sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
