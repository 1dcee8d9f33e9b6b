package main

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/weir-stream/weir/processor"
)

// benchEpochs says how long lanes stood still at the end of epochs, and how much of that was for checkpoints. A lane
// processes nothing from the last record of an epoch until it is committed.
type benchEpochs struct {
	Plain   quantiles `json:"plain"`    // the end of epochs without a checkpoint
	Cuts    quantiles `json:"cuts"`     // that of those with which tasks took one
	CutWork quantiles `json:"cut_work"` // what these did for it, beside the commit
}

// quantiles of durations, in ms.
type quantiles struct {
	N    int     `json:"n"`
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// epochTimes are collected by all lanes.
type epochTimes struct {
	mu                   sync.Mutex
	plain, cuts, cutWork []time.Duration
}

func (e *epochTimes) add(i processor.CommittedInfo) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i.Cuts == 0 {
		e.plain = append(e.plain, i.Ending)
		return
	}
	e.cuts, e.cutWork = append(e.cuts, i.Ending), append(e.cutWork, i.CutWork)
}

func (e *epochTimes) result() benchEpochs {
	e.mu.Lock()
	defer e.mu.Unlock()
	return benchEpochs{Plain: quantilesOf(e.plain), Cuts: quantilesOf(e.cuts), CutWork: quantilesOf(e.cutWork)}
}

func quantilesOf(ds []time.Duration) quantiles {
	if len(ds) == 0 {
		return quantiles{}
	}
	slices.Sort(ds)
	at := func(q float64) float64 {
		d := ds[min(int(math.Ceil(q*float64(len(ds)))), len(ds))-1]
		return float64(d.Microseconds()) / 1e3
	}
	return quantiles{N: len(ds), P50: at(0.5), P99: at(0.99), P999: at(0.999), Max: at(1)}
}
