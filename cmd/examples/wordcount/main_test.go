package main

import (
	"testing"

	"github.com/weir-stream/weir/topology/topologytest"
)

func TestWordCount(t *testing.T) {
	d := topologytest.New(t, WordCount)
	topologytest.Input(d, Lines).Send(nil, "to be or not to be")
	topologytest.Output(d, Counts).WantLast(
		topologytest.KV("be", int64(2)), topologytest.KV("not", int64(1)), topologytest.KV("or", int64(1)), topologytest.KV("to", int64(2)),
	)
}
