package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gofrs/flock"

	"wanctl/internal/blueprint"
	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/routeros"
)

// routerCmd sets a MikroTik router up.
type routerCmd struct {
	Trust routerTrustCmd `cmd:"" help:"Show what the router is known by, ask, and record it."`
	Show  routerShowCmd  `cmd:"" help:"Print what wanctl sees of the router."`
	Plan  routerPlanCmd  `cmd:"" help:"Compare the router with what the files need, and print the commands."`
	Apply routerApplyCmd `cmd:"" help:"Make those changes, each verified, all undone if one fails."`
	Undo  routerUndoCmd  `cmd:"" help:"Take away what apply added, and put back what it set."`
}

// Help shows the way.
func (routerCmd) Help() string {
	return `From a factory-like configuration to queues that shape and connections that can be steered: trust, plan, apply, then
"wanctl doctor". Nothing but apply and undo changes anything.

Example:

    wanctl router plan configs/spectrum_config.yaml configs/att_config.yaml configs/steering_config_v2.yaml`
}

type routerFiles struct {
	Files []string `arg:"" name:"file" help:"WAN and steering configuration files of one router."`
	User  string   `placeholder:"NAME" help:"Log in as this user instead of the files' one, with the password in WANCTL_ADMIN_PASSWORD or asked for."`
}

type routerTrustCmd struct {
	File        string `arg:"" name:"file" help:"A configuration file that names the router."`
	Fingerprint string `placeholder:"TEXT" help:"Record it without asking if it is this one, for scripts."`
}

// Help says what is written.
func (routerTrustCmd) Help() string {
	return `Connects without logging in and prints the host key's fingerprint, or the certificate's for REST and the API. After a yes
the key is added to known_hosts (router.known_hosts); a certificate's pin is printed as the line to put into the file.
Compare it with the router's own: /ip/ssh/export-host-key and ssh-keygen -lf for the key, /certificate/print detail for the
certificate.

Example:

    wanctl router trust /etc/wanctl/att_config.yaml`
}

// site are the files of one router.
type site struct {
	wans     []*config.WAN
	steering *config.Steering
	router   config.Router
	timeouts config.Timeouts
}

// site reads files, which must be of one router.
func (a *App) site(paths []string) (*site, error) {
	files, whole := a.parseAll(paths, "")
	return a.siteOf(files, whole)
}

// siteOf takes files that were read; whole says that all could be.
func (a *App) siteOf(files []*config.File, whole bool) (*site, error) {
	s := &site{}
	complain := func(f *config.File, text string) {
		whole = false
		fmt.Fprintf(a.Stderr, "%s: error: %s\n", f.Name, text)
	}
	for _, f := range files {
		var r config.Router
		var t config.Timeouts
		switch {
		case f.WAN != nil:
			r, t = f.WAN.Router, f.WAN.Timeouts
			s.wans = append(s.wans, f.WAN)
		case s.steering != nil:
			complain(f, "is a second steering configuration; a router is set up for one")
			continue
		default:
			r, t = f.Steering.Router, f.Steering.Timeouts
			s.steering = f.Steering
		}
		switch {
		case r.Transport == config.TransportLinux:
			complain(f, "this host is the router there (router.transport: linux); see wanctl qdisc")
		case s.router.Host == "":
			s.router, s.timeouts = r, t
		case s.router.Host != r.Host:
			complain(f, fmt.Sprintf("is of the router %s, and the one before of %s: give those of one router", r.Host, s.router.Host))
		}
	}
	cross := config.CrossCheck(files...)
	fmt.Fprint(a.Stderr, cross.Errors())
	if !whole || cross.HasErrors() {
		return nil, exitCode(exitFailed)
	}
	return s, nil
}

// options are how the site's router is reached, as another user where one is named. A password is asked for once, before
// anything is sent: a login has a deadline, and a lost connection is made anew.
func (a *App) options(ctx context.Context, s *site, user string) (routeros.Options, error) {
	o := daemon.RouterOptions(s.router, s.timeouts)
	if user == "" {
		return o, nil
	}
	o.User, o.KeyFile = user, ""
	password, ok := a.LookupEnv(adminVariable)
	if !ok {
		if a.AskSecret == nil {
			return o, fmt.Errorf("password of %s: no terminal to ask for it: put it into %s", user, adminVariable)
		}
		var err error
		if password, err = a.AskSecret(ctx, fmt.Sprintf("Password of %s on %s: ", user, s.router.Host)); err != nil {
			return o, fmt.Errorf("password of %s: %w", user, err)
		}
	}
	o.Password = func() (string, error) { return password, nil }
	return o, nil
}

