package config

import "strings"

// KeyDoc is what there is to say about one key of a file, for the manual.
type KeyDoc struct {
	// Path is dotted; a "*" in it stands for a line's name. Section says that it holds further keys.
	Path    string
	Section bool
	// Doc is the meaning, Facts what is checked: type, unit, whether it is required, default and bounds; empty for a section.
	Doc, Facts string
	// Value is what the key takes, with its unit and bounds; Default what it is without the key, where there is something to
	// say; Required when it is: "required always", "required unless …". Alias is the key that this one is another name of.
	Value, Default, Required, Alias string
	// Ignored is why the key has no effect; empty for one that has.
	Ignored string
}

// Keys returns all keys of the two kinds of file, in the order of docs/reference.yaml.
func Keys() (wan, steering []KeyDoc) {
	docs := func(schema []key) (out []KeyDoc) {
		for _, k := range schema {
			d := KeyDoc{Path: k.path, Section: k.typ == typeSection && k.ignored == "", Doc: k.doc, Facts: facts(k), Alias: k.alias, Ignored: k.ignored}
			if !d.Section && d.Ignored == "" {
				d.Value, d.Default = k.takes(), k.def+k.defWords
				if b := k.bounds(); b != "" {
					what, _, _ := strings.Cut(d.Value, " in ")
					d.Value = what + ", " + b
				}
				if k.required != "" {
					d.Required = "required " + k.required
				}
			}
			out = append(out, d)
		}
		return out
	}
	return docs(schemas[kindWAN]), docs(schemas[kindSteering])
}

// takes is the type of a key's value with its unit.
func (k key) takes() string {
	what := strings.TrimPrefix(k.typ.want(), "a ")
	shape := map[form]string{
		formName: "name", formHost: "host name or address", formServer: "host name or address, with a port or without", formAddr: "IP address",
		formPath: "path", formIface: "interface name",
	}[k.form]
	switch {
	case k.typ == typeText && shape != "":
		return shape
	case k.typ == typeList && shape != "":
		return "list of " + strings.Replace(shape, "name ", "names ", 1) + map[bool]string{true: "es", false: "s"}[strings.HasSuffix(shape, "address")]
	case k.typ == typeWord:
		return "one of " + strings.Join(k.words, ", ")
	case strings.HasPrefix(k.unit, "per "):
		return what + " " + k.unit
	case k.unit != "":
		return what + " in " + k.unit
	}
	return what
}

// facts is what the program checks about a key.
func facts(k key) string {
	if k.ignored != "" {
		return "not used: " + k.ignored
	}
	if k.typ == typeSection {
		return ""
	}
	all := []string{k.takes()}
	switch {
	case k.required == "always":
		all = append(all, "required")
	case k.required != "":
		all = append(all, "required "+k.required)
	}
	switch {
	case k.def != "":
		all = append(all, "default "+k.def)
	case k.defWords != "":
		all = append(all, "default: "+k.defWords)
	}
	if b := k.bounds(); b != "" {
		all = append(all, b)
	}
	if k.alias != "" {
		all = append(all, "another name of "+k.alias)
	}
	return strings.Join(all, "; ")
}
