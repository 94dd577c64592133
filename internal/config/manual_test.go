package config

import "testing"

func TestKeysAreAllDocumented(t *testing.T) {
	wan, steering := Keys()
	if len(wan) != len(wanKeys) || len(steering) != len(steeringKeys) {
		t.Errorf("%d and %d keys, the schemas have %d and %d", len(wan), len(steering), len(wanKeys), len(steeringKeys))
	}
	for _, k := range append(wan, steering...) {
		if k.Path == "" || k.Doc == "" && k.Facts == "" {
			t.Errorf("%q says nothing: %+v", k.Path, k)
		}
	}
}
