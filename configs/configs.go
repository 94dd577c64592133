// Package configs embeds the shipped example configurations, for the demo and the simulator.
package configs

import "embed"

// Files holds the examples by their file names.
//
//go:embed *.yaml
var Files embed.FS
