package rosim

import (
	"crypto/rsa"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// policySet is a set of the rights that a group can give.
type policySet uint32

// policyNames are all rights there are, in the order in which the bits stand.
var policyNames = []string{
	"local", "telnet", "ssh", "ftp", "reboot", "read", "write", "policy", "test", "winbox", "password", "web", "sniff",
	"sensitive", "api", "romon", "rest-api",
}

// The rights that decide anything here.
const (
	policySSH       policySet = 1 << 2
	policyReboot    policySet = 1 << 4
	policyRead      policySet = 1 << 5
	policyWrite     policySet = 1 << 6
	policyPolicy    policySet = 1 << 7
	policyTest      policySet = 1 << 8
	policyWeb       policySet = 1 << 11
	policySensitive policySet = 1 << 13
	policyAPI       policySet = 1 << 14
	policyREST      policySet = 1 << 16
)

func (s policySet) has(want policySet) bool { return s&want == want }

// words lists every right, those that are missing with ! before them, as the router prints a group.
func (s policySet) words() value {
	out := list()
	for _, not := range []bool{false, true} {
		for i, n := range policyNames {
			if s.has(1<<i) != not {
				out.arr = append(out.arr, entry{val: str(map[bool]string{true: "!"}[not] + n)})
			}
		}
	}
	return out
}

// allPolicies are all rights there are.
func allPolicies() policySet { return 1<<len(policyNames) - 1 }

// policies reads a group's stored list on top of what it had.
func (s policySet) with(v value) policySet {
	for _, e := range v.arr {
		name, not := strings.CutPrefix(e.val.str, "!")
		if i := slices.Index(policyNames, name); i >= 0 {
			if s |= 1 << i; not {
				s &^= 1 << i
			}
		}
	}
	return s
}

// Group is a user group: a name and the rights its users have.
type Group struct {
	Name   string
	Policy []string
}

// defaultGroups are the groups a new router has.
func defaultGroups() []Group {
	read := []string{
		"local", "telnet", "ssh", "reboot", "read", "test", "winbox", "password", "web", "sniff", "sensitive", "api",
		"romon", "rest-api",
	}
	return []Group{
		{"read", read},
		{"write", append(slices.Clone(read), "write")},
		{"full", append(slices.Clone(read), "write", "ftp", "policy")},
	}
}

const (
	userPath    = "/user"
	groupPath   = "/user/group"
	keysPath    = "/user/ssh-keys"
	activePath  = "/user/active"
	servicePath = "/ip/service"
)

// account returns a user's credentials, nil when there is no such user. The caller holds the lock.
func (r *Router) account(name string) *User {
	if it := named(r.root.at(userPath), name); it != nil {
		return it.user
	}
	return nil
}

// wrongKey is the answer to what is no key.
const wrongKey = "failure: unable to load key file (wrong format or bad passphrase)!"

// keys are those that a user may log in with. The caller holds the lock.
func (r *Router) keys(user string) []ssh.PublicKey {
	var all []ssh.PublicKey
	for _, it := range r.root.at(keysPath).items {
		if it.text("user") == user {
			all = append(all, it.key)
		}
	}
	return all
}

// addKey lets a user log in with a key. The caller holds the lock.
func (r *Router) addKey(user string, key ssh.PublicKey) {
	m := r.root.at(keysPath)
	it := newItem(m)
	it.vals["user"] = str(user)
	it.keep(key, "")
	m.items = append(m.items, it)
}

// dropKeys takes all keys from a user. The caller holds the lock.
func (r *Router) dropKeys(user string) {
	m := r.root.at(keysPath)
	m.items = slices.DeleteFunc(m.items, func(it *item) bool { return it.text("user") == user })
}

// keep makes a key the item's own, with the text behind it.
func (it *item) keep(key ssh.PublicKey, info string) {
	it.key = key
	it.vals["key"] = str(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))
	it.vals["key-type"] = str(strings.TrimPrefix(key.Type(), "ssh-"))
	it.vals["fingerprint"], it.vals["info"] = str(ssh.FingerprintSHA256(key)), str(info)
	bits := int64(256)
	if k, ok := key.(ssh.CryptoPublicKey); ok {
		if r, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok {
			bits = int64(r.N.BitLen())
		}
	}
	it.vals["bits"] = num(bits)
}

