package config

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
)

// services are the usual ports of a router's services; the plain ones have no TLS.
var services = map[int]struct {
	transport string
	plain     bool
}{
	22:   {TransportSSH, false},
	80:   {TransportREST, true},
	443:  {TransportREST, false},
	8728: {TransportAPI, true},
	8729: {TransportAPI, false},
}

// ports are the usual ones of the transports, the safe ones.
var ports = map[string]int{TransportSSH: 22, TransportREST: 443, TransportAPI: 8729}

// router reads and judges the router section.
func (p *parser) router() Router {
	r := Router{
		Host: p.text("router.host"), Port: int(p.num("router.port")), User: p.text("router.user"),
		KeyFile: p.opt.secretFile(p.text("router.ssh_key")), KnownHosts: p.opt.secretFile(p.text("router.known_hosts")),
		Transport: p.text("router.transport"), Password: p.values["router.password"].secret,
		VerifySSL: p.flag("router.verify_ssl"), Insecure: p.flag("router.insecure"),
		Heartbeat: p.flag("router.heartbeat"),
	}
	if a, err := netip.ParseAddr(trimBrackets(r.Host)); err == nil {
		r.Host = a.String()
	}
	if pin := p.text("router.tls_pin"); pin != "" {
		var err error
		if r.TLSPin, err = parsePin(pin); err != nil {
			p.errorf(p.at("router.tls_pin"), "router.tls_pin", "write sha256: and the fingerprint that the router shows for its certificate "+
				"(/certificate/print detail), or that wanctl's own error names", "%v", err)
		}
	}
	if r.Transport == TransportLinux {
		return p.thisHost(r)
	}
	p.require("router.host", "router.user")
	if r.Port == 0 {
		r.Port = ports[r.Transport]
	}
	s, usual := services[r.Port]
	r.Plain = usual && s.plain && s.transport == r.Transport
	if usual && s.transport != r.Transport && r.Transport != TransportAuto {
		p.warnf(p.at("router.port"), "router.port", "remove the key",
			"%d is the port of another service of the router, %s usually has %d", r.Port, r.Transport, ports[r.Transport])
	}
	switch r.Transport {
	case TransportSSH:
		p.sshDoor(r)
	case TransportAuto:
		p.autoDoor(r)
	default:
		p.tlsDoor(r)
	}
	return r
}

// heartbeat demands that a router knows what to restore, and warns where a stop shall leave something else.
func (p *parser) heartbeat(w *WAN) {
	switch {
	case !w.Router.Heartbeat:
	case w.Base.Down <= 0 || w.Base.Up <= 0:
		p.errorf(p.at("router.heartbeat"), "router.heartbeat", "give base_mbps for both directions",
			"needs to know the rates that the router shall go back to")
	case w.OnExit != ExitBase:
		p.warnf(p.at("router.heartbeat"), "router.heartbeat", "write on_exit: base",
			"restores base_mbps within a minute of a clean stop, too, whatever on_exit says")
	}
}

// keyOrPassword demands one way to log in.
func (p *parser) keyOrPassword() {
	if !p.has("router.ssh_key") && !p.has("router.password") && !p.lost("router.host") {
		p.errorf(p.at("router"), "router.ssh_key", "or give router.password", "is required for ssh without a password")
	}
}

func (p *parser) sshDoor(r Router) {
	p.keyOrPassword()
	if r.Insecure {
		p.warnf(p.at("router.insecure"), "router.insecure", "remove it", "has no effect on ssh, which always verifies the host key")
	}
	if p.has("router.tls_pin") {
		p.warnf(p.at("router.tls_pin"), "router.tls_pin", "remove it", "has no effect on ssh, which has a host key and no certificate")
	}
}

func (p *parser) autoDoor(r Router) {
	p.keyOrPassword()
	if p.has("router.port") {
		p.errorf(p.at("router.port"), "router.port", "remove it, or name the transport whose port it is",
			"has no meaning with transport auto, which tries three services on their usual ports")
	}
	if !p.has("router.password") && p.has("router.ssh_key") {
		p.warnf(p.at("router.transport"), "router.transport", "write ssh, or give router.password too",
			"auto without a password can use ssh alone: api and rest have no keys")
	}
	p.verified(r)
}

