package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wanctl/internal/preset"
)

// after does what it is told with the files that were written, and says what comes next.
func (w *wizard) after(files []string) error {
	if err := (checkCmd{Files: files}).Run(w.app); err != nil {
		return err
	}
	applied, err := w.setUp(files)
	if err == nil && applied {
		err = w.unlessHungUp(w.again)
	}
	if err == nil {
		err = w.examine(files)
	}
	if w.ctx.Err() != nil {
		fmt.Fprintln(w.app.Stdout)
		err = errors.New("interrupted; the files are written")
	}
	w.next(files, applied)
	return err
}

// examine runs the doctor.
func (w *wizard) examine(files []string) error {
	yes, err := w.wants(w.Doctor, "Have the doctor look at it", "--doctor or --no-doctor")
	if err != nil || !yes {
		return err
	}
	return doctorCmd{Files: files, Watch: initWatch}.Run(w.app)
}

// initWatch is how long the doctor watches counters here: nothing is downloaded yet that they could prove anything by.
const initWatch = time.Second

// wants is a flag, or the answer to a question; with --yes what was not said is not done.
func (w *wizard) wants(flag *bool, question, name string) (bool, error) {
	if flag != nil || w.ctx.Err() != nil {
		return flag != nil && *flag && w.ctx.Err() == nil, nil
	}
	if w.Yes {
		return false, nil
	}
	yes, err := w.agree(question, name, true)
	if errors.Is(err, errEnded) { // the files are there: what was asked for is done
		fmt.Fprintln(w.app.Stdout)
		return false, nil
	}
	return yes, err
}

// setUp makes what the router or this host lacks.
func (w *wizard) setUp(files []string) (done bool, err error) {
	question := "Show what the router lacks for that, and make it once you agree"
	if w.Linux {
		question = "Make the CAKE queues of this host now"
	}
	yes, err := w.wants(w.Apply, question, "--apply or --no-apply")
	if err != nil || !yes {
		return false, err
	}
	if w.Linux {
		return true, qdiscApplyCmd{qdiscFiles: qdiscFiles{Files: w.lineFiles(files)}}.Run(w.app)
	}
	app := *w.app
	if w.Admin != "" { // whose password was given already
		app.LookupEnv = func(name string) (string, bool) {
			if name == adminVariable {
				return w.adminPassword, true
			}
			return w.app.LookupEnv(name)
		}
	}
	err = routerApplyCmd{routerFiles: routerFiles{Files: files, User: w.Admin}, Yes: w.Yes}.Run(&app)
	return err == nil, err
}

// lineFiles are the files without that of steering.
func (w *wizard) lineFiles(files []string) []string { return files[:len(w.house.Lines)] }

// next prints the commands that come next.
func (w *wizard) next(files []string, applied bool) {
	var lines []string
	all := strings.Join(files, " ")
	switch {
	case applied:
	case w.Linux:
		lines = append(lines, "wanctl qdisc apply "+strings.Join(w.lineFiles(files), " "))
	default:
		as := ""
		if w.Admin != "" {
			as = " --user " + w.Admin
		}
		lines = append(lines, "wanctl router apply "+all+as, "wanctl doctor "+all)
	}
	if w.Dir == "/etc/wanctl" && slices.ContainsFunc([]string{"/usr/lib", "/lib", "/etc", "/usr/local/lib"}, func(at string) bool {
		return exists(filepath.Join(at, "systemd", "system", "wanctl@.service"))
	}) {
		var units []string
		for i := range w.house.Lines {
			if w.Linux { // made anew at each boot
				units = append(units, "wanctl-qdisc@"+w.house.Lines[i].Name+".service")
			}
			units = append(units, "wanctl@"+w.house.Lines[i].Name+".service")
		}
		if w.house.Steering != nil {
			units = append(units, "wanctl-steer.service")
		}
		if w.Linux { // units may not change this host's network without them
			lines = append(lines, "# the drop-ins linux.conf and qdisc.conf: docs/install.md, \"Units\"")
		}
		lines = append(lines, "systemctl enable --now "+strings.Join(units, " "))
	} else {
		lines = append(lines, "wanctl run "+all)
	}
	fmt.Fprintf(w.app.Stdout, "\nNext:\n\n    %s\n", strings.Join(lines, "\n    "))
	if !w.Linux && w.house.Steering != nil && !slices.ContainsFunc(w.house.Lines, func(l preset.Line) bool { return l.Source.IsValid() }) {
		fmt.Fprintln(w.app.Stdout, "\nNo line has an address of its own for its probes: docs/routeros.md, \"The way of probes\", tells why each should.")
	}
}
