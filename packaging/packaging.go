// Package packaging embeds what a host needs besides the program: the units of systemd with their drop-ins.
package packaging

import "embed"

// Systemd holds the units, as they lie in /usr/lib/systemd/system, and in drop-ins/ what an administrator may add.
//
//go:embed systemd
var Systemd embed.FS
