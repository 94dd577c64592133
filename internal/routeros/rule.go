package routeros

import (
	"errors"
	"fmt"
	"strings"

	"wanctl/internal/link"
)

// Rule is one rule of /ip/firewall/mangle as the router reports it.
type Rule struct {
	// Enabled is false while the rule is disabled.
	Enabled bool
	// Invalid is the router's own flag: the rule names something that does not exist, and does nothing.
	Invalid bool
	// ID is the router's id, "*5"; it changes when the rule is made anew.
	ID string
	// Comment is what the rule was found by.
	Comment string
	// Chain, Action, ConnectionState, NewConnectionMark, NewRoutingMark and SrcAddressList are the properties of the same
	// names; empty when unset.
	Chain, Action, ConnectionState, NewConnectionMark, NewRoutingMark, SrcAddressList string
}

// errForm is what [Rule.Steerable] finds wrong, with the command that puts it right.
type errForm struct{ comment, wrong, fix string }

func (e errForm) Error() string {
	return fmt.Sprintf("mangle rule %q is not one wanctl toggles: %s; put it right with: %s", e.comment, e.wrong, e.fix)
}

// Steerable says why toggling the rule would not move new connections, and only new ones, to the other WAN; nil when it
// would. The form it asks for: in prerouting (or a chain of the user's own that prerouting jumps to), marking the connection, for
// connection-state=new only, while a permanent rule derives the routing mark from the connection mark. A rule that
// marks the routing of new packets moves the first packet of a connection alone and breaks it.
func (r Rule) Steerable() error {
	set := "/ip/firewall/mangle/set [find where comment=" + quote(r.Comment) + "] "
	bad := func(wrong, fix string) error { return errForm{r.Comment, wrong, fix} }
	switch {
	case r.Action == "mark-routing":
		markName := r.NewRoutingMark
		if markName == "" {
			markName = "via-wan2"
		}
		return bad("it marks the routing of single packets, so only the first packet of each new connection would take the other WAN",
			set+"action=mark-connection connection-state=new new-connection-mark=c-"+markName+" passthrough=yes, and add behind it: "+
				"/ip/firewall/mangle/add chain=prerouting action=mark-routing connection-mark=c-"+markName+" new-routing-mark="+markName+
				" in-interface=LAN passthrough=no")
	case r.Action != "mark-connection":
		return bad(fmt.Sprintf("its action is %q", r.Action), set+"action=mark-connection connection-state=new new-connection-mark=c-wan2")
	case r.ConnectionState != "new":
		state := "it matches connections in every state"
		if r.ConnectionState != "" {
			state = fmt.Sprintf("it matches connection-state=%s", r.ConnectionState)
		}
		return bad(state+", so connections that already run would change their WAN", set+"connection-state=new")
	case r.NewConnectionMark == "" || r.NewConnectionMark == "no-mark":
		return bad("it sets no connection mark", set+"new-connection-mark=c-wan2")
	case r.Chain == "input" || r.Chain == "output" || r.Chain == "forward" || r.Chain == "postrouting":
		return bad(fmt.Sprintf("it is in the chain %q, where a forwarded connection's route is already chosen or never looked up", r.Chain),
			set+"chain=prerouting")
	case strings.HasPrefix(r.SrcAddressList, link.SteerLists):
		return bad(fmt.Sprintf("it takes what is on the list %s, which switches it", r.SrcAddressList),
			set+`!src-address-list disabled=yes (wanctl router plan does that), or write mangle_rule.switch: list`)
	case r.Invalid:
		return bad("the router flags it as invalid: something it names does not exist", "/ip/firewall/mangle/print detail where invalid")
	}
	return nil
}

// SteerableBy says why entries of a list would not switch the rule; nil when they would. The form is [Rule.Steerable]'s,
// always enabled, with the list as its src-address-list.
func (r Rule) SteerableBy(list string) error {
	set := "/ip/firewall/mangle/set [find where comment=" + quote(r.Comment) + "] "
	if r.SrcAddressList != list {
		return errForm{r.Comment, fmt.Sprintf("its src-address-list is %q, and not the list that switches it", r.SrcAddressList), set + "src-address-list=" + list + " disabled=no"}
	}
	r.SrcAddressList = ""
	if err := r.Steerable(); err != nil {
		return err
	}
	if !r.Enabled {
		return errForm{r.Comment, "it is disabled, so its list switches nothing", set + "disabled=no"}
	}
	return nil
}

// IsForm says whether err comes from [Rule.Steerable].
func IsForm(err error) bool {
	var f errForm
	return errors.As(err, &f)
}