// Run asks whether to trust.
func (c routerTrustCmd) Run(app *App) error {
	s, err := app.site([]string{c.File})
	if err != nil {
		return err
	}
	o := daemon.RouterOptions(s.router, s.timeouts)
	if o.Transport == routeros.Auto {
		return errors.New("router.transport is auto: name ssh, rest or api, to trust one service at a time")
	}
	cl, err := routeros.New(o)
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	ctx, cancel := app.context()
	defer cancel()
	seen, err := cl.Fingerprint(ctx)
	if err != nil {
		return err
	}
	if err := app.trusted(ctx, cl, o.Transport, seen, c.Fingerprint, app.ask); err != nil {
		return err
	}
	if o.Transport != routeros.SSH {
		fmt.Fprintf(app.Stdout, "Put this line under router: in %s\n\n  tls_pin: %s\n", c.File, seen)
		return nil
	}
	file, err := cl.Trust(ctx, seen)
	if err != nil {
		return err
	}
	fmt.Fprintf(app.Stdout, "recorded in %s\n", file)
	return nil
}

// trusted shows the fingerprint that was seen of a router, and is an error unless it is the wanted one, or a person says that it is
// the router's own.
func (a *App) trusted(ctx context.Context, cl *routeros.Client, t routeros.Transport, seen, wanted string, ask func(context.Context, string) (bool, error)) error {
	fmt.Fprintf(a.Stdout, "%s shows %s\n", cl, seen)
	if wanted != "" {
		if !isFingerprint(seen, wanted) {
			return fmt.Errorf("that is not %s: nothing was recorded, and somebody may be in between", wanted)
		}
		return nil
	}
	yes, err := ask(ctx, "Is this the router's own? It shows it with "+ownPlace(t)+" [y/N] ")
	if err == nil && !yes {
		err = errors.New("nothing was recorded")
	}
	return err
}

// isFingerprint says whether a text is the whole fingerprint that was seen, "ssh-ed25519 SHA256:…" or "sha256:…", with or
// without the words before it.
func isFingerprint(seen, text string) bool {
	_, digest, _ := strings.Cut(seen, ":")
	kind, named, ok := strings.Cut(seen, " ")
	return text == seen || text == digest || ok && kind != "" && text == named
}

func ownPlace(t routeros.Transport) string {
	if t == routeros.SSH {
		return "/ip/ssh/export-host-key, and ssh-keygen -lf on the public file."
	}
	return "/certificate/print detail."
}

// ask puts a yes-or-no question; without anybody to answer that is an error.
func (a *App) ask(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(a.Stdout, question)
	if a.Stdin == nil {
		return false, errors.New("nobody answers: use the flag for scripts")
	}
	line, err := a.readLine(ctx)
	if ctx.Err() != nil {
		fmt.Fprintln(a.Stdout)
		return false, err
	}
	if err != nil {
		return false, errors.New("nobody answers: use the flag for scripts")
	}
	return isYes(line), nil
}

func isYes(line string) bool {
	line = strings.ToLower(line)
	return line == "y" || line == "yes"
}

// longestAnswer bounds a line that is typed, in bytes.
const longestAnswer = 4096

// readLine reads one line that somebody types, without the blanks around it; what comes after it stays for the next call. At
// the end of the input it is an error, unless something stands there.
func (a *App) readLine(ctx context.Context) (string, error) {
	line, err := a.readTyped(ctx)
	return strings.TrimSpace(line), err
}

func (a *App) readTyped(ctx context.Context) (string, error) {
	if a.Stdin == nil {
		return "", io.EOF
	}
	return unlessEnded(ctx, func() (string, error) {
		var line []byte
		for b := []byte{0}; len(line) < longestAnswer; { // one by one: what follows is the next answer
			n, err := a.Stdin.Read(b)
			if n == 1 && b[0] == '\n' {
				return string(line), nil
			}
			line = append(line, b[:n]...)
			if err != nil && len(line) > 0 {
				return string(line), nil
			}
			if err != nil {
				return "", err
			}
		}
		return "", fmt.Errorf("more than %d bytes in one line", longestAnswer)
	})
}

type routerShowCmd struct {
	routerFiles
	JSON bool `help:"Print the menus as JSON."`
}

// Help says what is read.
func (routerShowCmd) Help() string {
	return `Reads the menus that a plan compares and prints them. It needs the right to read.

Example:

    wanctl router show /etc/wanctl/att_config.yaml --json`
}

