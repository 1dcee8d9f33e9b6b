package checkpoint

import "strings"

// history keeps the last events for panics; only a panic pays for their text.
type history struct {
	seen [64]Event
	n    int // events in all; seen[(n-1)%len] is the last
}

func (h *history) add(e Event) {
	h.seen[h.n%len(h.seen)] = e
	h.n++
}

// String gives a line per event as in a script, oldest first.
func (h *history) String() string {
	var b strings.Builder
	for i := max(0, h.n-len(h.seen)); i < h.n; i++ {
		b.WriteString(Text(h.seen[i%len(h.seen)]) + "\n")
	}
	return b.String()
}
