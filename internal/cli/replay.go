package cli

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"wanctl/internal/config"
	"wanctl/internal/lab/replay"
)

type replayCmd struct {
	Files   []string `arg:"" name:"file" help:"Files of one recording in their order, from segment 0 on; .gz too."`
	Against string   `placeholder:"CONFIG" help:"Let another WAN configuration decide on the same inputs."`
	JSON    bool     `help:"Print the findings as JSON."`
}

// Help says what is compared.
func (replayCmd) Help() string {
	return `Runs the loop of a recording (the journal section of a WAN file, or wanctl record) again over what it took in, and
compares every decision, router operation and message to the bit. The first difference is printed with its record, its time
and both values; the exit code is then 1. Each segment replays by itself; one that another version of wanctl recorded needs all
before it, else it starts from what its header says and may differ.

With --against another configuration decides. The line would have answered other rates with other delays: it shows what would
have been decided, and not what would have come of it.

Example:

    wanctl replay journal/ATT-*.journal
    wanctl replay ATT.journal --against configs/att_config.yaml`
}

// Run replays a recording.
func (c replayCmd) Run(app *App) error {
	var against *config.WAN
	if c.Against != "" {
		var err error
		if against, err = app.wanFile(c.Against); err != nil {
			return err
		}
	}
	var files []replay.File
	for _, path := range c.Files {
		r, err := openRecorded(path)
		if err != nil {
			return err
		}
		defer r.Close()
		files = append(files, replay.File{Name: filepath.Base(path), R: r})
	}
	res, err := replay.Run(files, against)
	if err != nil {
		return err
	}
	if c.JSON {
		err = app.printJSON("findings", res)
	} else if err = res.Text(app.Stdout); err != nil {
		err = fmt.Errorf("print the findings: %w", err)
	}
	if err != nil {
		return err
	}
	if res.Whole && !res.Against && res.First != nil {
		return exitCode(exitFailed)
	}
	return nil
}

// wanFile reads the configuration of a WAN, and prints what is wrong with it.
func (a *App) wanFile(path string) (*config.WAN, error) {
	f, ds := a.parse(path, "")
	fmt.Fprint(a.Stderr, ds.Errors())
	switch {
	case f == nil:
		return nil, fmt.Errorf("%s cannot be used", path)
	case f.WAN == nil:
		return nil, fmt.Errorf("%s is not the configuration of a WAN", path)
	}
	return f.WAN, nil
}

// recorded is an open recording, and closes its file.
type recorded struct {
	io.Reader
	io.Closer
}

// openRecorded opens a recording, which may be compressed with gzip.
func openRecorded(path string) (recorded, error) {
	f, err := os.Open(path)
	if err != nil {
		return recorded{}, err
	}
	b := bufio.NewReader(f)
	if head, _ := b.Peek(2); string(head) != "\x1f\x8b" { // what cannot be read fails again, where it is
		return recorded{b, f}, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return recorded{}, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return recorded{z, f}, nil
}
