package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A stand-in for systemd's systemctl under a throw-away root: it really starts, stops and restarts what the units there
// say, waits for readiness as Type=notify does, and runs ExecStop and ExecStopPost. What it cannot do it refuses.

// pretended are the variables that make the test binary this program.
const (
	pretendAs   = "WANCTL_TEST_AS"
	pretendRoot = "WANCTL_TEST_ROOT"
)

type manager struct{ root string }

func (m manager) path(elem ...string) string {
	return filepath.Join(append([]string{m.root}, elem...)...)
}

// systemctl is the whole program.
func systemctl(root string, args []string) int {
	m := manager{root}
	var now, noBlock bool
	var words []string
	for _, a := range args {
		switch a {
		case "--now":
			now = true
		case "--no-block":
			noBlock = true
		case "--quiet", "--no-legend", "--":
		default:
			words = append(words, a)
		}
	}
	err := m.do(words, now)
	for _, u := range words[min(1, len(words)):] {
		for err == nil && words[0] == "start" && !noBlock && m.oneshot(u) && m.active(u) { // its start is over when it is
			time.Sleep(20 * time.Millisecond)
		}
	}
	if err != nil {
		var code exitStatus
		if errors.As(err, &code) {
			return int(code)
		}
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

type exitStatus int

func (e exitStatus) Error() string { return strconv.Itoa(int(e)) }

func (m manager) do(words []string, now bool) error {
	if len(words) == 0 {
		return errors.New("no command")
	}
	verb, units := words[0], words[1:]
	if log, err := os.OpenFile(m.path("run/fake.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
		fmt.Fprintln(log, strings.Join(words, " "))
		log.Close()
	}
	if err := os.MkdirAll(m.path("run/fake"), 0o755); err != nil {
		return err
	}
	for _, u := range units {
		if err := m.one(verb, u, now); err != nil {
			return err
		}
	}
	if verb == "list-jobs" {
		b, err := os.ReadFile(m.path("run/fake/jobs"))
		if err == nil {
			fmt.Print(string(b))
		}
	}
	return nil
}

func (m manager) one(verb, unit string, now bool) error {
	enabled := m.path("run/fake", unit+".enabled")
	switch verb {
	case "list-jobs":
		return nil
	case "is-active":
		if m.active(unit) && m.oneshot(unit) {
			fmt.Println("activating")
			return exitStatus(3)
		}
		if m.active(unit) {
			fmt.Println("active")
			return nil
		}
		fmt.Println("inactive")
		return exitStatus(3)
	case "status":
		if m.active(unit) {
			fmt.Printf("● %s\n     Active: active (running)\n", unit)
			return nil
		}
		fmt.Printf("○ %s\n     Active: inactive (dead)\n", unit)
		return exitStatus(3)
	case "is-enabled":
		if _, err := os.Stat(enabled); err == nil {
			fmt.Println("enabled")
			return nil
		}
		fmt.Println("disabled")
		return exitStatus(1)
	case "enable":
		u, err := m.read(unit)
		if err != nil {
			return err
		}
		for _, a := range u["Alias"] {
			if err := os.Symlink(unit, m.path("etc/systemd/system", a)); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		return os.WriteFile(enabled, nil, 0o644)
	case "disable":
		if err := os.Remove(enabled); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if u, err := m.read(unit); err == nil {
			for _, a := range u["Alias"] {
				_ = os.Remove(m.path("etc/systemd/system", a))
			}
		}
		if now {
			return m.stop(unit, "stop")
		}
		return nil
	case "start":
		if m.active(unit) {
			return nil
		}
		return m.start(unit)
	case "stop":
		return m.stop(unit, "stop")
	case "restart":
		if err := m.stop(unit, "restart"); err != nil {
			return err
		}
		return m.start(unit)
	}
	return errors.New("unknown command verb " + verb)
}

// read is a unit's file; an instance has its template's.
func (m manager) read(unit string) (map[string][]string, error) {
	name := unit
	if at := strings.IndexByte(unit, '@'); at >= 0 {
		name = unit[:at+1] + filepath.Ext(unit)
	}
	b, err := os.ReadFile(m.path("etc/systemd/system", name))
	if err != nil {
		return nil, errors.New("not found: unit " + unit)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			out[k] = append(out[k], v)
		}
	}
	return out, nil
}

var hostPath = regexp.MustCompile(`(^|[\s"'])(/(?:usr/bin/wanctl|etc/wanctl|home)\b)`)

// command is a line of a unit as it is under this root.
func (m manager) command(line, unit string) *exec.Cmd {
	instance := strings.TrimSuffix(unit, filepath.Ext(unit))
	if at := strings.IndexByte(instance, '@'); at >= 0 {
		instance = instance[at+1:]
	}
	line = strings.TrimLeft(line, "-+!@:")
	line = strings.NewReplacer("%i", instance, "%n", unit).Replace(line)
	line = hostPath.ReplaceAllString(line, "${1}"+m.root+"${2}")
	cmd := exec.Command("/bin/sh", "-c", "exec "+line)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+m.path("run/wanctl"), "STATE_DIRECTORY="+m.path("var/lib/wanctl"))
	return cmd
}

func (m manager) pid(unit string) int {
	if target, err := os.Readlink(m.path("etc/systemd/system", unit)); err == nil {
		unit = target // an alias
	}
	b, err := os.ReadFile(m.path("run/fake", unit+".pid"))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// oneshot says that a unit is starting for as long as it works.
func (m manager) oneshot(unit string) bool {
	u, err := m.read(unit)
	return err == nil && slices.Contains(u["Type"], "oneshot") && u["RemainAfterExit"] == nil
}

func (m manager) active(unit string) bool { return lives(m.pid(unit)) }

// lives says whether a process runs: nobody may have buried a dead one.
func lives(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if pid == 0 || err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func (m manager) start(unit string) error {
	if strings.HasSuffix(unit, ".timer") {
		if err := os.WriteFile(m.path("run/fake", unit+".pid"), []byte("1"), 0o644); err != nil {
			return err
		}
		if u, err := m.read(unit); err == nil && len(u["Unit"]) > 0 && strings.HasPrefix(u["Unit"][0], "wanctl-") {
			return nil // ours: its time does not come here
		}
		// Of the earlier system: its service is a loop here.
		return m.start(strings.TrimSuffix(unit, ".timer") + ".service")
	}
	u, err := m.read(unit)
	if err != nil {
		return err
	}
	if u["Requires"] != nil { // another unit's earlier name
		for _, r := range u["Requires"] {
			if err := m.one("start", r, false); err != nil {
				return err
			}
		}
		return os.WriteFile(m.path("run/fake", unit+".pid"), []byte("1"), 0o644)
	}
	cmd := m.command(u["ExecStart"][0], unit)
	if d := u["WorkingDirectory"]; d != nil {
		cmd.Dir = m.path(d[0])
	}
	log, err := os.OpenFile(m.path("run/fake", unit+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if u["RemainAfterExit"] != nil { // what it does is done when it has started
		if err := cmd.Run(); err != nil {
			return err
		}
		return os.WriteFile(m.path("run/fake", unit+".pid"), []byte("1"), 0o644)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var ready *net.UnixConn
	if len(u["Type"]) > 0 && u["Type"][0] == "notify" {
		path := m.path("run/fake", fmt.Sprintf("n%d", os.Getpid()))
		if ready, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
			return err
		}
		defer os.Remove(path)
		defer ready.Close()
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(m.path("run/fake", unit+".pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		return err
	}
	if ready == nil {
		return nil
	}
	told := make(chan bool, 2)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := ready.Read(buf)
			if err != nil {
				return
			}
			if strings.Contains(string(buf[:n]), "READY=1") {
				told <- true
				return
			}
		}
	}()
	go func() {
		_ = cmd.Wait()
		told <- false
	}()
	select {
	case ok := <-told:
		if ok {
			return nil
		}
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
	}
	m.post(unit, u)
	return errors.New("the control process exited with error code: job for " + unit)
}

func (m manager) stop(unit, job string) error {
	if strings.HasSuffix(unit, ".timer") {
		_ = os.Remove(m.path("run/fake", unit+".pid"))
		return nil
	}
	pid := m.pid(unit)
	if !m.active(unit) {
		return nil
	}
	u, err := m.read(unit)
	if err != nil {
		u = map[string][]string{}
	}
	jobs := m.path("run/fake/jobs")
	_ = os.WriteFile(jobs, []byte("1 "+unit+" "+job+" running\n"), 0o644)
	for _, line := range u["ExecStop"] {
		_ = m.command(line, unit).Run()
	}
	_ = os.Remove(jobs)
	if pid == 1 {
		return os.Remove(m.path("run/fake", unit+".pid"))
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	for end := time.Now().Add(30 * time.Second); lives(pid); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	m.post(unit, u)
	return nil
}

func (m manager) post(unit string, u map[string][]string) {
	for _, line := range u["ExecStopPost"] {
		if out, err := m.command(line, unit).CombinedOutput(); err != nil {
			_ = os.WriteFile(m.path("run/fake", unit+".post"), out, 0o644)
		}
	}
	_ = os.Remove(m.path("run/fake", unit+".pid"))
}

// halt ends everything that was started under a root.
func (m manager) halt() {
	pids, _ := filepath.Glob(m.path("run/fake/*.service.pid"))
	for _, p := range pids {
		unit := strings.TrimSuffix(filepath.Base(p), ".pid")
		if pid := m.pid(unit); lives(pid) && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
