package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// adminVariable and routerVariable hold passwords for scripts: that of who changes the router, and that of wanctl's own user.
const (
	adminVariable  = "WANCTL_ADMIN_PASSWORD"
	routerVariable = "WANCTL_ROUTER_PASSWORD"
)

// ask puts a question until the answer passes; Enter takes the proposal, where there is one. flag answers it in a script.
func (w *wizard) ask(question, flag, proposal string, judge func(string) error) (string, error) {
	if w.Yes {
		return "", unanswered{[]string{flag + " (" + question + ")"}}
	}
	for {
		fmt.Fprint(w.app.Stdout, question)
		if proposal != "" {
			fmt.Fprintf(w.app.Stdout, " [%s]", proposal)
		}
		fmt.Fprint(w.app.Stdout, ": ")
		answer, err := w.app.readLine(w.ctx)
		switch {
		case errors.Is(err, io.EOF):
			return "", fmt.Errorf("%w at %q (%s)", errEnded, question, flag)
		case err != nil:
			return "", err
		}
		if answer == "" {
			answer = proposal
		}
		if answer == "" {
			fmt.Fprintln(w.app.Stdout, "  There is nothing to propose: please answer.")
			continue
		}
		if err = judge(answer); err == nil {
			return answer, nil
		}
		fmt.Fprintf(w.app.Stdout, "  %v.\n", err)
	}
}

// agree puts a yes-or-no question; the proposal is what Enter means.
func (w *wizard) agree(question, flag string, proposal bool) (bool, error) {
	word := "no"
	if proposal {
		word = "yes"
	}
	answer, err := w.ask(question, flag, word, func(s string) error {
		switch strings.ToLower(s) {
		case "y", "yes", "n", "no":
			return nil
		}
		return errors.New("please answer yes or no")
	})
	return isYes(answer), err
}

// confirm is [App.ask] within the wizard: nothing is proposed, and only a yes is one.
func (w *wizard) confirm(ctx context.Context, question string) (bool, error) {
	if w.Yes {
		return false, unanswered{[]string{"--fingerprint TEXT (" + strings.TrimSuffix(question, " [y/N] ") + ")"}}
	}
	for {
		fmt.Fprint(w.app.Stdout, question)
		answer, err := w.app.readLine(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return false, fmt.Errorf("%w at %q", errEnded, question)
		case err != nil:
			return false, err
		}
		switch strings.ToLower(answer) {
		case "y", "yes":
			return true, nil
		case "", "n", "no":
			return false, nil
		}
		fmt.Fprintln(w.app.Stdout, "  Please answer yes or no.")
	}
}

// secret asks for a password without showing it.
func (w *wizard) secret(question, variable string) (string, error) {
	if w.Yes || w.app.AskSecret == nil {
		return "", unanswered{[]string{variable + " (" + question + ")"}}
	}
	for {
		typed, err := w.app.AskSecret(w.ctx, question+": ")
		switch {
		case errors.Is(err, io.EOF):
			return "", fmt.Errorf("%w at %q (%s)", errEnded, question, variable)
		case err != nil || typed != "":
			return typed, err
		}
		fmt.Fprintln(w.app.Stdout, "  An empty password proves nothing: set one on the router first, or type it again.")
	}
}

// pick lets one of several things be chosen by its number. proposal counts from 0; -1 is none.
func (w *wizard) pick(question, flag string, options []string, proposal int) (int, error) {
	for i, o := range options {
		fmt.Fprintf(w.app.Stdout, "  %2d  %s\n", i+1, o)
	}
	proposed := ""
	if proposal >= 0 {
		proposed = strconv.Itoa(proposal + 1)
	}
	chosen := 0
	_, err := w.ask(question, flag, proposed, func(s string) error {
		n, err := numbered(s, len(options))
		chosen = n
		return err
	})
	return chosen, err
}

// numbered reads the number of an option, and counts it from 0.
func numbered(s string, options int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > options {
		return 0, fmt.Errorf("%q is none of the numbers 1 to %d", s, options)
	}
	return n - 1, nil
}
