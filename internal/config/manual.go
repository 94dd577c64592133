package config

import "strings"

// KeyDoc is what there is to say about one key of a file, for the manual.
type KeyDoc struct {
	// Path is dotted; a "*" in it stands for a line's name.
	Path string
	// Doc is the meaning, Facts what is checked: type, unit, whether it is required, default and bounds; empty for a section.
	Doc, Facts string
}

// Keys returns all keys of the two kinds of file, in the order of docs/reference.yaml.
func Keys() (wan, steering []KeyDoc) {
	docs := func(schema []key) (out []KeyDoc) {
		for _, k := range schema {
			out = append(out, KeyDoc{Path: k.path, Doc: k.doc, Facts: facts(k)})
		}
		return out
	}
	return docs(schemas[kindWAN]), docs(schemas[kindSteering])
}

// facts is what the program checks about a key.
func facts(k key) string {
	if k.ignored != "" {
		return "not used: " + k.ignored
	}
	if k.typ == typeSection {
		return ""
	}
	what := strings.TrimPrefix(k.typ.want(), "a ")
	if k.unit != "" {
		what += " in " + k.unit
	}
	if k.typ == typeWord {
		what = "one of " + strings.Join(k.words, ", ")
	}
	all := []string{what}
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
