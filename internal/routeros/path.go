package routeros

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Path is what the router's connection tracking tells of the echoes from one address.
type Path struct {
	// Echoes are tracked ICMP connections from that address, at most mostEchoes.
	Echoes []Echo
	// Addresses are the router's own, with the interfaces they are on.
	Addresses []Address
}

// Echo is one tracked ICMP connection.
type Echo struct {
	// To is where it goes.
	To netip.Addr
	// As is the address it left with, which replies come back to. Behind masquerading that is the router's own on the
	// interface it left through, without it the sender's.
	As netip.Addr
}

// Address is an address of the router's own.
type Address struct {
	Prefix    netip.Prefix
	Interface string
}

// mostEchoes bounds the connections that are read of one sender: three reflectors make three.
const mostEchoes = 16

// pathLine builds the line that reads the tracked echoes of one address, and the router's own addresses. An address
// stands in connection tracking with a port behind it or without, depending on version and protocol, so it is looked for
// as the beginning of a text.
func pathLine(source netip.Addr) (string, error) {
	if err := checkSource(source); err != nil {
		return "", err
	}
	pattern := "^" + strings.ReplaceAll(source.String(), ".", `\.`) + "(:|$)"
	var s script
	s.add(fmt.Sprintf(":local c [%s find where protocol=icmp src-address~%s]", connectionMenu, quote(pattern)))
	of := func(property string) string { return get(connectionMenu, "i", property) }
	s.add(fmt.Sprintf(":foreach i in=[:pick $c 0 %d] do={%s}", mostEchoes,
		put("echo", of("dst-address"), of("reply-dst-address"))))
	s.add(":foreach i in=[" + addressMenu + " find where disabled=no] do={" +
		put("address", get(addressMenu, "i", "address"), get(addressMenu, "i", "interface")) + "}")
	return s.line(), nil
}

// parseEcho reads the fields dst-address and reply-dst-address.
func parseEcho(f []string) (e Echo, err error) {
	if e.To, err = parseAddress(f[0]); err != nil {
		return e, err
	}
	e.As, err = parseAddress(f[1])
	return e, err
}

// parseAddress reads an address that may have a port behind it.
func parseAddress(s string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a, nil
	}
	p, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is no address", clip(s))
	}
	return p.Addr(), nil
}

// parseOwn reads the fields address and interface. The interface comes last: it alone can hold a bar.
func parseOwn(f []string) (Address, error) {
	p, err := netip.ParsePrefix(f[0])
	if err != nil {
		a, bare := netip.ParseAddr(f[0])
		if bare != nil {
			return Address{}, errors.Join(err, bare)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	return Address{Prefix: p, Interface: strings.Join(f[1:], "|")}, nil
}
