package shaper

import (
	"testing"

	"wanctl/internal/archtest/mutant"
)

// Every property above can fail: each of these mistakes is noticed by the property it names.
func TestMutants(t *testing.T) { mutant.Run(t, "testdata/mutants") }
