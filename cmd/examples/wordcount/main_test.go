package main

import (
	"testing"

	"github.com/weir-stream/weir/topology/topologytest"
)

func TestWordCount(t *testing.T) {
	d := topologytest.New(t, WordCount)
	lines, counts := topologytest.Input(d, Lines), topologytest.Output(d, Counts)

	lines.Send(nil, "to be or not to be")
	d.Restart()
	lines.Send(nil, "to do")

	counts.WantLast(
		topologytest.KV("be", int64(2)),
		topologytest.KV("do", int64(1)),
		topologytest.KV("not", int64(1)),
		topologytest.KV("or", int64(1)),
		topologytest.KV("to", int64(3)),
	)
}

func TestWordCountInAnyOrder(t *testing.T) {
	topologytest.SameUnderAnyOrder(t, WordCount, func(d *topologytest.Driver) {
		lines := topologytest.Input(d, Lines)
		for i, line := range []string{"to be or not to be", "to do", "do be do", "or not", "not to do or to be"} {
			lines.Send([]byte{byte(i)}, line)
		}
	})
}
