package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"wanctl/internal/link"
	"wanctl/internal/preset"
	"wanctl/internal/reflector"
)

// nearest is the interface of the default route that counts; empty where there is none.
func (w *wizard) nearest() string {
	uplinks := w.uplinks()
	if len(uplinks) == 0 || !uplinks[0].Routed {
		return ""
	}
	return uplinks[0].Name
}

// steering asks whether calls move between the lines, and from which.
func (w *wizard) steering() error {
	if len(w.house.Lines) < 2 {
		if w.Steer != nil && *w.Steer || w.Primary != "" {
			return errors.New("--steer, --primary: one line alone has nothing to steer to")
		}
		return nil
	}
	steer := true
	if w.Steer != nil {
		steer = *w.Steer
	} else if !w.Yes {
		var err error
		if steer, err = w.agree("While one line is congested, begin new calls and games on another", "--steer or --no-steer", true); err != nil {
			return err
		}
	}
	if !steer {
		return nil
	}
	s := &preset.Steering{Reflector: reflector.DefaultReflectors()[0].String()}
	if len(w.PingHosts) > 0 {
		s.Reflector = w.PingHosts[0]
	}
	primary, err := w.primary()
	if err != nil {
		return err
	}
	s.Primary = primary
	if w.Linux {
		if s.LAN, err = w.hostLAN(); err != nil {
			return err
		}
	}
	w.house.Steering = s
	return nil
}

// primary is the line that connections move from.
func (w *wizard) primary() (int, error) {
	var names []string
	proposal, nearest := 0, w.nearest()
	for i := range w.house.Lines {
		names = append(names, w.house.Lines[i].Name)
		if w.house.Lines[i].Interface == nearest {
			proposal = i
		}
	}
	if w.Primary != "" {
		i := slices.Index(names, w.Primary)
		if i < 0 {
			return 0, fmt.Errorf("--primary %s: is none of the lines %s", w.Primary, strings.Join(names, ", "))
		}
		return i, nil
	}
	if w.Yes {
		return proposal, nil
	}
	return w.pick("Which line carries everything as long as it is well", "--primary", names, proposal)
}

// hostLAN are this host's interfaces towards the house.
func (w *wizard) hostLAN() ([]string, error) {
	if len(w.LAN) > 0 {
		return w.LAN, nil
	}
	var names []string
	for _, u := range w.uplinks() {
		if !slices.ContainsFunc(w.house.Lines, func(l preset.Line) bool { return l.Interface == u.Name || link.Ifb(l.Interface) == u.Name }) && !u.Line() {
			names = append(names, u.Name)
		}
	}
	proposal := ""
	if len(names) == 1 {
		proposal = names[0]
	}
	answer, err := w.ask("This host's interfaces towards the house ("+strings.Join(names, ", ")+")", "--lan", proposal, func(s string) error {
		for word := range strings.FieldsSeq(strings.ReplaceAll(s, ",", " ")) {
			if !slices.Contains(names, word) {
				return fmt.Errorf("%q is none of %s", word, strings.Join(names, ", "))
			}
		}
		return nil
	})
	return strings.Fields(strings.ReplaceAll(answer, ",", " ")), err
}
