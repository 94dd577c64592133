package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"wanctl/internal/install"
	"wanctl/internal/remote"
)

// The scripts that run on a host. They are fixed texts; what differs is in their parameters.
const (
	// factsScript: ROOT LIB. What there is, one fact a line.
	factsScript = `root=$1 lib=$2
echo "system $(uname -s)"
echo "machine $(uname -m)"
echo "uid $(id -u)"
echo "home $HOME"
if [ -d "$root/run/systemd/system" ] && command -v systemctl >/dev/null 2>&1; then echo "systemd yes"; fi
echo "current $(readlink "$lib/current" 2>/dev/null)"
d=$lib
while [ ! -d "$d" ]; do d=$(dirname "$d"); done
if [ -w "$d" ]; then echo "writable yes"; fi
echo "space $(df -Pk "$d" 2>/dev/null | tail -n 1)"
for u in "$root"/etc/systemd/system/cake-*.service "$root"/etc/systemd/system/wan-steering.service; do
	if [ -f "$u" ] && grep -q '^ExecStart=.*\.py' "$u"; then echo "earlier ${u##*/}"; fi
done
exit 0`

	// roomScript: DIR…. A new directory in the first of them that can be written and is nobody else's: what lies there may be
	// run by root.
	roomScript = `umask 022
for d in "$@"; do
	if mkdir -p "$d" 2>/dev/null && [ -O "$d" ] && t=$(mktemp -d "$d/XXXXXXXX" 2>/dev/null); then
		chmod 755 "$t" && echo "$t" && exit 0
	fi
done
echo "none of these directories can be written: $*" >&2
exit 1`

	// putScript: DIR NAME MODE SIZE SUM, and the file on standard input. What did not arrive whole is removed with all of DIR.
	putScript = `dir=$1 name=$2 mode=$3 size=$4 sum=$5
fail() { rm -rf "$dir"; echo "$1" >&2; exit 1; }
said=$(cat 2>&1 >"$dir/$name.part") || fail "cannot write $dir/$name: $said"
have=$(wc -c <"$dir/$name.part") || fail "cannot read $dir/$name"
[ "$have" -eq "$size" ] || fail "only $have of $size bytes of $name arrived"
if command -v sha256sum >/dev/null 2>&1; then
	echo "$sum  $dir/$name.part" | sha256sum -c - >/dev/null 2>&1 || fail "$name arrived damaged"
fi
chmod "$mode" "$dir/$name.part" && mv "$dir/$name.part" "$dir/$name" || fail "cannot write $dir/$name"`

	// logScript: LOG. What a deployment has said so far.
	logScript = `[ -f "$1" ] || { echo "nothing was begun" >&2; exit 1; }
cat "$1"`

	// clearScript: DIR. Remove what was uploaded.
	clearScript = `case $1 in */staging/?*|*/wanctl-deploy*/?*) rm -rf "$1" ;; esac`
)

// Facts are what a host says of itself.
type Facts struct {
	Machine, Arch string
	UID           int
	Home          string
	Systemd       bool
	// Current is the version in force, empty for none.
	Current string
	// Writable says that the user, or root by sudo, may install.
	Writable bool
	// Free is the free space where versions are kept, in bytes, -1 when it is not known.
	Free int64
	// Earlier are units of the earlier system.
	Earlier []string
}

// String is what is told of a host that was found good.
func (f Facts) String() string {
	words := []string{f.Machine}
	if f.Systemd {
		words = append(words, "systemd")
	} else {
		words = append(words, "no systemd")
	}
	switch {
	case f.UID == 0:
		words = append(words, "root")
	case f.Writable:
		words = append(words, fmt.Sprintf("user %d, who may install there", f.UID))
	default:
		words = append(words, fmt.Sprintf("user %d without root's rights", f.UID))
	}
	if f.Current != "" {
		words = append(words, "has "+f.Current)
	}
	if len(f.Earlier) > 0 {
		words = append(words, "earlier system: "+strings.Join(f.Earlier, " "))
	}
	return strings.Join(words, ", ")
}

// parseFacts reads what factsScript prints.
func parseFacts(out string) (Facts, error) {
	f := Facts{Free: -1, UID: -1}
	system := ""
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "system":
			system = value
		case "machine":
			f.Machine, f.Arch = value, machines[value]
		case "uid":
			if n, err := strconv.Atoi(value); err == nil {
				f.UID = n
			}
		case "home":
			f.Home = value
		case "systemd":
			f.Systemd = true
		case "writable":
			f.Writable = true
		case "current":
			f.Current = strings.TrimPrefix(value, "versions/")
		case "space":
			// Filesystem 1024-blocks Used Available Capacity Mounted-on: the name may hold blanks, the mark is the %.
			words := strings.Fields(value)
			if i := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, "%") }); i > 0 {
				if kb, err := strconv.ParseInt(words[i-1], 10, 64); err == nil {
					f.Free = kb << 10
				}
			}
		case "earlier":
			f.Earlier = append(f.Earlier, value)
		}
	}
	switch {
	case f.Machine == "" || f.UID < 0:
		return f, errors.New("the host does not say what it is: is its login shell one of Unix?")
	case system != "Linux":
		return f, fmt.Errorf("it runs %s, and wanctl is a program for Linux", system)
	case f.Arch == "":
		return f, fmt.Errorf("its architecture is %s, and wanctl is built for amd64, arm64 and arm (v7)", f.Machine)
	}
	return f, nil
}