// policies returns the rights a user has now; none when there is no such user. The caller holds the lock.
func (r *Router) policies(user string) policySet {
	it := named(r.root.at(userPath), user)
	if it == nil {
		return 0
	}
	g := named(r.root.at(groupPath), it.text("group"))
	if g == nil {
		return 0
	}
	return policySet(0).with(g.vals["policy"])
}

// rights are those of a caller of Exec; somebody who is no user may look. The caller holds no lock.
func (r *Router) rights(user string) policySet {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.account(user) == nil {
		return policyRead
	}
	return r.policies(user)
}

// permits refuses a command that the user may not give.
func (r *run) permits(c *call) error {
	tracked := c.menu != nil && c.menu.path == connectionPath
	if !r.may.has(c.needs()) || tracked && r.router.dialect.Tracking == TrackingDenied {
		return notPermitted()
	}
	return nil
}

// knows says whether the password is right.
func (u *User) knows(password []byte) bool {
	if u.Open && len(password) == 0 {
		return true
	}
	return u.Password != "" && subtle.ConstantTimeCompare([]byte(u.Password), password) == 1
}

// admits says whether a user may log in at all from where the connection comes from, with the right that this door asks
// for. The caller holds the lock.
func (r *Router) admits(u *User, name string, g *gate, need policySet) bool {
	it := named(r.root.at(userPath), name)
	return !u.Locked && it.vals["disabled"].num == 0 && within(g.source(), it.text("address")) && r.policies(name).has(need)
}

// loggedIn counts a login and shows it in /user/active.
func (r *Router) loggedIn(g *gate, user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logins++
	r.loggedOut(g) // who logs in again on the same connection
	g.active = r.showActive(g, user, strings.TrimSuffix(g.door.name, "-ssl"))
	r.notify()
}

// showActive adds a row to /user/active; nil when the menu is full. The caller holds the lock.
func (r *Router) showActive(g *gate, user, via string) *item {
	m := r.root.at(activePath)
	if m == nil || len(m.items) >= maxItems {
		return nil
	}
	it := newItem(m)
	it.vals["name"], it.vals["via"] = str(user), str(via)
	it.vals["when"] = str(r.date().Format("2006-01-02 15:04:05"))
	if a := g.source(); a.IsValid() {
		it.vals["address"] = str(a.String())
	}
	if u := named(r.root.at(userPath), user); u != nil {
		it.vals["group"] = u.vals["group"]
	}
	m.items = append(m.items, it)
	return it
}

// loggedOut takes a connection's row away; the rows of REST logins stay. The caller holds the lock.
func (r *Router) loggedOut(g *gate) {
	if g.active == nil {
		return
	}
	m := g.active.menu
	m.items = slices.DeleteFunc(m.items, func(it *item) bool { return it == g.active })
}

// service is what /ip/service says of a door.
type service struct {
	address, availableFrom string
	certificate            bool
	only12                 bool
	disabled               bool
	maxSessions            int
}

// service reads a door's row. The caller holds the lock.
func (r *Router) service(name string) service {
	it := named(r.root.at(servicePath), name)
	if it == nil {
		return service{disabled: true}
	}
	s := service{
		address: it.text("address"), availableFrom: it.text("available-from"), disabled: it.vals["disabled"].num != 0,
		only12: it.text("tls-version") == "only-1.2", maxSessions: r.opt.MaxSessions,
	}
	s.certificate = it.text("certificate") != "" && it.text("certificate") != "none"
	if v, ok := it.vals["max-sessions"]; ok {
		s.maxSessions = int(v.num)
	}
	return s
}

// SetGroup puts a user into another group: what it may do changes for the next login, over SSH for the next command.
func (r *Router) SetGroup(user, group string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	it := named(r.root.at(userPath), user)
	if it == nil {
		return fmt.Errorf("rosim: no user %q", user)
	}
	if named(r.root.at(groupPath), group) == nil {
		return fmt.Errorf("rosim: no group %q", group)
	}
	it.vals["group"] = str(group)
	r.notify()
	return nil
}

// SetReadOnly takes the write policy from a user, or gives it back.
func (r *Router) SetReadOnly(user string, on bool) error {
	if on {
		return r.SetGroup(user, "read")
	}
	return r.SetGroup(user, "write")
}
