package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// drivers make a shell complete the words of $1…, of which the last is not finished, and print the candidates.
var drivers = map[string]struct{ program, debian, script string }{
	"bash": {"bash", "bash", `source "$SCRIPT"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
compopt() { :; } # there is no terminal to tell
_wanctl
printf '%s\n' "${COMPREPLY[@]}"`},
	// zsh hands candidates to its editor; here these two functions are that.
	"zsh": {"zsh", "zsh", `compdef() { : }
compset() { words[CURRENT]=${words[CURRENT]#*=} }
_describe() { local c; for c in "${(@P)2}"; do c=${c%%:*}; [[ $c == ${words[CURRENT]}* ]] && print -r -- $c; done; return 0 }
_files() { local f; for f in ${words[CURRENT]}*(N); do print -r -- $f; done }
source "$SCRIPT"
words=("$@") CURRENT=$#
_wanctl`},
	"fish": {"fish", "fish", `source $SCRIPT
complete -C "$argv" | string replace -r '\t.*' ''
true # it fails where it had nothing to replace`},
}

// Every shell offers the same.
func TestCompletion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range []string{"one.yaml", "two.txt"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for shell, d := range drivers {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(d.program)
			if err != nil {
				t.Skipf("no %s here (Debian package %s)", d.program, d.debian)
			}
			var script bytes.Buffer
			if code := Main([]string{"completion", shell}, &App{Stdout: &script, Stderr: os.Stderr}); code != exitOK {
				t.Fatalf("exit code %d", code)
			}
			file := filepath.Join(t.TempDir(), "completion")
			if err := os.WriteFile(file, script.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				line string
				want []string
			}{
				{"wanctl rou", []string{"router"}},
				{"wanctl router ", []string{"apply", "plan", "show", "trust", "undo"}},
				{"wanctl sim b", []string{"bench"}},
				{"wanctl completion ", []string{"bash", "fish", "zsh"}},
				{"wanctl autorate --on", []string{"--once"}},
				{"wanctl router plan --u", []string{"--user"}},
				{"wanctl sim play --control ", []string{"none", "static", "wanctl"}},
				{"wanctl sim play --control st", []string{"static"}},
				{"wanctl check on", []string{"one.yaml"}},
				{"wanctl check --json tw", []string{"two.txt"}},
				{"wanctl status --run-dir on", []string{"one.yaml"}},
				{"wanctl version ", nil},
				{"wanctl lab-", nil}, // hidden
			} {
				words := strings.Split(c.line, " ")
				var args []string
				switch shell {
				case "bash":
					args = append([]string{"--norc", "-c", d.script, "bash"}, words...)
				case "zsh":
					args = append([]string{"-f", "-c", d.script, "zsh"}, words...)
				default:
					args = []string{"--no-config", "-c", d.script, c.line}
				}
				cmd := exec.Command(path, args...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "SCRIPT="+file, "HOME="+dir)
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v\n%s", c.line, err, out)
				}
				got := strings.Fields(string(out))
				slices.Sort(got)
				if !slices.Equal(got, c.want) {
					t.Errorf("%q offers %q, want %q", c.line, got, c.want)
				}
			}
		})
	}
}

func TestCompletionRefusesOtherShells(t *testing.T) {
	var out, errs bytes.Buffer
	if code := Main([]string{"completion", "csh"}, &App{Stdout: &out, Stderr: &errs}); code != exitUsage || !strings.Contains(errs.String(), "bash") {
		t.Errorf("exit code %d, %s", code, errs.String())
	}
}

// The manual pages are what groff takes without a warning, and hold every command, flag and key.
func TestManualPages(t *testing.T) {
	t.Parallel()
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("no groff here (Debian package groff-base)")
	}
	for page, want := range map[string][]string{
		"wanctl":        {"router plan", "--run-dir", "CREDENTIALS_DIRECTORY", "wanctl check configs/att_config.yaml"},
		"wanctl-config": {"router.ssh_key", "continuous_monitoring.interval_ms", "50 to 60000 ms", "mangle_rule.comment"},
	} {
		var text bytes.Buffer
		if code := Main([]string{"man", page}, &App{Stdout: &text, Stderr: os.Stderr}); code != exitOK {
			t.Fatalf("%s: exit code %d", page, code)
		}
		cmd := exec.Command(groff, "-man", "-ww", "-Kutf8", "-Tascii", "-P-cbou", "-rLL=400n")
		cmd.Stdin = &text
		var warnings bytes.Buffer
		cmd.Stderr = &warnings
		out, err := cmd.Output()
		if err != nil || warnings.Len() > 0 {
			t.Errorf("%s: %v\n%s", page, err, warnings.Bytes())
		}
		for _, w := range want {
			if !bytes.Contains(out, []byte(w)) {
				t.Errorf("%s(…) does not say %q", page, fmt.Sprint(w))
			}
		}
	}
}