// target is a host that is connected.
type target struct {
	host Host
	// configs are the host's files as they were checked; none on the way back.
	configs []install.Config
	conn    *remote.Host
	facts   Facts
	// room is the directory of what was uploaded.
	room string
}

// look asks for the facts, and whether the program fits.
func (t *target) look(ctx context.Context, programs *Programs) error {
	lib := install.Lib(t.host.Root)
	out, err := t.conn.Run(ctx, remote.Script{Op: "look at the host", Text: factsScript, Args: []string{strings.TrimSuffix(t.host.Root, "/"), lib}})
	if err != nil {
		return err
	}
	if t.facts, err = parseFacts(out); err != nil {
		return err
	}
	if programs == nil {
		return nil
	}
	if t.host.Arch != "" && t.host.Arch != t.facts.Arch {
		return fmt.Errorf("the inventory says arch: %s, and the host is %s (%s)", t.host.Arch, t.facts.Arch, t.facts.Machine)
	}
	p, err := programs.For(t.facts.Arch)
	if err != nil {
		return err
	}
	// The upload, its copy in the version's directory, and some air.
	if need := 2*p.Size + 8<<20; t.facts.Writable && t.facts.Free >= 0 && t.facts.Free < need {
		return fmt.Errorf("there are %d MiB free for %s, and a deployment needs %d", t.facts.Free>>20, lib, need>>20)
	}
	return nil
}

// rooms are directories for an upload, the best first.
func (t *target) rooms() []string {
	if t.facts.Writable {
		return []string{install.Lib(t.host.Root) + "/staging"}
	}
	user := fmt.Sprintf("wanctl-deploy-%d", t.facts.UID)
	return []string{t.facts.Home + "/.local/share/wanctl-deploy", "/var/tmp/" + user, "/tmp/" + user}
}

// upload sends the program, and what bundle returns once the program has said its version.
func (t *target) upload(ctx context.Context, p Program, bundle func(version string) ([]byte, error)) error {
	out, err := t.conn.Run(ctx, remote.Script{Op: "make room for the upload", Text: roomScript, Args: t.rooms()})
	if err != nil {
		return err
	}
	t.room = strings.TrimSpace(out)
	f, err := os.Open(p.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := t.put(ctx, "wanctl", "755", p.Size, p.Sum, f); err != nil {
		return err
	}
	said, err := t.conn.Run(ctx, remote.Script{Op: "try the program", Text: `exec "$1/wanctl" version`, Args: []string{t.room}})
	if err != nil {
		return fmt.Errorf("%w (is %s on a file system that is mounted noexec?)", err, t.room)
	}
	words := strings.Fields(said)
	if len(words) != 4 || words[0] != "wanctl" {
		return fmt.Errorf("the program says %q of itself, and no version of wanctl does", strings.TrimSpace(said))
	}
	text, err := bundle(words[1])
	if err != nil {
		return err
	}
	return t.put(ctx, "bundle.json", "600", int64(len(text)), sumOf(text), bytes.NewReader(text))
}

func (t *target) put(ctx context.Context, name, mode string, size int64, sum string, r io.Reader) error {
	_, err := t.conn.Run(ctx, remote.Script{
		Op: "send " + name, Text: putScript, Args: []string{t.room, name, mode, strconv.FormatInt(size, 10), sum}, Stdin: r,
	})
	return err
}

// clear removes what was uploaded. Where that fails a later deployment does it.
func (t *target) clear(ctx context.Context) {
	if t.room != "" {
		_, _ = t.conn.Run(ctx, remote.Script{Op: "clean up", Text: clearScript, Args: []string{t.room}})
	}
}

// lines splits what a host prints into the lines of a deployment.
type lines struct {
	part   []byte
	each   func(install.Event)
	result *install.Result
	// heard counts the lines of this run that were handed on already, when a log is read again.
	heard, seen int
}

// maxLine bounds one line, in bytes: a doctor's findings are the longest.
const maxLine = 1 << 20

func (l *lines) Write(p []byte) (int, error) {
	l.part = append(l.part, p...)
	for {
		i := bytes.IndexByte(l.part, '\n')
		if i < 0 {
			if len(l.part) > maxLine {
				return 0, errors.New("the host prints a line without an end")
			}
			return len(p), nil
		}
		l.line(l.part[:i])
		l.part = l.part[i+1:]
	}
}

func (l *lines) line(raw []byte) {
	var v install.Line
	if json.Unmarshal(raw, &v) != nil || v.Event == nil && v.Result == nil {
		return
	}
	if l.seen++; l.seen <= l.heard {
		return
	}
	l.heard = l.seen
	if v.Result != nil {
		l.result = v.Result
		return
	}
	l.each(*v.Event)
}

// again lets the lines be read from their beginning, without telling them twice.
func (l *lines) again() { l.part, l.seen = nil, 0 }
