package scenario

import (
	"bytes"
	"embed"
	"fmt"
	"strings"

	"wanctl/internal/document"
)

//go:embed files/*.yaml
var files embed.FS

// formerly are the names that scenarios had in the laboratory's prototype, whose figures are still quoted by them.
var formerly = map[string]string{
	"square5": "square", "s-leocc": "starlink", "s-taxi1": "lte-taxi", "s-verizon": "lte-driving",
}

// Names returns the shipped scenarios in the order of the alphabet.
func Names() []string {
	entries, err := files.ReadDir("files")
	if err != nil {
		panic(err) // the directory is part of the program
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return out
}

// Source returns a shipped scenario's file, a beginning for one's own.
func Source(name string) ([]byte, error) {
	if now, ok := formerly[name]; ok {
		name = now
	}
	b, err := files.ReadFile("files/" + name + ".yaml")
	if err != nil {
		hint := "there are " + strings.Join(Names(), ", ")
		if s, ok := document.Nearest(name, Names()); ok {
			hint = "did you mean " + s + "? There are " + strings.Join(Names(), ", ")
		}
		return nil, fmt.Errorf("no scenario is called %q; %s; a file of your own is named by its path", document.Printable(name, 40), hint)
	}
	return b, nil
}

// Builtin returns a shipped scenario. A name of the prototype's gives its successor, under its present name.
func Builtin(name string, o Options) (*Scenario, error) {
	b, err := Source(name)
	if err != nil {
		return nil, err
	}
	if now, ok := formerly[name]; ok {
		name = now
	}
	return Parse(name+".yaml", bytes.NewReader(b), o)
}
