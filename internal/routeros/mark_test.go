package routeros_test

import (
	"strings"
	"testing"
	"time"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
)

// TestMarks makes, reads, refreshes and removes an owner mark on every router and through every door.
func TestMarks(t *testing.T) {
	owner := link.Owner{ID: "0123456789abcdef", Host: "pi4", PID: 7, Controls: []string{link.QueueThing(att.Down), link.QueueThing(att.Up)}}
	address := link.MarkAddress(owner.Controls...)
	everyWay(t, func(t *testing.T, w way) {
		for name, dialect := range rosim.Dialects() {
			t.Run(name, func(t *testing.T) {
				o := rosim.DefaultOptions()
				o.Dialect, o.SectorsPerWrite = dialect, 8
				b := w.router(t, o)
				ctx := t.Context()
				if marks, err := b.client.Marks(ctx); err != nil || len(marks) != 0 {
					t.Fatalf("%+v %v", marks, err)
				}
				for _, line := range []string{
					"/ip/firewall/address-list/add list=wanctl-owner address=240.0.0.1 comment=\"a | b\"",
					"/ip/firewall/address-list/add list=calls address=" + address,
				} {
					if out, bad := b.router.Exec(ctx, rosim.DefaultUser, line); bad {
						t.Fatal(out)
					}
				}
				before := b.router.FlashSectors()
				if err := b.client.MakeMark(ctx, address, owner.Comment()); err != nil {
					t.Fatal(err)
				}
				if err := b.client.MakeMark(ctx, address, owner.Comment()); err == nil || !routeros.HasMark(err) {
					t.Errorf("a second mark with the address: %v", err)
				}
				marks, err := b.client.Marks(ctx)
				if err != nil || len(marks) != 2 || marks[0].Comment != "a | b" || marks[0].Left != 0 {
					t.Fatalf("%+v %v", marks, err)
				}
				mine := marks[1]
				if back, ok := link.ParseOwner(mine.Comment); !ok || back.ID != owner.ID || mine.Address != address || mine.Left <= link.MarkLife-time.Minute || mine.Left > link.MarkLife {
					t.Errorf("%+v", mine)
				}
				b.router.Pass(5 * time.Minute)
				if err := b.client.RefreshMark(ctx, mine.ID); err != nil {
					t.Fatal(err)
				}
				if marks, err = b.client.Marks(ctx); err != nil || len(marks) != 2 || marks[1].Left <= 9*time.Minute {
					t.Errorf("refreshed: %+v %v", marks, err)
				}
				if got := b.router.FlashSectors(); got != before {
					t.Errorf("%d sectors of flash were written", got-before)
				}
				b.router.Pass(link.MarkLife)
				err = b.client.RefreshMark(ctx, mine.ID)
				if !routeros.IsGone(err) {
					t.Errorf("a mark that is gone was refreshed: %v", err)
				}
				if err := b.client.MakeMark(ctx, address, owner.Comment()); err != nil {
					t.Fatal(err)
				}
				if marks, err = b.client.Marks(ctx); err != nil || len(marks) != 2 {
					t.Fatalf("made anew: %+v %v", marks, err)
				}
				for range 2 {
					if err := b.client.RemoveMark(ctx, marks[1].ID); err != nil {
						t.Fatal(err)
					}
				}
				if marks, err = b.client.Marks(ctx); err != nil || len(marks) != 1 {
					t.Errorf("removed: %+v %v", marks, err)
				}
				if out, _ := b.router.Exec(ctx, rosim.DefaultUser, ":put [:len [/ip/firewall/address-list/find list=calls]]"); strings.TrimSpace(out) != "1" {
					t.Errorf("an entry of another list went, too: %s", out)
				}
			})
		}
	})
}

// TestMarksRefused: what the router does not let us do is said as what it is.
func TestMarksRefused(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		b := w.router(t, rosim.DefaultOptions())
		if _, err := b.client.Marks(t.Context()); err != nil {
			t.Fatal(err)
		}
		failed(t, b.client.MakeMark(t.Context(), "192.0.2.1", "wanctl: owner=0123456789abcdef host=a pid=1 queue=b"), routeros.Syntax)
		failed(t, b.client.MakeMark(t.Context(), "240.0.2.1", "no owner"), routeros.Syntax)
		failed(t, b.client.RefreshMark(t.Context(), "7"), routeros.Syntax)
		failed(t, b.client.RemoveMark(t.Context(), "*"), routeros.Syntax)
	})
}
