package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"wanctl/internal/document"
)

// IRTT is a server that speaks IRTT.
type IRTT struct {
	// Host is a name or an address without brackets, and Port its own or the protocol's.
	Host string
	Port int
	// Key is the key of its HMACs; it may not be set.
	Key Secret
}

// IRTTScheme begins the name of an IRTT server among the hosts of a line.
const IRTTScheme = "irtt://"

// String names the server among a line's hosts.
func (i IRTT) String() string { return IRTTScheme + net.JoinHostPort(i.Host, strconv.Itoa(i.Port)) }

const irttPort = 2112

// irtt reads the server's keys.
func (p *parser) irtt() (i IRTT) {
	server := p.text(cm + ".irtt.server")
	if server == "" {
		return i
	}
	host, port := splitServer(server)
	i = IRTT{Host: host, Port: irttPort, Key: p.values[cm+".irtt.hmac_key"].secret}
	if n, err := strconv.Atoi(port); err == nil { // the schema has looked at it
		i.Port = n
	}
	return i
}

// splitServer cuts a server into its host, without brackets, and its port, "" where there is none.
func splitServer(s string) (host, port string) {
	bare := trimBrackets(s)
	if _, err := netip.ParseAddr(bare); err == nil {
		return bare, ""
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		return trimBrackets(s[:i]), s[i+1:]
	}
	return s, ""
}

func checkServer(s string) (why, hint string) {
	host, port := splitServer(s)
	if n, err := strconv.ParseUint(port, 10, 16); (err != nil || n == 0) && host+port != trimBrackets(s) {
		return strconv.Quote(document.Printable(s, 60)) + " has no port that is one", "1 to 65535 behind the colon, or leave both out"
	}
	return checkHost(host)
}
