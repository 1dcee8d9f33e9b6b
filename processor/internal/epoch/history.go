package epoch

import "strings"

// history keeps the last transitions for panics. It holds the events themselves; only a
// panic pays for their text.
type history struct {
	seen [64]struct {
		phase Phase
		event Event
	}
	n int // events in all; seen[(n-1)%len] is the last
}

func (h *history) add(p Phase, e Event) {
	at := &h.seen[h.n%len(h.seen)]
	at.phase, at.event = p, e
	h.n++
}

// String gives a line per event, oldest first: the phase it found and the event as in a
// script.
func (h *history) String() string {
	var b strings.Builder
	for i := max(0, h.n-len(h.seen)); i < h.n; i++ {
		at := h.seen[i%len(h.seen)]
		b.WriteString(at.phase.String() + ": " + Text(at.event) + "\n")
	}
	return b.String()
}
