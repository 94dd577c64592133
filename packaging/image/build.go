package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// imageUser is nobody in particular: a number needs no /etc/passwd, and is the same that other empty bases use.
	imageUser = "65532:65532"
	imageUID  = 65532
)

// platforms are the architectures an image may be for.
var platforms = map[string]v1.Platform{
	"amd64": {OS: "linux", Architecture: "amd64"},
	"arm64": {OS: "linux", Architecture: "arm64"},
	"armv7": {OS: "linux", Architecture: "arm", Variant: "v7"},
}

type builder struct {
	version string
	at      time.Time
}

// built is an image, and its one layer as a plain tar.
type built struct {
	img      v1.Image
	platform v1.Platform
	layer    []byte
}

// layerTar holds the program and the directories it works in, which belong to its user, so that a new volume does too.
func (b builder) layerTar(program []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := newArchive(&buf)
	for _, d := range []string{"etc", "etc/wanctl", "run", "run/wanctl", "usr", "usr/bin", "var", "var/lib", "var/lib/wanctl"} {
		h := tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755}
		if d == "run/wanctl" || d == "var/lib/wanctl" {
			h.Uid, h.Gid, h.Mode = imageUID, imageUID, 0o750
		}
		if err := w.add(h, nil, b.at); err != nil {
			return nil, err
		}
	}
	err := w.add(tar.Header{Typeflag: tar.TypeReg, Name: "usr/bin/wanctl", Mode: 0o755}, program, b.at)
	if err == nil {
		err = w.Close()
	}
	return buf.Bytes(), err
}

// build makes the image of one architecture.
func (b builder) build(arch string, program []byte) (built, error) {
	p, ok := platforms[arch]
	if !ok {
		return built{}, fmt.Errorf("no such architecture; there are amd64, arm64 and armv7")
	}
	layer, err := b.layerTar(program)
	if err != nil {
		return built{}, fmt.Errorf("pack the layer: %w", err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return built{}, fmt.Errorf("compress the layer: %w", err)
	}
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	if img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{Created: v1.Time{Time: b.at}, CreatedBy: "wanctl " + b.version}}); err != nil {
		return built{}, fmt.Errorf("append the layer: %w", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return built{}, fmt.Errorf("read the configuration: %w", err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Variant = p.OS, p.Architecture, p.Variant
	cfg.Created = v1.Time{Time: b.at}
	cfg.Config = v1.Config{
		User:       imageUser,
		Env:        []string{"PATH=/usr/bin", "STATE_DIRECTORY=/var/lib/wanctl", "RUNTIME_DIRECTORY=/run/wanctl"},
		Entrypoint: []string{"/usr/bin/wanctl"},
		Cmd:        []string{"run", "/etc/wanctl/wan.yaml"},
		WorkingDir: "/",
		StopSignal: "SIGTERM",
		Volumes:    map[string]struct{}{"/var/lib/wanctl": {}},
		Healthcheck: &v1.HealthConfig{
			Test:     []string{"CMD", "/usr/bin/wanctl", "status", "--json"},
			Interval: 30 * time.Second, Timeout: 10 * time.Second, StartPeriod: time.Minute, Retries: 3,
		},
		Labels: map[string]string{
			"org.opencontainers.image.title": "wanctl", "org.opencontainers.image.version": b.version,
			"org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.description": "Keeps latency flat while an internet line is full",
		},
	}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return built{}, fmt.Errorf("write the configuration: %w", err)
	}
	return built{img, p, layer}, nil
}

// dockerArchive writes one image as `docker save` does, its layer uncompressed: the form that every version of RouterOS and
// of Docker reads. An empty user leaves who runs it to the router.
func (b builder) dockerArchive(w *archive, img built, user string) error {
	cfg, err := img.img.ConfigFile()
	if err != nil {
		return err
	}
	cfg = cfg.DeepCopy()
	cfg.Config.User = user
	config, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	hash, _, err := v1.SHA256(bytes.NewReader(config))
	if err != nil {
		return err
	}
	id := cfg.RootFS.DiffIDs[0].Hex
	manifest, err := json.Marshal([]map[string]any{{
		"Config": hash.Hex + ".json", "RepoTags": []string{"wanctl:" + b.version}, "Layers": []string{id + "/layer.tar"},
	}})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{hash.Hex + ".json", config}, {id + "/layer.tar", img.layer}, {"manifest.json", manifest}} {
		if err := w.add(tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644}, f.data, b.at); err != nil {
			return err
		}
	}
	return nil
}

// ociArchive writes an index of all images, as an OCI layout in a tar.
func (b builder) ociArchive(w *archive, all []built) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range all {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img.img, Descriptor: v1.Descriptor{Platform: &img.platform}})
	}
	dir, err := os.MkdirTemp("", "wanctl-image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	at, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := at.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "wanctl:" + b.version})); err != nil {
		return err
	}
	var names []string
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	}); err != nil {
		return err
	}
	slices.Sort(names)
	for _, path := range names {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := w.add(tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path, dir+"/"), Mode: 0o644}, data, b.at); err != nil {
			return err
		}
	}
	return nil
}

// archive is a tar whose bytes depend on nothing but what is added.
type archive struct{ *tar.Writer }

func newArchive(w io.Writer) *archive { return &archive{tar.NewWriter(w)} }

func (a *archive) add(h tar.Header, data []byte, at time.Time) error {
	h.Size, h.ModTime, h.Format = int64(len(data)), at, tar.FormatUSTAR
	if err := a.WriteHeader(&h); err != nil {
		return err
	}
	_, err := a.Write(data)
	return err
}
