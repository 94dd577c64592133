// Command wanctl keeps latency flat while a line is full. See internal/cli for its commands.
package main

import (
	"os"

	"wanctl/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.System()))
}
