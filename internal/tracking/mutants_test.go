package tracking

import (
	"testing"

	"wanctl/internal/archtest/mutant"
)

// Every property can fail, and every guard of the law has a line on which it is missed: each of these mistakes is noticed
// by the test it names.
func TestMutants(t *testing.T) { mutant.Run(t, "testdata/mutants") }
