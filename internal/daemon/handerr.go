package daemon

import (
	"errors"
	"io/fs"

	"wanctl/internal/actuate"
	"wanctl/internal/cake"
	"wanctl/internal/link"
	"wanctl/internal/policy"
	"wanctl/internal/routeros"
)

// Errors of the hands, as the loops see them. A hand of its own kind has its own closed list of what can go wrong, and
// this is the one place that knows them all.

// classify turns a hand's error into what the actuator decides by, and whether anything had been sent.
func classify(err error) (actuate.ErrClass, bool) {
	var router *routeros.Error
	var kernel *cake.Error
	var rules *policy.Error
	switch {
	case err == nil:
		return actuate.None, true
	case routeros.IsForm(err):
		return actuate.Misconfigured, false
	case errors.As(err, &router):
		return classifyRouter(err, router)
	case errors.As(err, &kernel):
		return classifyKernel(kernel)
	case errors.As(err, &rules):
		return classifyPolicy(rules), false
	}
	return actuate.Transient, false
}

func classifyPolicy(e *policy.Error) actuate.ErrClass {
	switch e.Kind {
	case policy.Permission, policy.NoModule, policy.Missing, policy.Refused:
		return actuate.Misconfigured
	case policy.Other, policy.Mismatch:
	}
	return actuate.Transient
}

func classifyRouter(err error, e *routeros.Error) (actuate.ErrClass, bool) {
	var local *fs.PathError
	if (e.Kind == routeros.Auth || e.Kind == routeros.HostKey) && errors.As(err, &local) {
		// Our own key or known_hosts could not be read: nobody was asked, and the file may be back in a moment.
		return actuate.Transient, false
	}
	switch e.Kind {
	case routeros.Auth, routeros.HostKey, routeros.Certificate:
		return actuate.Fatal, false
	case routeros.NoSuchItem, routeros.Ambiguous, routeros.Permission, routeros.Syntax:
		return actuate.Misconfigured, e.Sent
	case routeros.Unreachable, routeros.Timeout, routeros.Lost, routeros.Mismatch, routeros.Reply:
		if e.Sent {
			return actuate.Unknown, true
		}
	}
	return actuate.Transient, e.Sent
}

func classifyKernel(e *cake.Error) (actuate.ErrClass, bool) {
	switch e.Kind {
	case cake.Permission, cake.NoSuchNamespace, cake.NoSuchInterface, cake.NoSuchClass, cake.NotCake, cake.Gone,
		cake.NoModule, cake.Range:
		// A person has to mend it. Nothing is lost by trying again: interfaces and queues come back.
		return actuate.Misconfigured, e.Sent
	case cake.Mismatch, cake.Reply, cake.Other:
		if e.Sent {
			return actuate.Unknown, true
		}
	}
	return actuate.Transient, e.Sent
}

// covers says which directions of the report that came with an error were read back and stand.
func covers(err error) link.Pair[bool] {
	var router *routeros.Error
	var kernel *cake.Error
	switch {
	case errors.As(err, &router):
		return router.Read
	case errors.As(err, &kernel):
		return kernel.Read
	}
	return link.Pair[bool]{}
}

// kindOf names an error's kind; empty when it is no hand's.
func kindOf(err error) string {
	var router *routeros.Error
	var kernel *cake.Error
	var rules *policy.Error
	switch {
	case errors.As(err, &router):
		return router.Kind.String()
	case errors.As(err, &kernel):
		return kernel.Kind.String()
	case errors.As(err, &rules):
		return rules.Kind.String()
	}
	return ""
}

// answered says that the router was there and only the one thing asked of it failed.
func answered(err error) bool {
	var router *routeros.Error
	var kernel *cake.Error
	var rules *policy.Error
	switch {
	case errors.As(err, &kernel):
		return kernel.Kind != cake.Other
	case errors.As(err, &rules):
		return true // the kernel always answers
	case !errors.As(err, &router):
		return routeros.IsForm(err)
	}
	switch router.Kind {
	case routeros.NoSuchItem, routeros.Ambiguous, routeros.Permission, routeros.Syntax, routeros.Mismatch, routeros.Reply:
		return true
	case routeros.Unreachable, routeros.Auth, routeros.HostKey, routeros.Certificate, routeros.Timeout, routeros.Lost:
	}
	return false
}
