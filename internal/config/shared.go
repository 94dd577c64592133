package config

import (
	"fmt"
	"math"
	"net/netip"
	"path"
	"strconv"
	"time"

	"wanctl/internal/unit"
)

// The transports.
const (
	// TransportSSH is a MikroTik router's command line, TransportREST and TransportAPI its other two doors, and TransportAuto
	// the best of these that opens.
	TransportSSH  = "ssh"
	TransportREST = "rest"
	TransportAPI  = "api"
	TransportAuto = "auto"
	// TransportLinux is this host's own kernel.
	TransportLinux = "linux"
)

// Router is how a router is reached.
type Router struct {
	// Host is a name or an address without brackets; Port is the transport's own unless given, and 0 under auto. Both
	// are empty on linux.
	Host string
	Port int
	User string
	// KeyFile is the private key; empty when a password is used.
	KeyFile string
	// KnownHosts is empty for the user's own known_hosts.
	KnownHosts string
	// Transport is ssh, rest, api, auto or linux.
	Transport string
	// Password is not set when a key is used alone.
	Password Secret
	// VerifySSL is false where any certificate is taken that is not pinned; TLSPin is the SHA-256 of the pinned one, zero for
	// none; Plain is rest or api without TLS. Insecure allows what sends the password to whoever answers.
	VerifySSL bool
	TLSPin    [32]byte
	Plain     bool
	Insecure  bool
	// Heartbeat asks for a scheduler on the router that gives it back when the controller's mark has gone.
	Heartbeat bool
}

// Probe is how probes are sent through the right line. Zero fields leave the choice to the route.
type Probe struct {
	Source    netip.Addr
	Interface string
	// Mark is a firewall mark; 0 is none.
	Mark uint32
}

// Bound reports whether anything ties the probes to a line.
func (b Probe) Bound() bool { return b.Source.IsValid() || b.Interface != "" || b.Mark != 0 }

// Timeouts are the patience with others.
type Timeouts struct {
	// Router is for one round trip to the router, Ping for one probe.
	Router, Ping time.Duration
	// PingTotal is for all probes of one measurement; 0 in a WAN config.
	PingTotal time.Duration
}

// Logging names files; an empty Main is standard error, an empty Debug nothing.
type Logging struct {
	Main, Debug string
	// MaxBytes is the size that no file grows beyond, 0 for any; Backups is how many older ones are kept of each.
	MaxBytes unit.Bytes
	Backups  int
}

// SameFiles says that both name the same files.
func (l Logging) SameFiles(o Logging) bool { return l.Main == o.Main && l.Debug == o.Debug }

// probe reads the three keys below a section.
func (p *parser) probe(section string) Probe {
	return Probe{
		Source:    p.addr(join(section, "ping_source_ip")),
		Interface: p.text(join(section, "ping_interface")),
		Mark:      uint32(p.num(join(section, "ping_fwmark"))),
	}
}

// leastLog is the smallest size of a log that is worth a rotation, in bytes: about 500 lines.
const leastLog = 64 << 10

func (p *parser) logging() Logging {
	const most, backups = "logging.max_bytes", "logging.backup_count"
	l := Logging{
		Main: p.text("logging.main_log"), Debug: p.text("logging.debug_log"),
		MaxBytes: unit.Bytes(p.num(most)), Backups: int(p.num(backups)),
	}
	if l.MaxBytes > 0 && l.MaxBytes < leastLog {
		p.errorf(p.at(most), most, fmt.Sprintf("want 0, for no rotation, or at least %d", leastLog), "%d bytes hold a few lines", l.MaxBytes)
	}
	return l
}

func (p *parser) timeouts() Timeouts {
	t := Timeouts{Router: p.seconds("timeouts.ssh_command"), Ping: p.seconds("timeouts.ping")}
	if _, ok := lookup(p.schema, "timeouts.ping_total"); ok {
		t.PingTotal = p.seconds("timeouts.ping_total")
	}
	return t
}

// seconds reads a key in s, millis one in ms; both round to the nanosecond.
func (p *parser) seconds(path string) time.Duration { return p.duration(path, time.Second) }

func (p *parser) duration(path string, unit time.Duration) time.Duration {
	return time.Duration(math.Round(p.num(path) * float64(unit)))
}

// fileOr returns a configured path, else name in dir, else "".
func (p *parser) fileOr(key, dir, name string) string {
	if s := p.text(key); s != "" {
		return s
	}
	if dir == "" || name == "" {
		return ""
	}
	return path.Join(dir, name)
}

// ordered checks that the values do not fall (or, strictly, that they rise) and reports each pair of
// neighbours that does not. Keys that may not be used are left out. about says how the whole order should be.
func (p *parser) ordered(strict bool, about string, paths ...string) {
	last := ""
	for _, path := range paths {
		if !p.ok(path) {
			continue
		}
		if a, b := p.num(last), p.num(path); last != "" && (a > b || (strict && a == b)) {
			word, key := "above", path
			if a == b {
				word = "equal to"
			}
			if !p.has(path) {
				key = last
			}
			p.errorf(p.at(key), p.name(key), "want "+about, "%s is %s %s", p.shown(last), word, p.shown(path))
		}
		last = path
	}
}

// shown prints a key's last part with its value, and says when it is the default.
func (p *parser) shown(path string) string {
	k, _ := lookup(p.schema, path)
	s := leaf(p.name(path)) + " (" + strconv.FormatFloat(p.num(path), 'f', -1, 64)
	if k.unit != "" {
		s += " " + k.unit
	}
	if !p.has(path) {
		s += ", the default"
	}
	return s + ")"
}
