// Package life takes the packages through their life: built for every architecture, installed, upgraded, removed and purged
// in a Debian root, and run under a real systemd in a machine of their own.
package life
