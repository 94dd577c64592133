package deploy

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"wanctl/internal/install"
)

// machines are what `uname -m` calls the architectures that wanctl is built for.
var machines = map[string]string{
	"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "arm", "armv8l": "arm", "armv7": "arm",
}

// Program is a binary that can be sent.
type Program struct {
	Path, Arch string
	Size       int64
	Sum        string
}

// ReadProgram looks at a binary: it has to be a static Linux program of a known architecture.
func ReadProgram(path string) (Program, error) {
	f, err := elf.Open(path)
	if err != nil {
		var bad *elf.FormatError
		if errors.As(err, &bad) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("is no Linux program (no ELF file)")
		}
		return Program{}, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	p := Program{Path: path}
	switch {
	case f.Machine == elf.EM_X86_64 && f.Class == elf.ELFCLASS64:
		p.Arch = "amd64"
	case f.Machine == elf.EM_AARCH64 && f.Class == elf.ELFCLASS64:
		p.Arch = "arm64"
	case f.Machine == elf.EM_ARM && f.Class == elf.ELFCLASS32:
		p.Arch = "arm"
	default:
		return Program{}, fmt.Errorf("%s: is built for %s, want amd64, arm64 or arm", path, f.Machine)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return Program{}, fmt.Errorf("%s: is no program (%s)", path, f.Type)
	}
	for _, s := range f.Progs {
		if s.Type == elf.PT_INTERP {
			return Program{}, fmt.Errorf("%s: is not static: build it with CGO_ENABLED=0", path)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return Program{}, err
	}
	p.Size = info.Size()
	p.Sum, err = install.Sum(path)
	return p, err
}

// Programs finds the binary for an architecture: own, or wanctl-linux-ARCH in a directory.
type Programs struct {
	Own, Dir string
	seen     map[string]Program
}

// For returns the binary for an architecture. One whose header says otherwise is refused, whatever its name is.
func (p *Programs) For(arch string) (Program, error) {
	if got, ok := p.seen[arch]; ok {
		return got, nil
	}
	path, hint := p.Own, fmt.Sprintf("name a directory with wanctl-linux-%s (--binary-dir)", arch)
	if p.Dir != "" {
		path = filepath.Join(p.Dir, "wanctl-linux-"+arch)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return Program{}, fmt.Errorf("there is no %s", path)
		}
		hint = "build it with GOARCH=" + arch
	}
	got, err := ReadProgram(path)
	if err != nil {
		return Program{}, err
	}
	if got.Arch != arch {
		return Program{}, fmt.Errorf("%s is built for %s, and the host is %s: %s", path, got.Arch, arch, hint)
	}
	if p.seen == nil {
		p.seen = map[string]Program{}
	}
	p.seen[arch] = got
	return got, nil
}
