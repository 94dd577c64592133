package cli

import (
	"fmt"
	"slices"

	"wanctl/internal/blueprint"
	"wanctl/internal/preset"
)

// queues finds the queues of a line: those that were named, or that the router has, or new ones.
func (w *wizard) queues(a *lineAnswers, u blueprint.Uplink) (preset.Queues, error) {
	made := preset.Queues{Download: "WAN-Download-" + a.name, Upload: "WAN-Upload-" + a.name}
	switch {
	case a.simple != "":
		return preset.Queues{Simple: a.simple, There: w.has(blueprint.QueueSimple, a.simple)}, nil
	case a.download != "":
		return preset.Queues{
			Download: a.download, Upload: a.upload, There: w.has(blueprint.QueueTree, a.download) && w.has(blueprint.QueueTree, a.upload),
		}, nil
	case w.Yes:
		made.There = w.has(blueprint.QueueTree, made.Download) && w.has(blueprint.QueueTree, made.Upload)
		return made, nil
	}
	found, tree := w.foundQueues(u.Name), w.freeTree()
	if len(found) == 0 && len(tree) < 2 {
		return made, nil
	}
	options := make([]string, 0, len(found)+2)
	for _, q := range found {
		if q.Simple != "" {
			options = append(options, fmt.Sprintf("the simple queue %s that is there", q.Simple))
			continue
		}
		options = append(options, fmt.Sprintf("the queues %s and %s that are there", q.Download, q.Upload))
	}
	options = append(options, fmt.Sprintf("new queues of the tree, %s and %s", made.Download, made.Upload), "a new simple queue, WAN-"+a.name)
	if len(tree) >= 2 {
		options = append(options, "two other queues of the tree")
	}
	proposal := len(found) // new ones, unless there is no doubt
	if len(found) == 1 {
		proposal = 0
	}
	fmt.Fprintf(w.app.Stdout, "Queues for %s; wanctl sets their max-limit:\n", a.name)
	n, err := w.pick("Which", "--line download= and upload=, or simple=", options, proposal)
	switch {
	case err != nil:
		return made, err
	case n < len(found):
		return found[n], nil
	case n == len(found):
		return made, nil
	case n == len(found)+1:
		return preset.Queues{Simple: "WAN-" + a.name}, nil
	}
	down, err := w.pick("Which has the download of "+a.name, "--line download=", tree, -1)
	if err != nil {
		return made, err
	}
	rest := slices.Delete(slices.Clone(tree), down, down+1)
	up, err := w.pick("Which has its upload", "--line upload=", rest, -1)
	return preset.Queues{Download: tree[down], Upload: rest[up], There: true}, err
}

func (w *wizard) has(menu, name string) bool {
	return slices.ContainsFunc(w.view.inventory[menu], func(r blueprint.Row) bool { return r["name"] == name && !blueprint.Truth(r["dynamic"]) })
}

// mostFound bounds how many pairs of queues are offered.
const mostFound = 9

// foundQueues are queues of the router that may be a line's: simple ones towards its interface, and pairs of the tree of which
// one hangs under it, and the other under no line. Those that are another line's already are left out, and those whose names no
// configuration takes.
func (w *wizard) foundQueues(wan string) (found []preset.Queues) {
	inv := w.view.inventory
	for _, r := range inv[blueprint.QueueSimple] {
		if r["dst"] == wan && !blueprint.Truth(r["dynamic"]) && blueprint.Enabled(r) && blueprint.Over(r) == "" && w.free(r["name"]) {
			found = append(found, preset.Queues{Simple: r["name"], There: true})
		}
	}
	lines := map[string]bool{}
	for _, u := range w.uplinks() {
		if u.Line() {
			lines[u.Name] = true
		}
	}
	for _, up := range inv[blueprint.QueueTree] {
		for _, down := range inv[blueprint.QueueTree] {
			if up["parent"] == wan && down["parent"] != wan && !lines[down["parent"]] && blueprint.Enabled(up) && blueprint.Enabled(down) && w.free(up["name"]) && w.free(down["name"]) {
				found = append(found, preset.Queues{Download: down["name"], Upload: up["name"], There: true})
			}
		}
	}
	return found[:min(len(found), mostFound)]
}

// free says whether a queue can be a line's: no line has it yet, and a configuration takes its name.
func (w *wizard) free(name string) bool {
	return queueName.MatchString(name) && !slices.ContainsFunc(w.house.Lines, func(l preset.Line) bool {
		return name == l.Queues.Download || name == l.Queues.Upload || name == l.Queues.Simple
	})
}

// freeTree are the queues of the tree that no line has yet.
func (w *wizard) freeTree() (names []string) {
	for _, r := range w.view.inventory[blueprint.QueueTree] {
		if blueprint.Enabled(r) && w.free(r["name"]) {
			names = append(names, r["name"])
		}
	}
	return names
}
