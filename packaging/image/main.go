// Command image writes the container images of wanctl from its programs: an OCI archive for all architectures, and for each
// one an archive for `docker load` and one for RouterOS. The same programs and time give the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	version := flag.String("version", "", "version of the programs")
	out := flag.String("out", "dist", "directory that the archives are written to")
	flag.Parse()
	if err := run(*version, *out, os.Getenv("SOURCE_DATE_EPOCH"), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run makes all archives of the programs, which are given as ARCH=FILE.
func run(version, out, epoch string, programs []string) error {
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || version == "" || len(programs) == 0 {
		return errors.New("usage: SOURCE_DATE_EPOCH=SECONDS image --version=VERSION --out=DIR ARCH=PROGRAM…")
	}
	b := builder{version: version, at: time.Unix(seconds, 0).UTC()}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("make the directory of the images: %w", err)
	}
	var all []built
	for _, p := range programs {
		arch, path, ok := strings.Cut(p, "=")
		if !ok {
			return fmt.Errorf("%q is not ARCH=PROGRAM", p)
		}
		program, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the program for %s: %w", arch, err)
		}
		img, err := b.build(arch, program)
		if err != nil {
			return fmt.Errorf("image for %s: %w", arch, err)
		}
		all = append(all, img)
		for kind, user := range map[string]string{"docker": imageUser, "routeros": ""} {
			name := filepath.Join(out, fmt.Sprintf("wanctl_%s_%s_%s.tar", version, kind, arch))
			if err := writeFile(name, func(w *archive) error { return b.dockerArchive(w, img, user) }); err != nil {
				return err
			}
		}
	}
	return writeFile(filepath.Join(out, fmt.Sprintf("wanctl_%s_oci.tar", version)), func(w *archive) error { return b.ociArchive(w, all) })
}

// writeFile makes one archive and says its name.
func writeFile(name string, fill func(*archive) error) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write an image: %w", err)
	}
	a := newArchive(f)
	if err := errors.Join(fill(a), a.Close(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	fmt.Println(name)
	return nil
}
