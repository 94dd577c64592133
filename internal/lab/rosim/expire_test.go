package rosim

import (
	"testing"
	"time"
)

// Who listens to an address list hears that an entry went by itself.
func TestListenersHearOfAnExpiredEntry(t *testing.T) {
	r, c := steady(t, nil)
	if out, failed := r.Exec(t.Context(), DefaultUser, "/ip/firewall/address-list/add list=l address=192.0.2.1 timeout=1m"); failed {
		t.Fatal(out)
	}
	f := r.subscribe(r.root.at(addressListPath))
	defer r.unsubscribe(f)
	c.advance(time.Minute)
	if _, ok := r.Queue("WAN-Download-ATT"); !ok {
		t.Fatal("no queue")
	}
	got, _, err := r.take(f)
	if err != nil || len(got) != 1 || !got[0].dead || got[0].it.text("address") != "192.0.2.1" {
		t.Errorf("%+v %v", got, err)
	}
}
