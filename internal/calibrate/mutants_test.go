package calibrate

import (
	"testing"

	"wanctl/internal/archtest/mutant"
)

func TestMutants(t *testing.T) { mutant.Run(t, "testdata/mutants") }
