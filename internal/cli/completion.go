package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help says where the output belongs.
func (completionCmd) Help() string {
	return `Prints a script that lets the shell complete commands, flags and files. The packages install it; else keep it where the
shell looks: /etc/bash_completion.d/wanctl, _wanctl in a directory of zsh's fpath, ~/.config/fish/completions/wanctl.fish.

Example:

    wanctl completion bash`
}

// Run prints the script.
func (c completionCmd) Run(app *App) error {
	parser, err := newParser(app, func(int) {})
	if err != nil {
		return err
	}
	script := map[string]func([]completable) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Shell]
	_, err = fmt.Fprint(app.Stdout, script(completables(parser.Model.Node)))
	return err
}

// commands are all there are below a node, each before those below it.
func commands(n *kong.Node) (all []*kong.Node) {
	for _, c := range n.Children {
		if !c.Hidden {
			all = append(append(all, c), commands(c)...)
		}
	}
	return all
}

// completable is what may follow one command.
type completable struct {
	path     string // "wanctl router plan"
	commands []word
	flags    []flagWord
	values   []string // of its argument, where that is one of a few words
	files    bool     // its argument may be a file
}

type word struct{ text, help string }

type flagWord struct {
	word
	value bool     // a value follows
	few   []string // the words it may be, nil for any: then files are offered
}

func completables(root *kong.Node) []completable {
	var all []completable
	for _, n := range append([]*kong.Node{root}, commands(root)...) {
		c := completable{path: n.FullPath()}
		for _, child := range n.Children {
			if !child.Hidden {
				c.commands = append(c.commands, word{child.Name, child.Help})
			}
		}
		from := n // what a command without a name of its own takes
		if n.DefaultCmd != nil {
			from = n.DefaultCmd
		}
		for _, p := range from.Positional {
			if p.Enum != "" {
				c.values = append(c.values, p.EnumSlice()...)
			} else {
				c.files = true
			}
		}
		nodes := []*kong.Node{from}
		if from != n {
			nodes = append(nodes, n)
		}
		for _, node := range nodes {
			for _, f := range node.Flags {
				if f.Hidden || slices.ContainsFunc(c.flags, func(w flagWord) bool { return w.text == "--"+f.Name }) {
					continue
				}
				w := flagWord{word: word{"--" + f.Name, f.Help}, value: !f.IsBool()}
				if f.Enum != "" {
					w.few = f.EnumSlice()
				}
				c.flags = append(c.flags, w)
			}
		}
		if n != root { // every command has it, as the root's
			c.flags = append(c.flags, flagWord{word: word{"--help", "Show context-sensitive help."}})
		}
		all = append(all, c)
	}
	return all
}

// paths are the patterns of a shell's case that extend the path of commands.
func paths(all []completable) string {
	var out []string
	for _, c := range all[1:] {
		out = append(out, "'"+c.path+"'")
	}
	return strings.Join(out, "|")
}

func words(ws []word) string {
	var out []string
	for _, w := range ws {
		out = append(out, w.text)
	}
	return strings.Join(out, " ")
}

func bashCompletion(all []completable) string {
	var b strings.Builder
	b.WriteString(`# Completion of wanctl for bash, printed by "wanctl completion bash".
_wanctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path=wanctl i commands= flags= values= files= pick
	# --flag=value is three words for bash.
	if [[ $cur = = ]]; then
		cur=
	elif [[ $prev = = ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		case "$path ${COMP_WORDS[i]}" in
`)
	fmt.Fprintf(&b, "\t\t%s) path=\"$path ${COMP_WORDS[i]}\" ;;\n\t\tesac\n\tdone\n", paths(all))
	b.WriteString("\tCOMPREPLY=()\n\tcase \"$path $prev\" in\n")
	for _, c := range all {
		for _, f := range c.flags {
			if f.few != nil {
				fmt.Fprintf(&b, "\t'%s %s')\n\t\tpick='%s' ;;\n", c.path, f.text, strings.Join(f.few, " "))
			} else if f.value {
				fmt.Fprintf(&b, "\t'%s %s')\n\t\tfiles=yes pick= ;;\n", c.path, f.text)
			}
		}
	}
	b.WriteString("\t*)\n\t\tcase $path in\n")
	for _, c := range all {
		var flags []word
		for _, f := range c.flags {
			flags = append(flags, f.word)
		}
		files := ""
		if c.files {
			files = "yes"
		}
		fmt.Fprintf(&b, "\t\t'%s')\n\t\t\tcommands='%s' values='%s' files='%s'\n\t\t\tflags='%s' ;;\n",
			c.path, words(c.commands), strings.Join(c.values, " "), files, words(flags))
	}
	b.WriteString(`		esac
		pick="$commands $values"
		if [[ $cur = -* ]]; then
			pick=$flags files=
		fi ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$pick" -- "$cur")
	if [[ $files = yes ]]; then
		compopt -o filenames 2>/dev/null
		mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
	fi
}
complete -F _wanctl wanctl
`)
	return b.String()
}

