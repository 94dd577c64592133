package life

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// architectures are what the packages call each, and what the program is for.
var architectures = map[string]struct {
	deb, rpm, apk string
	machine       elf.Machine
}{
	"amd64": {"amd64", "x86_64", "x86_64", elf.EM_X86_64},
	"arm64": {"arm64", "aarch64", "aarch64", elf.EM_AARCH64},
	"armv7": {"armhf", "armv7hl", "armv7", elf.EM_ARM},
}

// isFor checks what machine a program is for, and that it needs nothing of it.
func isFor(t *testing.T, what string, program []byte, want elf.Machine) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Errorf("%s: the program cannot be read: %v", what, err)
		return
	}
	libraries, err := f.ImportedLibraries()
	if f.Machine != want || len(libraries) > 0 || err != nil {
		t.Errorf("%s: the program is for %v, links %v, %v", what, f.Machine, libraries, err)
	}
}

func TestEveryArchitectureAndFormat(t *testing.T) {
	need(t, "dpkg-deb", "dpkg")
	need(t, "rpm", "rpm")
	dir := build(t, "1.0.0", "amd64", "arm64", "armv7")
	for arch, a := range architectures {
		file := func(suffix string) string { return filepath.Join(dir, "wanctl_1.0.0_"+suffix) }
		if got := strings.TrimSpace(output(t, nil, "dpkg-deb", "-f", file(arch+".deb"), "Architecture")); got != a.deb {
			t.Errorf("the deb is for %s, want %s", got, a.deb)
		}
		data := output(t, nil, "dpkg-deb", "--fsys-tarfile", file(arch+".deb"))
		isFor(t, arch+".deb", entries(t, strings.NewReader(data))["./usr/bin/wanctl"].data, a.machine)
		if got := output(t, nil, "rpm", "-qp", "--qf", "%{ARCH} %{VERSION} %{LICENSE}", file(arch+".rpm")); got != a.rpm+" 1.0.0 Apache-2.0" {
			t.Errorf("the rpm is %q", got)
		}
		apk(t, file(arch+".apk"), a.apk, a.machine)
		openwrt(t, file("openwrt_"+arch+".tar.gz"), a.machine)
	}
}

type entry struct {
	tar.Header
	data []byte
}

// entries reads a tar.
func entries(t *testing.T, r io.Reader) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		// The first part of an apk is a tar without an end, for the next to go on from.
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && len(all) > 0 {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = entry{*h, data}
	}
}

// counted counts what is read through it, so that the parts of an apk can be told apart.
type counted struct {
	*bufio.Reader
	n int
}

func (c *counted) ReadByte() (byte, error) {
	b, err := c.Reader.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// apk reads a package of Alpine: two gzip streams of tars, what the package manager is told and what it installs.
func apk(t *testing.T, path, arch string, machine elf.Machine) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	in := &counted{Reader: bufio.NewReader(bytes.NewReader(raw))}
	var parts []map[string]entry
	var begins []int
	for {
		begin := in.n
		z, err := gzip.NewReader(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: part %d: %v", path, len(parts), err)
		}
		z.Multistream(false)
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatalf("%s: part %d: %v", path, len(parts), err)
		}
		begins = append(begins, begin)
		parts = append(parts, entries(t, bytes.NewReader(text)))
	}
	if len(parts) != 2 {
		t.Fatalf("%s has %d parts, want the control and the data", path, len(parts))
	}
	control, data := parts[0], parts[1]
	info := map[string]string{}
	for line := range strings.Lines(string(control[".PKGINFO"].data)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " = "); ok {
			info[k] = v
		} else if !strings.HasPrefix(line, "#") {
			t.Errorf("%s: .PKGINFO has a line %q", path, line)
		}
	}
	sum := sha256.Sum256(raw[begins[1]:])
	for k, want := range map[string]string{"pkgname": "wanctl", "pkgver": "1.0.0", "arch": arch, "license": "Apache-2.0", "datahash": hex.EncodeToString(sum[:])} {
		if info[k] != want {
			t.Errorf("%s: %s is %q, want %q", path, k, info[k], want)
		}
	}
	var scripts []string
	for name, e := range control {
		if name == ".PKGINFO" {
			continue
		}
		scripts = append(scripts, name)
		shell(t, path+" "+name, e.data)
	}
	slices.Sort(scripts)
	if want := []string{".post-install", ".post-upgrade", ".pre-deinstall", ".pre-install"}; !slices.Equal(scripts, want) {
		t.Errorf("%s has the scripts %q, want %q", path, scripts, want)
	}
	for name, e := range data {
		if strings.Contains(name, "systemd") {
			t.Errorf("%s installs %s, which Alpine has no use for", path, name)
		}
		if e.Uid != 0 || e.Gid != 0 {
			t.Errorf("%s: %s belongs to %d:%d", path, name, e.Uid, e.Gid)
		}
		if e.Typeflag != tar.TypeReg {
			continue
		}
		digest := sha1.Sum(e.data)
		if got := e.PAXRecords["APK-TOOLS.checksum.SHA1"]; got != hex.EncodeToString(digest[:]) {
			t.Errorf("%s: the checksum of %s is %s", path, name, got)
		}
	}
	isFor(t, path, data["usr/bin/wanctl"].data, machine)
	if e := data["etc/init.d/wanctl"]; e.Mode&0o111 == 0 || !bytes.HasPrefix(e.data, []byte("#!/sbin/openrc-run\n")) {
		t.Errorf("%s: the service is no program of OpenRC", path)
	} else {
		shell(t, "OpenRC's service", e.data)
	}
}

func openwrt(t *testing.T, path string, machine elf.Machine) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all := entries(t, z)
	isFor(t, path, all["usr/bin/wanctl"].data, machine)
	service := all["etc/init.d/wanctl"]
	if service.Mode&0o111 == 0 || !bytes.HasPrefix(service.data, []byte("#!/bin/sh /etc/rc.common\n")) {
		t.Errorf("%s: the service is no program of procd", path)
	}
	shell(t, "procd's service", service.data)
	if keep := all["lib/upgrade/keep.d/wanctl"]; string(keep.data) != "/etc/wanctl/\n" {
		t.Errorf("%s: an upgrade of the system keeps %q", path, keep.data)
	}
}

// shell checks a script's syntax by the strictest shell around.
func shell(t *testing.T, what string, script []byte) {
	t.Helper()
	cmd := exec.Command("sh", "-n")
	cmd.Stdin = bytes.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil || len(script) == 0 {
		t.Errorf("%s is no shell script: %v\n%s", what, err, out)
	}
}

// Two builds of the same source are the same to the byte.
func TestPackagesAreReproducible(t *testing.T) {
	first := build(t, "1.0.0", "amd64")
	again := filepath.Join(t.TempDir(), "again")
	nfpm := strings.TrimSpace(output(t, nil, "make", "-s", "-C", repository, "nfpm-path"))
	output(t, []string{"VERSION=v1.0.0", "SOURCE_DATE_EPOCH=1780000000"}, filepath.Join(repository, "scripts/packages"), again, nfpm, "amd64")
	same(t, first, again)
}

// same compares all files of one directory with those of the same names in another.
func same(t *testing.T, other, dir string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil || len(found) == 0 {
		t.Fatalf("nothing was built: %v", err)
	}
	for _, f := range found {
		if slurp(t, dir, f.Name()) != slurp(t, other, f.Name()) {
			t.Errorf("%s differs between two builds", f.Name())
		}
	}
}
