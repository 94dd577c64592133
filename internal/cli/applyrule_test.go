package cli

import (
	"strings"
	"testing"
)

func TestApplyRuleSpecs(t *testing.T) {
	for spec, want := range map[string]string{
		"":                                    "the form is",
		"table:a":                             "is not of the form",
		"table:a,chain:b":                     "is not of the form",
		"table:a,chain:b,mark:0":              "above 0",
		"table:a,chain:b,mark:x":              "is not of the form",
		"table:a,table:a,chain:b,mark:1":      "does not belong there",
		"table:a,chain:b,mark:1,dev:eth0":     "does not belong there",
		"table:a,chain:,mark:1":               "does not belong there",
		"table:a,chain:b,mark:1,netns:no-ns!": "network namespace no-ns!",
	} {
		if _, err := newKernelRule(spec, "rule"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", spec, err, want)
		}
	}
}
