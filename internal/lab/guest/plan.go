// Package guest plays a scenario inside the laboratory's machine: it makes the network, loads it, moves the lines'
// capacity, breaks what is to break, and writes down what the flows felt.
//
// Its figures are the ground truth that controllers are judged by, so it shares nothing with them but the reading of
// queues.
package guest

import (
	"fmt"
	"time"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Plan is what the host hands into the machine.
type Plan struct {
	Scenario scenario.Scenario `json:"scenario"`
	// Controller is its name, for the record.
	Controller string `json:"controller"`
	// Shaper is the share of a line's nominal rate that CAKE starts with; 0 leaves the lines without a shaper.
	Shaper unit.PPM `json:"shaper_ppm"`
	// Processes run in the router's namespace, in this order, from before the start to after the end.
	Processes []Process `json:"processes"`
	// Virtual says that the machine's clock is virtual: CPU time means nothing.
	Virtual bool   `json:"virtual"`
	Version string `json:"version"`
}

// Role is what a process is in the story.
type Role string

// The roles.
const (
	// ControllerRole is the controller under test: [scenario.KillController] hits it.
	ControllerRole Role = "controller"
	// RouterRole is an emulated router's command line: [scenario.RouterReboot] hits it.
	RouterRole Role = "router"
)

// Process is a program in the router's namespace.
type Process struct {
	Name string   `json:"name"`
	Role Role     `json:"role"`
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"`
	// Ready is a text on its output that says it can be used; empty: at once.
	Ready string `json:"ready,omitempty"`
	// Lines are the cycle lines' files, one per link, that its states are read from; empty: it has none.
	Lines []string `json:"lines,omitempty"`
}

// The world's addresses. Client i leaves through link i; the router's own address on link i is what its probes carry.
const (
	serverAddr = "203.0.113.1"
	// settle is how long the controllers see the idle lines before the scenario starts.
	settle = 5 * time.Second
	// silence is the capacity of an outage. HTB keeps the debt of what it sends at such a rate, so it is not lower: a
	// full packet takes 120 ms, which is the definition of an outage in the figures, too.
	silence = 100 * unit.Kbps
)

func clientAddr(i int) string    { return fmt.Sprintf("192.168.1.%d", 11+i) }
func routerAddr(i int) string    { return fmt.Sprintf("100.64.%d.2", i+1) }
func reflectorAddr(i int) string { return fmt.Sprintf("198.51.100.%d", i+1) }

// RouterAddr is the router's address on link i, the source of a controller's probes.
func RouterAddr(i int) string { return routerAddr(i) }

// ReflectorAddr is the address of reflector i.
func ReflectorAddr(i int) string { return reflectorAddr(i) }

// Device is the router's interface that carries our shaper for one direction of link i.
func Device(i int, d link.Direction) string {
	if d == link.Up {
		return fmt.Sprintf("w%d", i+1)
	}
	return fmt.Sprintf("ifb-w%d", i+1)
}

// wire is the provider's interface that carries the bottleneck of one direction.
func wire(i int, d link.Direction) string {
	if d == link.Up {
		return fmt.Sprintf("u%d", i+1)
	}
	return fmt.Sprintf("a%d", i+1)
}

func isp(i int) string { return fmt.Sprintf("isp%d", i+1) }

// The namespaces that are always there.
const (
	client = "cli"
	router = "rtr"
	net0   = "net"
)

var directions = []link.Direction{link.Down, link.Up}
