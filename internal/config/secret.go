package config

import (
	"errors"
	"fmt"
	"strings"
)

// MaxSecret bounds a secret from a file, in bytes.
const MaxSecret = 64 << 10

// Secret is a value that is fetched when it is needed and never printed: every way of formatting or encoding it gives
// "[secret]". The zero value is a secret that is not set.
type Secret struct {
	kind secretKind
	// ref is the variable's name, the file's path or the value itself.
	ref string
	opt *Options
}

type secretKind uint8

const (
	secretUnset secretKind = iota
	secretLiteral
	secretEnv
	secretFile
)

// hidden is what a Secret prints as.
const hidden = "[secret]"

// newSecret reads the forms a config may use: ${NAME}, file:/path, or the value itself.
func newSecret(s string, opt *Options) (Secret, error) {
	if name, ok := strings.CutPrefix(s, "${"); ok {
		name, ok = strings.CutSuffix(name, "}")
		if !ok || !envName(name) {
			return Secret{}, errors.New("${…} does not hold the name of an environment variable")
		}
		return Secret{secretEnv, name, opt}, nil
	}
	if path, ok := strings.CutPrefix(s, "file:"); ok {
		if !strings.HasPrefix(path, "/") {
			return Secret{}, errors.New("file: does not hold a full path")
		}
		return Secret{secretFile, opt.secretFile(path), opt}, nil
	}
	if s == "" {
		return Secret{}, errors.New("is empty")
	}
	return Secret{secretLiteral, s, opt}, nil
}

// envName reports whether s can name an environment variable: letters, digits and _, no digit first.
func envName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case c == '_', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}

// IsSet reports whether the config names the secret at all.
func (s Secret) IsSet() bool { return s.kind != secretUnset }

// Literal reports whether the config holds the value itself.
func (s Secret) Literal() bool { return s.kind == secretLiteral }

// File returns the path of the secret's file, and "" for one that is kept elsewhere. The caller checks who may read it.
func (s Secret) File() string {
	if s.kind == secretFile {
		return s.ref
	}
	return ""
}

// Source says where the value comes from, without the value.
func (s Secret) Source() string {
	switch s.kind {
	case secretUnset:
		return "not set"
	case secretLiteral:
		return "the config file"
	case secretEnv:
		return "environment variable " + s.ref
	case secretFile:
		return "file " + s.ref
	}
	return "unknown"
}

// Resolve fetches the value. One line end at the end of a file is not part of it. It fails, without naming the value,
// when the secret is not set, its variable or file is missing or empty, or its file is larger than [MaxSecret].
func (s Secret) Resolve() (string, error) {
	switch s.kind {
	case secretUnset:
		return "", errors.New("secret is not set")
	case secretLiteral:
		return s.ref, nil
	case secretEnv:
		return s.fromEnv()
	case secretFile:
		return s.fromFile()
	}
	return "", fmt.Errorf("secret of unknown kind %d", s.kind)
}

func (s Secret) fromEnv() (string, error) {
	if s.opt == nil || s.opt.Env == nil {
		return "", fmt.Errorf("environment variable %s: no environment was given", s.ref)
	}
	v, ok := s.opt.Env(s.ref)
	if !ok || v == "" {
		return "", fmt.Errorf("environment variable %s is not set or empty: set it for the service, or name a file (file:/path)", s.ref)
	}
	return v, nil
}

func (s Secret) fromFile() (string, error) {
	if s.opt == nil || s.opt.ReadFile == nil {
		return "", fmt.Errorf("secret file %s: no way to read files was given", s.ref)
	}
	b, err := s.opt.ReadFile(s.ref)
	if err != nil {
		return "", fmt.Errorf("secret file %s: %w: create it for the service's user alone (mode 0600)", s.ref, err)
	}
	if len(b) > MaxSecret {
		return "", fmt.Errorf("secret file %s holds %d bytes, more than %d: is it the right file?", s.ref, len(b), MaxSecret)
	}
	v := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if v == "" {
		return "", fmt.Errorf("secret file %s is empty", s.ref)
	}
	return v, nil
}

// Equal reports whether both come from the same place; for two literals, whether they are the same.
func (s Secret) Equal(o Secret) bool { return s.kind == o.kind && s.ref == o.ref }

// String hides the value.
func (s Secret) String() string { return hidden }

// GoString hides the value.
func (s Secret) GoString() string { return hidden }

// Format hides the value under every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText hides the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalJSON hides the value.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }
