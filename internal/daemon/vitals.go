package daemon

import (
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
)

// Vitals are what the process of a loop takes of its host. Beside the loop's own figures they tell a leak from work.
type Vitals struct {
	// ResidentBytes is its memory in RAM; HeapLiveBytes is what the last garbage collection found in use, of all the process's
	// loops together.
	ResidentBytes uint64 `json:"resident_bytes"`
	HeapLiveBytes uint64 `json:"heap_live_bytes"`
	Goroutines    int    `json:"goroutines"`
	// Descriptors are the open files and sockets, without the one that counts them.
	Descriptors int `json:"descriptors"`
}

// heapLive is the metric of the runtime: what was marked at the last collection, which needs no stopping of the world.
const heapLive = "/gc/heap/live:bytes"

// vitals reads this process's own figures. One that cannot be read is 0: a kernel without /proc is no reason to have no status.
func vitals() Vitals {
	heap := []metrics.Sample{{Name: heapLive}}
	metrics.Read(heap)
	v := Vitals{HeapLiveBytes: heap[0].Value.Uint64(), Goroutines: runtime.NumGoroutine()}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil { // pages: total, resident, …
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseUint(f[1], 10, 64)
			v.ResidentBytes = pages * uint64(os.Getpagesize())
		}
	}
	if all, err := os.ReadDir("/proc/self/fd"); err == nil {
		v.Descriptors = len(all) - 1
	}
	return v
}
