package flow

import (
	"testing"

	"wanctl/internal/archtest/mutant"
)

// Every property can fail: each of these mistakes is noticed by the test it names.
func TestMutants(t *testing.T) { mutant.Run(t, "testdata/mutants") }
