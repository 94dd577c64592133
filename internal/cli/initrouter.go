package cli

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wanctl/internal/blueprint"
	"wanctl/internal/preset"
	"wanctl/internal/routeros"
)

// place finds out where the router is.
func (w *wizard) place() error {
	if w.Linux {
		return nil
	}
	if w.Router == "" {
		gateway := ""
		for _, r := range w.app.kernelRoutes() {
			if r.gateway.IsValid() {
				gateway = r.gateway.String()
				fmt.Fprintf(w.app.Stdout, "This host's default route leads to %s, by %s.\n", gateway, r.iface)
				break
			}
		}
		host, err := w.ask(`Address of the MikroTik router, or "linux" if this host is the router`, "--router or --linux", gateway, judgeHost)
		if err != nil {
			return err
		}
		w.Router = host
	} else if err := judgeHost(w.Router); err != nil {
		return fmt.Errorf("--router %s: %w", w.Router, err)
	}
	if strings.EqualFold(w.Router, "linux") {
		w.Linux, w.Router = true, ""
		return nil
	}
	w.house.Router = &preset.Router{Host: w.Router, Port: w.Port, User: w.User}
	return nil
}

func judgeHost(s string) error {
	if strings.ContainsAny(s, " \t/@") {
		return fmt.Errorf("%q is no address: write a name or an address alone, no user and no URL", s)
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	if host, port, err := net.SplitHostPort(s); err == nil && host != "" {
		return fmt.Errorf("%q holds a port: write the host alone, and --port %s with --transport", s, port)
	}
	return nil
}

// doorPatience is how long one door has to show itself: a port that swallows what is sent must not hold everything up.
const doorPatience = 5 * time.Second

// meet finds a door that shows itself, and has a person say whether that is the router.
func (w *wizard) meet() error {
	if w.Transport == "auto" && w.Port != 0 {
		return errors.New("--port: name the service too whose port it is (--transport api, rest or ssh)")
	}
	if w.Transport == "rest" && strings.Contains(w.User, ":") {
		return fmt.Errorf("--user %s: a colon ends a name in HTTP; use another user, or another --transport", w.User)
	}
	r := w.house.Router
	r.KnownHosts = filepath.Join(w.Dir, "ssh", "known_hosts")
	var closed []string
	for _, t := range routeros.Doors() {
		if w.Transport != "auto" && t.String() != w.Transport || w.SSHKey != "" && t != routeros.SSH {
			continue
		}
		o := routeros.Options{
			Transport: t, Host: r.Host, Port: r.Port, User: w.User, KnownHosts: r.KnownHosts, Timeout: doorPatience,
			Password: func() (string, error) { return "", errors.New("nothing is shown to a router that is not known yet") },
		}
		cl, err := routeros.New(o)
		if err != nil {
			return err
		}
		seen, err := cl.Fingerprint(w.ctx)
		if err == nil {
			w.door = o
			err = w.trust(cl, seen)
			_ = cl.Close()
			if len(closed) > 0 {
				r.TransportWhy = "the first of api, rest and ssh that showed itself"
			}
			return err
		}
		_ = cl.Close()
		if w.ctx.Err() != nil {
			return err
		}
		closed = append(closed, fmt.Sprintf("%v: %v", t, err))
		if w.Transport == "auto" {
			fmt.Fprintf(w.app.Stdout, "%s shows no %s.\n", r.Host, t)
		}
	}
	return fmt.Errorf("no door of the router %s shows itself:\n%s", r.Host, strings.Join(closed, "\n"))
}

// trust has the router's key accepted. For now it is recorded in a directory of our own; [wizard.commit] records it for good.
func (w *wizard) trust(cl *routeros.Client, seen string) error {
	r := w.house.Router
	r.Transport = w.door.Transport.String()
	known, err := cl.Known(seen)
	if err != nil {
		return err
	}
	if w.known = known; known && w.Fingerprint == "" {
		fmt.Fprintf(w.app.Stdout, "%s shows %s, which %s records.\n", cl, seen, r.KnownHosts)
	} else if err := w.app.trusted(w.ctx, cl, w.door.Transport, seen, w.Fingerprint, w.confirm); err != nil {
		return err
	}
	w.done.trust = true
	if w.door.Transport != routeros.SSH {
		sum, err := hex.DecodeString(strings.TrimPrefix(seen, "sha256:"))
		if err != nil || copy(w.door.Pin[:], sum) != len(w.door.Pin) {
			return fmt.Errorf("the certificate's fingerprint %q is no SHA-256", seen)
		}
		r.Pin, r.KnownHosts = seen, ""
		return nil
	}
	if known {
		return nil
	}
	if w.scratch, err = os.MkdirTemp("", "wanctl-init-"); err != nil {
		return fmt.Errorf("make a directory for the router's key: %w (TMPDIR names another place)", err)
	}
	w.door.KnownHosts = filepath.Join(w.scratch, "known_hosts")
	staged, err := routeros.New(w.door)
	if err != nil {
		return err
	}
	defer func() { _ = staged.Close() }()
	_, err = staged.Trust(w.ctx, seen)
	return err
}

// loginTries is how often a password may be wrong: RouterOS counts failed logins, and firewalls do.
const loginTries = 3

// enter logs in, as an administrator or as wanctl's own user, and reads what there is.
func (w *wizard) enter() error {
	r := w.house.Router
	if w.Admin == "" && !w.canLogIn() && !w.Yes {
		who, err := w.ask(fmt.Sprintf("Log in as (somebody who may make the user %s, or %[1]s itself if it is there)", w.User), "--admin", "admin", judgeUser)
		if err != nil {
			return err
		}
		if who != w.User {
			w.Admin = who
		}
	}
	if w.Admin == w.User { // it is there, and needs nobody to make it
		w.Admin = ""
	}
	if w.Admin != "" {
		var err error
		if w.adminPassword, err = w.login(w.Admin, "", adminVariable, ""); err != nil {
			return err
		}
		if err := w.look(); err != nil {
			return err
		}
		if !slices.ContainsFunc(w.view.inventory[blueprint.User], func(u blueprint.Row) bool { return u["name"] == w.User }) {
			return w.newcomer()
		}
		fmt.Fprintf(w.app.Stdout, "The router has the user %s already.\n", w.User)
	}
	if w.SSHKey != "" {
		r.KeyFile = w.SSHKey
	}
	password, err := w.login(w.User, w.SSHKey, routerVariable, w.passwordFile())
	if err != nil {
		return err
	}
	if w.SSHKey == "" {
		w.keep(password)
	}
	if w.view.inventory == nil {
		err = w.look()
	}
	if err == nil {
		r.Rights = w.rightsOf(w.User)
		w.done.login = true
	}
	return err
}

func judgeUser(s string) error {
	if strings.ContainsAny(s, " \t") {
		return fmt.Errorf("%q holds a blank: a user's name has none", s)
	}
	return nil
}

// newcomer prepares wanctl's own user: a password that nobody knows. It is made on the router with the rest.
func (w *wizard) newcomer() error {
	if w.SSHKey != "" {
		return fmt.Errorf("the router has no user %s: make it and import the key first, or leave --ssh-key out and a password is made", w.User)
	}
	if _, rights := w.view.rights(w.Admin); rights != nil && !slices.Contains(rights, "policy") {
		return fmt.Errorf("the router has no user %s, and %s may not make one: it lacks the right policy (log in as somebody who has it, or make the user by hand: "+
			"docs/routeros.md, \"Rights\")", w.User, w.Admin)
	}
	w.keep(rand.Text())
	w.house.Router.Rights = policies(w.house.Router.Transport)
	fmt.Fprintf(w.app.Stdout, "The router has no user %s: it will be made with the rights %s and a password that nobody knows.\n", w.User, strings.Join(w.house.Router.Rights, ", "))
	w.done.login = true
	return nil
}

// keep has a password written where the configuration names it.
func (w *wizard) keep(password string) {
	w.password, w.house.Router.PasswordFile = password, w.passwordFile()
}

func (w *wizard) passwordFile() string {
	if w.PasswordFile != "" {
		return w.PasswordFile
	}
	return filepath.Join(w.Dir, "secrets", "router.password")
}

// login proves a user's password, or key, by logging in. The password is in a variable, in a file, or asked for.
func (w *wizard) login(user, key, variable, file string) (string, error) {
	password, given := w.app.LookupEnv(variable)
	from := variable
	if given = given && password != ""; !given && file != "" && key == "" {
		if b, err := w.app.ReadFile(file); err == nil {
			password, given, from = strings.TrimRight(string(b), "\r\n"), len(b) > 0, file
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("password of %s: %w", user, err)
		}
	}
	for try := 1; ; try++ {
		if !given && key == "" {
			var err error
			if password, err = w.secret(fmt.Sprintf("Password of %s on %s", user, w.house.Router.Host), variable); err != nil {
				return "", err
			}
		}
		err := w.knock(user, key, password)
		var e *routeros.Error
		switch {
		case err == nil:
			return password, nil
		case w.ctx.Err() != nil || !errors.As(err, &e) || e.Kind != routeros.Auth:
			return "", err
		case given && key == "":
			return "", fmt.Errorf("the password in %s: %w", from, err)
		case key != "" || try == loginTries:
			return "", err
		}
		fmt.Fprintf(w.app.Stdout, "  The router refuses that password for %s. Please type it again (%d of %d).\n", user, try+1, loginTries)
	}
}

// knock logs in, with a key or a password. The first who succeeds is whom the router is read as.
func (w *wizard) knock(user, key, password string) error {
	o := w.door
	o.User, o.KeyFile, o.Password, o.Timeout = user, key, nil, 30*time.Second
	if key == "" {
		o.Password = func() (string, error) { return password, nil }
	}
	admin, err := routeros.NewAdmin(o)
	if err != nil {
		return err
	}
	if _, err = admin.List(w.ctx, "/system/resource", []string{"version"}); err != nil {
		return errors.Join(err, admin.Close())
	}
	if w.view != nil {
		return admin.Close()
	}
	w.door, w.view = o, &routerView{admin: admin, load: -1}
	return nil
}

// look reads the router, and says what it is.
func (w *wizard) look() error {
	if err := w.view.read(w.ctx, blueprint.Menus()); err != nil {
		return err
	}
	fmt.Fprintf(w.app.Stdout, "%s: RouterOS %s on %s.\n", w.view.admin, w.view.version, w.view.model)
	return nil
}

// rightsOf are the rights of a user that matter here.
func (w *wizard) rightsOf(user string) (rights []string) {
	_, all := w.view.rights(user)
	for _, need := range policies(w.house.Router.Transport) {
		if slices.Contains(all, need) {
			rights = append(rights, need)
		} else if all != nil {
			fmt.Fprintf(w.app.Stdout, "  Note: the user %s lacks the right %s, which it needs.\n", user, need)
		}
	}
	return rights
}
