package rosim

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Every field of a dialect can be set by name, to each of its values, and no other field changes.
func TestSwitches(t *testing.T) {
	moved := map[string]bool{}
	for _, line := range SwitchNames() {
		usage, _, _ := strings.Cut(line, "  ")
		name, values, _ := strings.Cut(usage, "=")
		for value := range strings.SplitSeq(values, "|") {
			var plain, d Dialect
			if err := d.Set(name + "=" + value); err != nil {
				t.Error(err)
			}
			var changed []string
			for i := range reflect.TypeFor[Dialect]().NumField() {
				if !reflect.DeepEqual(reflect.ValueOf(plain).Field(i).Interface(), reflect.ValueOf(d).Field(i).Interface()) {
					changed = append(changed, reflect.TypeFor[Dialect]().Field(i).Name)
				}
			}
			if len(changed) > 1 || len(changed) == 0 && value != "off" {
				t.Errorf("%s=%s changed %v", name, value, changed)
			}
			for _, c := range changed {
				moved[c] = true
			}
			if err := d.fill(); err != nil {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
	if n := reflect.TypeFor[Dialect]().NumField(); len(moved) != n {
		t.Errorf("%d of %d fields can be set: %v", len(moved), n, moved)
	}
	d := Dialects()["reflect"]
	if err := d.Set("lf"); err != nil || !d.LF {
		t.Error("a bare name does not switch on")
	}
	if err := d.Set("lf=off"); err != nil || d.LF || d.ExitStatus != ExitReflect {
		t.Errorf("%+v, %v", d, err)
	}
	for setting, says := range map[string]string{
		"exit-status": "always-zero", "exit-status=1": "reflect-error", "lf=maybe": "on or off", "nonsense=on": "reset-on-change", "": "no switch",
	} {
		if err := d.Set(setting); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", setting, err)
		}
	}
}

// A user whose password and keys are refused from the next login on, and later are not.
func TestWrongPasswordFault(t *testing.T) {
	served(t, nil, func(t *testing.T, b *bench) {
		try := func() error {
			c, err := b.dial(b.config(ssh.PublicKeys(b.key), ssh.Password("secret")))
			if err == nil {
				_ = c.Close()
			}
			return err
		}
		if err := try(); err != nil {
			t.Fatal(err)
		}
		if err := b.Inject("wrong-password=" + DefaultUser); err != nil {
			t.Fatal(err)
		}
		if err := try(); err == nil {
			t.Error("a login with a key that is refused")
		}
		if err := b.Inject("right-password=" + DefaultUser); err != nil {
			t.Fatal(err)
		}
		if err := try(); err != nil {
			t.Error(err)
		}
		if err := b.Inject("wrong-password=nobody"); err == nil {
			t.Error("a user who is not there")
		}
	})
	if !slices.ContainsFunc(FaultNames(), func(s string) bool { return strings.HasPrefix(s, "wrong-password=USER") }) {
		t.Error("not listed")
	}
}
