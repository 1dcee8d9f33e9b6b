package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// demoReader follows the committed output while the workers write it: what it sees is what
// any reader with isolation level read_committed sees.
type demoReader struct {
	cl   *kgo.Client
	done chan struct{}

	mu      sync.Mutex // everything below
	checker *demoChecker
	at      map[string]map[int32]int64 // topic, partition: next offset
	err     error
}

func startDemoReader(ctx context.Context, cl *kgo.Client, checker *demoChecker) *demoReader {
	r := &demoReader{cl: cl, done: make(chan struct{}), checker: checker, at: map[string]map[int32]int64{}}
	go r.run(ctx)
	return r
}

// close ends the reader and its client.
func (r *demoReader) close() {
	r.cl.Close()
	<-r.done
}

func (r *demoReader) run(ctx context.Context) {
	defer close(r.done)
	for {
		fs := r.cl.PollRecords(ctx, 20_000)
		if fs.IsClientClosed() || ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		fs.EachError(func(t string, p int32, err error) {
			if r.err == nil {
				r.err = fmt.Errorf("read %s/%d: %w", t, p, err)
			}
		})
		fs.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, rec := range p.Records {
				if !rec.Attrs.IsControl() {
					r.checker.add(rec)
				}
			}
			if n := len(p.Records); n > 0 {
				if r.at[p.Topic] == nil {
					r.at[p.Topic] = map[int32]int64{}
				}
				r.at[p.Topic][p.Partition] = p.Records[n-1].Offset + 1
			}
		})
		r.mu.Unlock()
	}
}

// progress is how much has been seen.
func (r *demoReader) progress() (counted int64, complete bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checker.counted, r.checker.complete(), r.err
}

// reached says whether the reader is at these ends.
func (r *demoReader) reached(ends map[string]map[int32]int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, ps := range ends {
		for p, end := range ps {
			if r.at[topic][p] < end {
				return false
			}
		}
	}
	return true
}

func (r *demoReader) verdict() demoVerdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checker.verdict()
}
