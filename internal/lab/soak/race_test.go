//go:build race

package soak

// raced says that the race detector is in.
const raced = true
