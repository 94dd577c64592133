package routeros

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestSteerable(t *testing.T) {
	good := Rule{
		ID: "*5", Comment: "STEER", Chain: "prerouting", Action: "mark-connection", ConnectionState: "new", NewConnectionMark: "c-wan2",
	}
	if err := good.Steerable(); err != nil {
		t.Errorf("the asked form is refused: %v", err)
	}
	own := good
	own.Chain = "steer"
	if err := own.Steerable(); err != nil {
		t.Errorf("a chain of the user's own is refused: %v", err)
	}
	for _, tt := range []struct {
		name       string
		change     func(*Rule)
		wrong, fix string
	}{
		{
			"marks packets", func(r *Rule) { r.Action, r.NewRoutingMark, r.NewConnectionMark = "mark-routing", "via-wan2", "" }, "first packet",
			`[find where comment="STEER"] action=mark-connection connection-state=new new-connection-mark=c-via-wan2`,
		},
		{"marks packets with nothing", func(r *Rule) { r.Action, r.NewConnectionMark = "mark-routing", "" }, "first packet", "new-connection-mark=c-via-wan2"},
		{"drops", func(r *Rule) { r.Action = "drop" }, `action is "drop"`, "action=mark-connection"},
		{"every state", func(r *Rule) { r.ConnectionState = "" }, "every state", "connection-state=new"},
		{"running connections too", func(r *Rule) { r.ConnectionState = "established,new" }, "established,new", "connection-state=new"},
		{"no mark", func(r *Rule) { r.NewConnectionMark = "" }, "no connection mark", "new-connection-mark="},
		{"no-mark", func(r *Rule) { r.NewConnectionMark = "no-mark" }, "no connection mark", "new-connection-mark="},
		{"too late", func(r *Rule) { r.Chain = "postrouting" }, "postrouting", "chain=prerouting"},
		{"of a list", func(r *Rule) { r.SrcAddressList = "wanctl-steer-WAN2" }, "takes what is on the list", "mangle_rule.switch: list"},
		{"invalid", func(r *Rule) { r.Invalid = true }, "invalid", "print detail where invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := good
			tt.change(&r)
			err := r.Steerable()
			if err == nil || !strings.Contains(err.Error(), tt.wrong) || !strings.Contains(err.Error(), tt.fix) {
				t.Fatalf("got %v; want %q and the way out %q", err, tt.wrong, tt.fix)
			}
			if !IsForm(fmt.Errorf("steering: %w", err)) {
				t.Error("the error is not known as one of form")
			}
		})
	}
	byList := good
	byList.SrcAddressList, byList.Enabled = "wanctl-steer-WAN2", true
	if err := byList.SteerableBy("wanctl-steer-WAN2"); err != nil {
		t.Errorf("a list's own rule is refused: %v", err)
	}
	phones := good
	phones.SrcAddressList = "phones"
	if err := phones.Steerable(); err != nil {
		t.Errorf("a user's list is refused: %v", err)
	}
	for want, r := range map[string]Rule{
		"src-address-list=wanctl-steer-WAN2 disabled=no": good,
		" disabled=no":           func() Rule { r := byList; r.Enabled = false; return r }(),
		"action=mark-connection": func() Rule { r := byList; r.Action = "drop"; return r }(),
	} {
		if err := r.SteerableBy("wanctl-steer-WAN2"); err == nil || !IsForm(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
	if IsForm(errors.New("x")) {
		t.Error("any error is one of form")
	}
}
