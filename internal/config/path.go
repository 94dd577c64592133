package config

import (
	"strings"

	"wanctl/internal/document"
)

// leaf returns the last part of a dotted path, parent what lies before it.
func leaf(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

func parent(path string) string {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i]
	}
	return ""
}

func join(section, key string) string { return document.Join(section, key) }
