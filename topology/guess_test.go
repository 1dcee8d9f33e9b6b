package topology_test

import (
	"testing"
	"time"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/window"
)

// A row that is read ahead under a wrong key is work for nothing, and nobody notices: the
// first guess left out the byte that all rows of users begin with. So the guess is compared
// with the row that an operator really wrote.
func TestGuessedRowsAreThoseOfTheOperators(t *testing.T) {
	lines := topology.NewTopic("lines", codec.String, codec.String)
	for name, build := range map[string]func(*topology.Builder){
		"keyed": func(b *topology.Builder) {
			topology.From(b, lines).Count("n").To(topology.NewTopic("out", codec.String, codec.Int64))
		},
		"window": func(b *topology.Builder) {
			topology.Window(topology.From(b, lines), window.Tumbling(time.Minute)).Count("n").
				To(topology.NewTopic("out", topology.WindowedKey(codec.String), codec.Int64))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, build)
			send(r, lines, "b", "be", 90_000)
			guess := r.tasks[0].GuessRow(nil, []byte("b"))
			if _, ok, err := r.envs[0].stores[0].Get(guess); !ok || err != nil {
				t.Errorf("no row %q, rows are %q (%v)", guess, r.envs[0].stores[0].rows, err)
			}
		})
	}
}
