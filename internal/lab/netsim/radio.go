package netsim

// radioWindow is how much of the past decides whether a line is loaded.
const radioWindow = int64(100e6)

// radio is what a line adds while it is loaded.
type radio struct {
	most  int64   // added while loaded
	share float64 // of the capacity that makes it so
	added int64   // now
	past  []carried
}

// carried is what had been delivered at an instant, in bytes.
type carried struct {
	at    int64
	bytes float64
}

// meter looks at the step from now on, at whose end all these bytes had been delivered. What is added comes at once and
// goes at half the pace of time: a packet never overtakes the one before it.
func (r *radio) meter(now, dt int64, delivered float64, s supply, scale float64) {
	if r.most == 0 {
		return
	}
	end := now + dt
	r.past = append(r.past, carried{end, delivered})
	k := 0
	for k+2 < len(r.past) && end-r.past[k+1].at >= radioWindow {
		k++
	}
	r.past = r.past[:copy(r.past, r.past[k:])]
	first := r.past[0]
	loaded := end-first.at >= radioWindow && delivered-first.bytes > r.share*s.bytes(first.at, end)*scale
	if loaded {
		r.added = r.most
		return
	}
	r.added = max(0, r.added-dt/2)
}
