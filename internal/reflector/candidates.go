package reflector

import "net/netip"

// DefaultUse is how many reflectors are in use where there are more: with five, two liars are outvoted.
const DefaultUse = 5

// Candidate is a host that may be probed.
type Candidate struct {
	// Name is what a person calls it; empty is its address.
	Name string
	// Addr is where it is, the zero Addr where only its name is known.
	Addr netip.Addr
	// Operator is who runs it. Hosts of one operator fail together and count as one voice.
	Operator string
}

// String returns the name, or the address where there is none.
func (c Candidate) String() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Addr.String()
}

// DefaultReflectors returns well-known public resolvers that answer ICMP echoes from many places by anycast, so that one
// of each is near nearly everywhere. All are IPv4: only there ICMP has timestamps. The first of each operator comes
// first, in the order of how widely they are spread; the rules of [Pool] find out which are near here. Yandex (77.88.8.8)
// is left out: it has few places outside its own country.
func DefaultReflectors() []Candidate {
	out := make([]Candidate, 0, len(resolvers)*2)
	for i := range 2 {
		for _, r := range resolvers {
			out = append(out, Candidate{Addr: netip.MustParseAddr(r.addrs[i]), Operator: r.operator})
		}
	}
	return out
}

var resolvers = []struct {
	operator string
	addrs    [2]string
}{
	{"cloudflare", [2]string{"1.1.1.1", "1.0.0.1"}},                // Cloudflare, Inc., on a prefix of APNIC
	{"google", [2]string{"8.8.8.8", "8.8.4.4"}},                    // Google LLC, Google Public DNS
	{"quad9", [2]string{"9.9.9.9", "149.112.112.112"}},             // Quad9 Foundation, Switzerland
	{"opendns", [2]string{"208.67.222.222", "208.67.220.220"}},     // Cisco Systems, OpenDNS
	{"adguard", [2]string{"94.140.14.14", "94.140.15.15"}},         // AdGuard Software Ltd., Cyprus
	{"ultradns", [2]string{"64.6.64.6", "64.6.65.6"}},              // DigiCert (before: Vercara, Neustar, Verisign), UltraDNS Public
	{"controld", [2]string{"76.76.2.0", "76.76.10.0"}},             // Control D Inc., Canada, of the makers of Windscribe
	{"cleanbrowsing", [2]string{"185.228.168.9", "185.228.169.9"}}, // CleanBrowsing (Noc.org), security filter
	{"dnssb", [2]string{"185.222.222.222", "45.11.45.11"}},         // xTom GmbH, DNS.SB
	{"lumen", [2]string{"4.2.2.1", "4.2.2.2"}},                     // Lumen Technologies (before: Level 3); tolerated, never promised
}
