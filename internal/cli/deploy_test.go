package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"wanctl/internal/deploy"
	"wanctl/internal/install"
)

// Colours are for terminals, and for those who want them.
func TestStepsOnATerminal(t *testing.T) {
	for _, c := range []struct {
		terminal bool
		noColour string
		want     string
	}{
		{false, "", "cake  !!   check           one\n"},
		{true, "1", "cake  !!   check           one\n"},
		{true, "", "cake  \x1b[33m!!\x1b[0m   check           one\n"},
	} {
		var out bytes.Buffer
		app := &App{Stdout: &out, Terminal: c.terminal, Getenv: func(string) string { return c.noColour }}
		showEvent(app, "cake", install.Event{Step: "check", State: install.Warning, Text: "one\ntwo"})
		first, rest, _ := strings.Cut(out.String(), "\n")
		if strings.Join(strings.Fields(first), " ") != strings.Join(strings.Fields(c.want), " ") || !strings.HasSuffix(rest, " two\n") {
			t.Errorf("%+v: %q", c, out.String())
		}
	}
}

func TestResults(t *testing.T) {
	app := func() (*App, *bytes.Buffer) {
		var out bytes.Buffer
		return &App{Stdout: &out, Getenv: func(string) string { return "" }}, &out
	}
	for want, r := range map[string]install.Result{
		"cake: installed 2\n":   {Outcome: install.Installed, From: "1", To: "2"},
		"cake: rolled back \n":  {Outcome: install.RolledBack, From: "1"},
		"cake: not reached 1\n": {Outcome: deploy.Unreached, From: "1"},
		"cake: refused 1\n  error: a\n         b\n  way out: c\n":         {Outcome: install.Refused, From: "1", Error: "a\nb", Hint: "c"},
		"cake: remains 2\n  what remains, as root there:\n    x\n    y\n": {Outcome: install.Remains, To: "2", Remaining: []string{"x", "y"}},
	} {
		a, out := app()
		showResult(a, "cake", r)
		if out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
	}
	for o, want := range map[install.Outcome]int{install.Installed: 0, install.Unchanged: 0, install.Remains: 2, install.Broken: 3, install.Refused: 1, install.RolledBack: 1} {
		err := exitOf(o, false)
		var code exitCode
		if errors.As(err, &code) && int(code) != want || err == nil && want != 0 {
			t.Errorf("%s: %v", o, err)
		}
	}
	if exitOf(install.RolledBack, true) != nil {
		t.Error("to go back was asked for")
	}
}

// A secret comes from the environment, else from the terminal, once; without both it is said where to put it.
func TestSecretsAreAskedFor(t *testing.T) {
	env := map[string]string{}
	asked := 0
	app := &App{LookupEnv: func(n string) (string, bool) { v, ok := env[n]; return v, ok }}
	ask := newAsker(app)
	host := deploy.Host{Name: "cake", User: "kevin"}
	if _, err := ask.sudo(t.Context(), host); err == nil || !strings.Contains(err.Error(), "put it into WANCTL_DEPLOY_SUDO_PASSWORD") {
		t.Error(err)
	}
	app.AskSecret = func(_ context.Context, q string) (string, error) {
		asked++
		if q != "Password of kevin on cake, for sudo: " && q != "Passphrase of /k: " {
			t.Errorf("asks %q", q)
		}
		return "typed", nil
	}
	for range 2 {
		if v, err := ask.sudo(t.Context(), host); v != "typed" || err != nil {
			t.Error(v, err)
		}
		if v, err := ask.passphrase(t.Context(), "/k"); v != "typed" || err != nil {
			t.Error(v, err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
	env["WANCTL_DEPLOY_PASSPHRASE"] = "set"
	if v, err := ask.passphrase(t.Context(), "/k"); v != "set" || err != nil {
		t.Error(v, err)
	}
}
