package cli

import (
	"fmt"
	"strings"

	"wanctl/internal/config"
)

type manCmd struct {
	Page string `arg:"" optional:"" enum:"wanctl,wanctl-config" default:"wanctl" help:"wanctl, the commands, or wanctl-config, the configuration files."`
}

// Help says how to read it.
func (manCmd) Help() string {
	return `Prints a manual page, made of the same text as --help and of what the program checks in a configuration file. The packages
install both pages; else read it with "wanctl man | man -l -".

Example:

    wanctl man wanctl-config`
}

// Run prints the page.
func (c manCmd) Run(app *App) error {
	text := configManual
	if c.Page == "wanctl" {
		text = func() (string, error) { return commandManual(app) }
	}
	s, err := text()
	if err == nil {
		_, err = fmt.Fprint(app.Stdout, s)
	}
	return err
}

// roff escapes a line of text for man(7).
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "…", "...", "≥", ">=", "→", "->").Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

// prose writes a help text: paragraphs, and indented lines as they are.
func prose(b *strings.Builder, text string) {
	code := false
	for line := range strings.SplitSeq(text, "\n") {
		example, is := strings.CutPrefix(line, "    ")
		switch {
		case is && !code:
			b.WriteString(".RS 4\n.nf\n")
		case !is && code:
			b.WriteString(".fi\n.RE\n")
		}
		switch {
		case is:
			line = example
		case line == "" && !code:
			line = ".PP"
		}
		code = is
		switch {
		case line == ".PP":
			b.WriteString(".PP\n")
		case line != "":
			b.WriteString(roff(line) + "\n")
		}
	}
	if code {
		b.WriteString(".fi\n.RE\n")
	}
}

func manHead(b *strings.Builder, name, section, what string) {
	fmt.Fprintf(b, ".TH %s %s \"\" \"wanctl %s\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(roff(name)), section, roff(version()), roff(name), roff(what))
}

// environment is what of a process's environment wanctl looks at.
var environment = []struct{ name, meaning string }{
	{"STATE_DIRECTORY, RUNTIME_DIRECTORY", "Directories for files that no configuration names; the service manager sets them."},
	{"CREDENTIALS_DIRECTORY", "Where the service manager put the secrets that it read for the service."},
	{"XDG_STATE_HOME, XDG_RUNTIME_DIR", "The first two for other users than root."},
	{"NOTIFY_SOCKET, WATCHDOG_USEC", "The service manager is told when every loop works, and as long as it does."},
}

// commandManual is wanctl(1).
func commandManual(app *App) (string, error) {
	parser, err := newParser(app, func(int) {})
	if err != nil {
		return "", err
	}
	head, rest, _ := strings.Cut(description, "\n\n")
	var b strings.Builder
	manHead(&b, "wanctl", "1", strings.TrimSuffix(strings.TrimPrefix(head, "wanctl "), "."))
	b.WriteString(".SH SYNOPSIS\n.B wanctl\n.I command\n.RI [ flags ]\n.SH DESCRIPTION\n")
	prose(&b, rest)
	b.WriteString(".SH COMMANDS\n")
	for _, n := range commands(parser.Model.Node) {
		fmt.Fprintf(&b, ".SS \"%s\"\n%s\n", roff(n.Summary()), roff(n.Help))
		if n.Detail != "" {
			b.WriteString(".PP\n")
			prose(&b, n.Detail)
		}
		for _, p := range n.Positional {
			fmt.Fprintf(&b, ".TP\n.I %s\n%s\n", roff(p.Name), roff(p.Help))
		}
		for _, f := range n.Flags {
			if f.Hidden || f.Name == "help" {
				continue
			}
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(f.String()), roff(f.Help))
		}
	}
	b.WriteString(".SH ENVIRONMENT\n")
	for _, e := range environment {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(e.name), roff(e.meaning))
	}
	b.WriteString(".SH SEE ALSO\n.BR wanctl\\-config (5)\n")
	return b.String(), nil
}

// configManual is wanctl-config(5).
func configManual() (string, error) {
	wan, steering := config.Keys()
	var b strings.Builder
	manHead(&b, "wanctl-config", "5", "configuration files of wanctl")
	b.WriteString(".SH DESCRIPTION\n")
	prose(&b, `YAML, one file per line and one for steering; the kind is known by the content. "wanctl check FILE" reports every error of a
file at once, with its place and a way out. Rates are in Mbit/s (1 Mbit is 1 000 000 bit). Nested keys are written with a dot here.`)
	for _, kind := range []struct {
		title string
		keys  []config.KeyDoc
	}{{"A LINE", wan}, {"STEERING", steering}} {
		fmt.Fprintf(&b, ".SH \"%s\"\n", kind.title)
		for _, k := range kind.keys {
			fmt.Fprintf(&b, ".TP\n.B %s\n", roff(k.Path))
			if k.Doc != "" {
				b.WriteString(roff(k.Doc) + "\n")
			}
			if k.Facts != "" {
				fmt.Fprintf(&b, ".br\n[%s]\n", roff(k.Facts))
			}
		}
	}
	b.WriteString(".SH SEE ALSO\n.BR wanctl (1)\n")
	return b.String(), nil
}
