package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/unit"
)

// linuxText is a complete config of a line that this host shapes.
var linuxText = strings.NewReplacer(
	"router: {host: 192.168.88.1, user: wanctl, ssh_key: /etc/wanctl/router.key}", "router: {transport: linux}",
	"queues: {download: Down, upload: Up}", "interfaces: {download: ifb4wan, upload: wan}",
).Replace(legacy)

// Every shipped example is without a finding, whatever is added to them.
func TestEveryExampleParses(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %v, %v", files, err)
	}
	var all []*File
	for _, f := range files {
		all = append(all, shipped(t, filepath.Base(f)))
	}
	if ds := CrossCheck(all...); ds.HasErrors() {
		t.Errorf("two of them cannot be used together:\n%v", ds)
	}
}

func TestLinux(t *testing.T) {
	w := shipped(t, "linux.yaml").WAN
	if w.Router != (Router{Transport: TransportLinux}) || w.Interfaces != (Interfaces{Download: "ifb4wan", Upload: "wan"}) {
		t.Errorf("router %+v, interfaces %+v", w.Router, w.Interfaces)
	}
	if d := cmp.Diff(Qdisc{Framing: Framing{Overhead: 18, Mpu: 64}}, w.Qdisc); d != "" {
		t.Errorf("qdisc (-want +got):\n%s", d)
	}
	w = mustParse(t, "line.yaml", linuxText, Options{}).WAN
	if w.Qdisc != (Qdisc{Framing: Framing{Raw: true}}) || w.Base.Down != 95*unit.Mbps {
		t.Errorf("without a qdisc section: %+v, %+v", w.Qdisc, w.Base)
	}
}

// The figures of tc-cake(8), written out a second time on purpose.
func TestAccess(t *testing.T) {
	for word, want := range map[string]Framing{
		"none": {Raw: true}, "conservative": {Overhead: 48, Layer: AtmCells}, "docsis": {Overhead: 18, Mpu: 64},
		"ethernet": {Overhead: 38, Mpu: 84}, "ethernet-vlan": {Overhead: 42, Mpu: 84}, "fibre": {Overhead: 44, Mpu: 84},
		"vdsl-ptm": {Overhead: 22, Layer: PtmBlocks}, "pppoe-vdsl": {Overhead: 30, Layer: PtmBlocks},
		"adsl-pppoa-vcmux": {Overhead: 10, Layer: AtmCells}, "adsl-pppoa-llc": {Overhead: 14, Layer: AtmCells},
		"adsl-pppoe-vcmux": {Overhead: 32, Layer: AtmCells}, "adsl-pppoe-llcsnap": {Overhead: 40, Layer: AtmCells},
		"adsl-bridged-vcmux": {Overhead: 24, Layer: AtmCells}, "adsl-bridged-llcsnap": {Overhead: 32, Layer: AtmCells},
		"adsl-ipoa-vcmux": {Overhead: 8, Layer: AtmCells}, "adsl-ipoa-llcsnap": {Overhead: 16, Layer: AtmCells},
	} {
		f := mustParse(t, "line.yaml", linuxText+"qdisc: {access: "+word+"}\n", Options{})
		if f.WAN.Qdisc.Framing != want {
			t.Errorf("%s: %+v, want %+v", word, f.WAN.Qdisc.Framing, want)
		}
	}
	if len(accesses) != 16 {
		t.Errorf("there are %d accesses: write the new one down here", len(accesses))
	}
	if f := mustParse(t, "line.yaml", legacy+"interfaces: {lan: bridge}\nqdisc: {access: docsis}\n", Options{}); f.WAN.Qdisc.Framing != (Framing{Overhead: 18, Mpu: 64}) ||
		f.WAN.Interfaces.LAN != "bridge" {
		t.Errorf("RouterOS: %+v, %+v", f.WAN.Qdisc, f.WAN.Interfaces)
	}
	own := mustParse(t, "line.yaml", linuxText+"qdisc: {access: docsis, overhead: -4, mpu: 0, link_layer: atm}\n", Options{})
	if want := (Framing{Overhead: -4, Layer: AtmCells}); own.WAN.Qdisc.Framing != want {
		t.Errorf("own figures: %+v", own.WAN.Qdisc.Framing)
	}
}

func TestLinuxFindings(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"ack filter":   {linuxText + "qdisc: {ack_filter: true}\n", "qdisc.ack_filter: helps only where the download is more than 10 times the upload (here 95 to 18 Mbit/s)"},
		"no overhead":  {linuxText + "qdisc: {mpu: 84}\n", "qdisc.overhead: is missing"},
		"one for both": {strings.Replace(linuxText, "ifb4wan", "wan", 1), "one queue cannot shape both directions (name an ifb of its own, such as ifb4wan)"},
		"no interface": {strings.Replace(linuxText, "interfaces: {download: ifb4wan, upload: wan}\n", "", 1), "interfaces.upload: is required"},
		"queues":       {linuxText + "queues: {download: a, upload: b}\n", "queues.download: has no effect on linux"},
		"host":         {strings.Replace(linuxText, "transport: linux", "transport: linux, host: 192.0.2.1", 1), "router.host: has no effect with transport linux"},
		"lan":          {strings.Replace(linuxText, "upload: wan}", "upload: wan, lan: br0}", 1), "interfaces.lan: has no effect on linux"},
	} {
		_, ds := Parse("line.yaml", strings.NewReader(c.text), Options{})
		if !strings.Contains(ds.String(), c.want) {
			t.Errorf("%s: the findings do not tell %q:\n%v", name, c.want, ds)
		}
	}
	ok := strings.NewReplacer("{floor_mbps: 6, ceiling_mbps: 18}", "{floor_mbps: 6, ceiling_mbps: 9}").Replace(linuxText) + "qdisc: {ack_filter: true}\n"
	if w := mustParse(t, "line.yaml", ok, Options{}).WAN; !w.Qdisc.AckFilter {
		t.Error("ack_filter is off at more than 10:1")
	}
}

func TestLinuxLinesApart(t *testing.T) {
	one := mustParse(t, "a.yaml", linuxText, Options{})
	two := mustParse(t, "b.yaml", strings.Replace(linuxText, "wan_name: line", "wan_name: other", 1), Options{})
	ds := CrossCheck(one, two)
	for _, want := range []string{"interfaces.download: the same interface is used in a.yaml", "interfaces.upload: the same interface is used in a.yaml"} {
		if !strings.Contains(ds.String(), want) {
			t.Errorf("the findings do not tell %q:\n%v", want, ds)
		}
	}
}