// Run prints what is seen.
func (c routerShowCmd) Run(app *App) error {
	ctx, cancel := app.context()
	defer cancel()
	v, err := app.survey(ctx, c.routerFiles)
	if err != nil {
		return err
	}
	defer v.close()
	if c.JSON {
		return app.printJSON("menus", v.inventory)
	}
	fmt.Fprintf(app.Stdout, "%s: RouterOS %s on %s\n", v.admin, v.version, v.model)
	for _, m := range []struct{ menu, key string }{{blueprint.Interface, "name"}, {blueprint.QueueType, "name"}, {blueprint.QueueSimple, "name"}, {blueprint.QueueTree, "name"}, {blueprint.Mangle, "comment"}, {blueprint.Table, "name"}, {blueprint.User, "name"}} {
		fmt.Fprintf(app.Stdout, "\n%s\n", m.menu)
		for _, r := range v.inventory[m.menu] {
			if m.menu == blueprint.QueueType && r["kind"] != "cake" {
				continue
			}
			fmt.Fprintf(app.Stdout, "  %s\n", summary(r, m.key))
		}
	}
	return nil
}

// summary is a row in one line: what it is called, then the rest in the order of their names.
func summary(r blueprint.Row, first string) string {
	var rest []string
	for k, v := range r {
		if k != first && k != ".id" && v != "" {
			rest = append(rest, k+"="+v)
		}
	}
	slices.Sort(rest)
	return r[first] + "  " + strings.Join(rest, " ")
}

// routerView is a router as it is now.
type routerView struct {
	site      *site
	admin     *routeros.Admin
	inventory blueprint.Inventory
	version   string
	model     string
	load      int
	// release lets the next apply or undo begin.
	release func() error
}

func (v *routerView) close() {
	_ = v.admin.Close()
	if v.release != nil {
		_ = v.release()
	}
}

// survey reads what a plan needs.
func (a *App) survey(ctx context.Context, f routerFiles) (*routerView, error) {
	s, err := a.site(f.Files)
	if err != nil {
		return nil, err
	}
	return a.look(ctx, s, f)
}

// surveyAlone does the same for who changes the router, one at a time: two would add everything twice.
func (a *App) surveyAlone(ctx context.Context, f routerFiles) (*routerView, error) {
	s, err := a.site(f.Files)
	if err != nil {
		return nil, err
	}
	path := strings.TrimSuffix(a.changesFile(s), "_changes.json") + ".lock"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the state directory, for what an undo needs: %w; nothing was changed (make it writable, or name another in STATE_DIRECTORY)", err)
	}
	lock := flock.New(path, flock.SetPermissions(0o600))
	switch ok, err := lock.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("take the lock %s: %w; nothing was changed (make its directory writable, or name another in STATE_DIRECTORY)", path, err)
	case !ok:
		return nil, fmt.Errorf("another wanctl changes %s at this moment (it holds %s): wait until it is done", s.router.Host, path)
	}
	v, err := a.look(ctx, s, f)
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	v.release = lock.Unlock
	return v, nil
}

func (a *App) look(ctx context.Context, s *site, f routerFiles) (*routerView, error) {
	o, err := a.options(ctx, s, f.User)
	if err != nil {
		return nil, err
	}
	admin, err := routeros.NewAdmin(o)
	if err != nil {
		return nil, err
	}
	v := &routerView{site: s, admin: admin, load: -1}
	if err := v.read(ctx, blueprint.Menus()); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// read reads menus into the inventory, and what the router is.
func (v *routerView) read(ctx context.Context, menus map[string][]string) error {
	v.inventory = blueprint.Inventory{}
	rows, err := v.admin.List(ctx, "/system/resource", []string{"version", "board-name", "cpu-load"})
	if err != nil {
		return err
	}
	if len(rows) == 1 {
		v.version, v.model = rows[0]["version"], rows[0]["board-name"]
		if _, err := fmt.Sscanf(rows[0]["cpu-load"], "%d", &v.load); err != nil {
			v.load = -1
		}
	}
	for menu, properties := range menus {
		rows, err := v.admin.List(ctx, menu, properties)
		if err != nil {
			return err
		}
		for _, r := range rows {
			v.inventory[menu] = append(v.inventory[menu], r)
		}
	}
	return nil
}

// changesFile is where the changes that were made on a router are remembered, for an undo.
func (a *App) changesFile(s *site) string {
	return filepath.Join(a.dirs("").State, "router_"+strings.Map(plainName, s.router.Host)+"_changes.json")
}

// plainName keeps what a file's name may hold.
func plainName(r rune) rune {
	if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-", r) {
		return r
	}
	return '_'
}

// remembered reads those changes; none is no error.
func remembered(path string) ([]blueprint.Change, error) {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	var made []blueprint.Change
	if err := json.Unmarshal(b, &made); err != nil {
		return nil, fmt.Errorf("%s: %w (it remembers what apply changed; put it aside, and undo takes away what carries wanctl's marks alone)", path, err)
	}
	return made, nil
}
