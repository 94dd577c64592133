package cli

import (
	"fmt"
	"runtime"
)

type versionCmd struct{}

// Help says what the line holds.
func (versionCmd) Help() string {
	return `One line: version, Go version and platform.

Example:

    wanctl version`
}

// Run prints one line.
func (versionCmd) Run(app *App) error {
	_, err := fmt.Fprintf(app.Stdout, "wanctl %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