// tlsDoor judges what rest and api need.
func (p *parser) tlsDoor(r Router) {
	if !p.has("router.password") && !p.lost("router.host") {
		p.errorf(p.at("router"), "router.password", "give the password of a user of its own: \"${NAME}\" or file:/path", "is required for %s, which has no keys", r.Transport)
	}
	for _, k := range []string{"router.ssh_key", "router.known_hosts"} {
		if p.has(k) {
			p.warnf(p.at(k), k, "remove it", "has no effect on %s, which logs in with a password and is known by a certificate", r.Transport)
		}
	}
	if r.Transport == TransportREST && strings.Contains(r.User, ":") {
		p.errorf(p.at("router.user"), "router.user", "use another user, or api", "holds a colon, which ends a name in HTTP")
	}
	if !r.Plain {
		p.verified(r)
		return
	}
	switch {
	case p.has("router.tls_pin"):
		p.errorf(p.at("router.tls_pin"), "router.tls_pin", "remove router.port", "pins a certificate, and port %d has none", r.Port)
	case loopback(r.Host):
	case !r.Insecure:
		p.errorf(p.at("router.port"), "router.port", "remove the key for the service over TLS, or set insecure: true where nobody else is on the way",
			"%d is %s without TLS: the password would cross the network in clear", r.Port, r.Transport)
	default:
		p.warnf(p.at("router.port"), "router.port", "use the service over TLS", "%d is %s without TLS: the password crosses the network in clear", r.Port, r.Transport)
	}
}

// verified demands a proof of who answers.
func (p *parser) verified(r Router) {
	switch {
	case r.VerifySSL || p.has("router.tls_pin"):
		if r.Insecure {
			p.warnf(p.at("router.insecure"), "router.insecure", "remove it", "has no effect: the certificate is verified or pinned all the same")
		}
	case !r.Insecure:
		p.errorf(p.at("router.verify_ssl"), "router.verify_ssl", "pin the router's certificate (tls_pin), or set insecure: true where nobody else is on the way",
			"false takes any certificate: the password would go to whoever answers")
	default:
		p.warnf(p.at("router.verify_ssl"), "router.verify_ssl", "pin the router's certificate (tls_pin)", "false takes any certificate: the password goes to whoever answers")
	}
}

// loopback reports whether a host names this machine alone.
func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// parsePin reads a SHA-256: sha256: and 64 hexadecimal digits, with or without colons between the bytes, or base64.
func parsePin(s string) (pin [32]byte, err error) {
	body, ok := strings.CutPrefix(s, "sha256:")
	if !ok {
		return pin, errors.New("does not begin with sha256 and a colon")
	}
	sum, err := hex.DecodeString(strings.ReplaceAll(body, ":", ""))
	if err != nil {
		if sum, err = base64.StdEncoding.DecodeString(body); err != nil {
			sum, err = base64.RawStdEncoding.DecodeString(body)
		}
	}
	if err != nil || len(sum) != len(pin) {
		return pin, errors.New("is not a SHA-256 in hexadecimal or base64")
	}
	copy(pin[:], sum)
	if pin == [32]byte{} {
		return pin, errors.New("is all zeros, which no certificate has")
	}
	return pin, nil
}

// thisHost judges the router section of a file about this host itself.
func (p *parser) thisHost(r Router) Router {
	for _, k := range []string{
		"router.host", "router.port", "router.user", "router.ssh_key", "router.known_hosts", "router.password", "router.tls_pin", "router.insecure",
		"router.heartbeat",
	} {
		if p.has(k) {
			p.warnf(p.at(k), k, "remove it", "has no effect with transport linux, which is this host")
		}
	}
	return Router{Transport: r.Transport}
}

func trimBrackets(s string) string {
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		return s[1 : len(s)-1]
	}
	return s
}
