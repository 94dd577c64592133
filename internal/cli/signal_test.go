package cli

import (
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
)

// keyboard is a fake of the system's signals: who is registered for one gets it, else the process would be dead.
type keyboard struct {
	mu   sync.Mutex
	regs []*registration
}

type registration struct {
	c   chan<- os.Signal
	sig []os.Signal
}

func (k *keyboard) Notify(c chan<- os.Signal, sig ...os.Signal) func() {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := &registration{c, sig}
	k.regs = append(k.regs, r)
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.regs = slices.DeleteFunc(k.regs, func(o *registration) bool { return o == r })
	}
}

// send reports whether anybody took the signal; if nobody did it would have ended the process.
func (k *keyboard) send(s os.Signal) (taken bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.regs {
		if slices.Contains(r.sig, s) {
			taken = true
			select {
			case r.c <- s:
			default:
			}
		}
	}
	return taken
}

func TestRepeatedSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k keyboard
		ctx, done := (&App{Notify: k.Notify}).context()
		for i := range 5 {
			if !k.send(syscall.SIGTERM) {
				t.Fatalf("SIGTERM %d would kill", i+1)
			}
			synctest.Wait()
			if ctx.Err() == nil {
				t.Fatal("a SIGTERM did not stop")
			}
		}
		for i := range 2 {
			if !k.send(os.Interrupt) {
				t.Fatalf("SIGINT %d would kill", i+1)
			}
			synctest.Wait()
		}
		if k.send(os.Interrupt) {
			t.Error("a third SIGINT is swallowed: nobody could end a process that hangs")
		}
		done()
		if !k.send(syscall.SIGTERM) {
			t.Error("SIGTERM kills a process that is about to end by itself")
		}
	})
}

// A command that ended without a signal gives them back.
func TestSignalsAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k keyboard
		_, done := (&App{Notify: k.Notify}).context()
		done()
		done() // as a context's cancel function, it may be called again
		if len(k.regs) != 0 {
			t.Errorf("%d registrations are left", len(k.regs))
		}
	})
}