// single quotes a text for a shell.
func single(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func zshCompletion(all []completable) string {
	item := func(w word) string {
		return single(strings.ReplaceAll(w.text, ":", `\:`) + ":" + strings.ReplaceAll(w.help, ":", `\:`))
	}
	var b strings.Builder
	b.WriteString(`#compdef wanctl
# Completion of wanctl for zsh, printed by "wanctl completion zsh".
_wanctl() {
	local at=wanctl word prev=${words[CURRENT-1]}
	local -a commands flags pick
	for word in "${(@)words[2,CURRENT-1]}"; do
		case "$at $word" in
`)
	fmt.Fprintf(&b, "\t\t(%s)) at=\"$at $word\" ;;\n\t\tesac\n\tdone\n\tif [[ ${words[CURRENT]} == --*=* ]]; then\n"+
		"\t\tprev=${words[CURRENT]%%%%=*}\n\t\tcompset -P '*='\n\tfi\n\tcase \"$at $prev\" in\n", paths(all))
	for _, c := range all {
		for _, f := range c.flags {
			if f.few != nil {
				fmt.Fprintf(&b, "\t('%s %s')\n\t\tpick=(%s)\n\t\t_describe value pick\n\t\treturn ;;\n", c.path, f.text, strings.Join(f.few, " "))
			} else if f.value {
				fmt.Fprintf(&b, "\t('%s %s')\n\t\t_files\n\t\treturn ;;\n", c.path, f.text)
			}
		}
	}
	b.WriteString("\tesac\n\tcase $at in\n")
	for _, c := range all {
		fmt.Fprintf(&b, "\t('%s')\n\t\tcommands=(", c.path)
		for _, w := range c.commands {
			b.WriteString("\n\t\t\t" + item(w))
		}
		for _, v := range c.values {
			b.WriteString("\n\t\t\t" + item(word{v, v}))
		}
		b.WriteString(")\n\t\tflags=(")
		for _, f := range c.flags {
			b.WriteString("\n\t\t\t" + item(f.word))
		}
		b.WriteString(")\n")
		if c.files {
			b.WriteString("\t\t[[ ${words[CURRENT]} == -* ]] || _files\n")
		}
		b.WriteString("\t\t;;\n")
	}
	b.WriteString(`	esac
	if [[ ${words[CURRENT]} == -* ]]; then
		_describe flag flags
	elif (( $#commands )); then
		_describe command commands
	fi
}
if [[ ${funcstack[1]} == _wanctl ]]; then
	_wanctl "$@"
else
	compdef _wanctl wanctl
fi
`)
	return b.String()
}

func fishCompletion(all []completable) string {
	quote := func(s string) string {
		return "'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", `\'`) + "'"
	}
	var b strings.Builder
	b.WriteString(`# Completion of wanctl for fish, printed by "wanctl completion fish".
function __wanctl_at
	set -l at wanctl
	for word in (commandline -opc)[2..]
		switch "$at $word"
`)
	fmt.Fprintf(&b, "\t\t\tcase %s\n\t\t\t\tset at \"$at $word\"\n\t\tend\n\tend\n\ttest \"$at\" = \"$argv\"\nend\ncomplete -c wanctl -f\n",
		strings.ReplaceAll(paths(all), "'|'", "' '"))
	for _, c := range all {
		when := "-n " + quote("__wanctl_at "+c.path)
		for _, w := range c.commands {
			fmt.Fprintf(&b, "complete -c wanctl %s -a %s -d %s\n", when, w.text, quote(w.help))
		}
		if len(c.values) > 0 {
			fmt.Fprintf(&b, "complete -c wanctl %s -a %s\n", when, quote(strings.Join(c.values, " ")))
		}
		if c.files {
			fmt.Fprintf(&b, "complete -c wanctl %s -F\n", when)
		}
		for _, f := range c.flags {
			value := ""
			switch {
			case f.few != nil:
				value = " -x -a " + quote(strings.Join(f.few, " "))
			case f.value:
				value = " -r -F"
			}
			fmt.Fprintf(&b, "complete -c wanctl %s -l %s%s -d %s\n", when, strings.TrimPrefix(f.text, "--"), value, quote(f.help))
		}
	}
	return b.String()
}
