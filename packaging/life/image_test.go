package life

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func images(t *testing.T, out string, arch ...string) {
	t.Helper()
	output(t, []string{"VERSION=v1.0.0", "SOURCE_DATE_EPOCH=1780000000"}, filepath.Join(repository, "scripts/images"), append([]string{out}, arch...)...)
}

// All images are whole, hold nothing but the program, and say how to run it; two builds have one digest.
func TestImages(t *testing.T) {
	out := filepath.Join(t.TempDir(), "one")
	images(t, out)
	again := filepath.Join(t.TempDir(), "two")
	images(t, again)
	same(t, out, again)

	dir := t.TempDir()
	for name, e := range entries(t, bytes.NewReader([]byte(slurp(t, out, "wanctl_1.0.0_oci.tar")))) {
		put(t, dir, name, string(e.data))
	}
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(outer); err != nil {
		t.Errorf("the OCI archive is not whole: %v", err)
	}
	top, err := outer.IndexManifest()
	if err != nil || len(top.Manifests) != 1 {
		t.Fatalf("the OCI archive has %d entries, %v; want the one index", len(top.Manifests), err)
	}
	t.Logf("digest %s", top.Manifests[0].Digest)
	index, err := outer.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, d := range m.Manifests {
		platforms = append(platforms, d.Platform.String())
		img, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkConfig(t, d.Platform.String(), img, "65532:65532")
	}
	if got := strings.Join(platforms, " "); got != "linux/amd64 linux/arm64 linux/arm/v7" {
		t.Errorf("the OCI archive is for %s", got)
	}

	for arch, a := range architectures {
		for kind, user := range map[string]string{"docker": "65532:65532", "routeros": ""} {
			path := filepath.Join(out, "wanctl_1.0.0_"+kind+"_"+arch+".tar")
			img, err := tarball.ImageFromPath(path, nil)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if err := validate.Image(img); err != nil {
				t.Errorf("%s is not whole: %v", path, err)
			}
			checkConfig(t, path, img, user)
			whole := entries(t, bytes.NewReader([]byte(slurp(t, "", path))))
			var manifest []struct{ Layers []string }
			if err := json.Unmarshal(whole["manifest.json"].data, &manifest); err != nil || len(manifest) != 1 || len(manifest[0].Layers) != 1 {
				t.Fatalf("%s: the manifest is %s, %v", path, whole["manifest.json"].data, err)
			}
			// RouterOS reads no compressed layer: this is the tar itself.
			layer := entries(t, bytes.NewReader(whole[manifest[0].Layers[0]].data))
			for name, e := range layer {
				if e.Typeflag != tar.TypeDir && name != "usr/bin/wanctl" {
					t.Errorf("%s holds %s", path, name)
				}
			}
			isFor(t, path, layer["usr/bin/wanctl"].data, a.machine)
			if d := layer["var/lib/wanctl/"]; d.Uid != 65532 || d.Mode != 0o750 {
				t.Errorf("%s: the state's directory belongs to %d with mode %o", path, d.Uid, d.Mode)
			}
		}
	}
}

func checkConfig(t *testing.T, what string, img v1.Image, user string) {
	t.Helper()
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	h := c.Config.Healthcheck
	if h == nil || strings.Join(h.Test, " ") != "CMD /usr/bin/wanctl status --json" {
		t.Errorf("%s: its health is checked by %+v", what, h)
	}
	if c.Config.User != user || c.Config.Entrypoint[0] != "/usr/bin/wanctl" || len(c.RootFS.DiffIDs) != 1 {
		t.Errorf("%s is run as %q by %q from %d layers", what, c.Config.User, c.Config.Entrypoint, len(c.RootFS.DiffIDs))
	}
}

// The image's root, its user and its health check against the emulated router, with no right but ping_group_range.
func TestImageRuns(t *testing.T) {
	needSpaces(t)
	out := t.TempDir()
	images(t, out, "amd64")
	work := t.TempDir()
	rootfs := t.TempDir()
	img, err := tarball.ImageFromPath(filepath.Join(out, "wanctl_1.0.0_docker_amd64.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for name, e := range entries(t, r) {
		path := filepath.Join(rootfs, name)
		if e.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = os.WriteFile(path, e.data, e.FileInfo().Mode())
		}
		if err == nil {
			err = os.Chown(path, e.Uid, e.Gid)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, rootfs, "proc/.here", "")
	put(t, rootfs, "etc/wanctl/wan.yaml", strings.NewReplacer("/etc/wanctl/ssh/", "/etc/wanctl/").Replace(guestWAN))
	said := output(t, nil, "testdata/container.sh", rootfs, work, filepath.Join(rootfs, "usr/bin/wanctl"))
	if !strings.Contains(said, `"healthy": true`) || !strings.Contains(said, "CapEff:\t0000000000000000") {
		t.Errorf("the container says\n%s", said)
	}
	if journal := slurp(t, work, "router.json"); !strings.Contains(journal, `"name":"WAN-Download-ATT","limit":80000000`) {
		t.Errorf("its stop did not leave the base on the router:\n%s", journal)
	}
}
