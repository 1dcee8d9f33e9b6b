//go:build synctests

package processor_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// bubble is a broker with a topic of two partitions, in virtual time, and a client of it.
type bubble struct {
	*testing.T
	ctx  context.Context
	c    *kfake.Cluster
	dial kgo.Opt
	cl   *kgo.Client
	log  *lines

	fetches atomic.Int64 // sent by the worker
}

// OnBrokerWrite is called by the worker's clients.
func (b *bubble) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == kmsg.Fetch.Int16() {
		b.fetches.Add(1)
	}
}

func newBubble(t *testing.T) *bubble {
	virtualNet := new(kfake.VirtualNetwork)
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(virtualNet.Listen), kfake.Ports(9092), kfake.SeedTopics(2, "in", "out"),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	t.Cleanup(cancel)
	dial := kgo.Dialer(slowly(virtualNet.DialContext))
	cl, err := kgo.NewClient(kgo.SeedBrokers("localhost:9092"), dial, kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &bubble{T: t, ctx: ctx, c: c, dial: dial, cl: cl, log: new(lines)}
}

// send writes a record to a partition of in.
func (b *bubble) send(partition int32, key string) {
	b.Helper()
	if err := b.cl.ProduceSync(b.ctx, &kgo.Record{Topic: "in", Partition: partition, Key: []byte(key), Value: []byte("v")}).FirstErr(); err != nil {
		b.Fatal(err)
	}
}

// run starts a worker of one lane with a plan that passes everything on and takes so long for
// a key.
func (b *bubble) run(takes func(key string) time.Duration, events *processor.Listener, more ...processor.Option) (stop func() error) {
	b.Helper()
	top := topology.New("slow")
	topology.From(top, topology.NewTopic("in", codec.String, codec.Bytes)).Peek(func(key string, _ []byte) error {
		time.Sleep(takes(key)) // virtual
		return nil
	}).To(topology.NewTopic("out", codec.String, codec.Bytes))
	plan, err := top.Build()
	if err != nil {
		b.Fatal(err)
	}
	stop, _ = b.start(plan, events, more...)
	return stop
}

// start starts a worker of one lane, if the options do not say something else.
func (b *bubble) start(plan *topology.Plan, events *processor.Listener, more ...processor.Option) (stop func() error, ended <-chan error) {
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() {
		done <- processor.Run(ctx, plan, append([]processor.Option{
			processor.Brokers("localhost:9092"), processor.Kafka(b.dial, kgo.WithHooks(b)), processor.StateDir(b.TempDir()),
			processor.Lanes(1), processor.Events(events), processor.Logger(zerolog.New(io.MultiWriter(b.log)).Level(zerolog.InfoLevel)),
		}, more...)...)
	}()
	b.Cleanup(cancel)
	return func() error { cancel(); return <-done }, done
}

// A function may take long: some hundred records of one task took longer than the
// transaction's timeout, the brokers aborted it, the same records were processed again, and so
// on for ever. An epoch ends when it is due, also between few records, and after failures it
// has fewer of them.
func TestVirtualSlowFunction(t *testing.T) {
	for _, takes := range []time.Duration{100 * time.Millisecond, 3 * time.Second} {
		t.Run(takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				const n = 100
				for i := range n {
					b.send(0, fmt.Sprint(i))
				}
				commits, aborts, most := 0, 0, int64(0)
				stop := b.run(func(string) time.Duration { return takes }, &processor.Listener{
					EpochCommitted: func(i processor.CommittedInfo) { commits++; most = max(most, i.Records) },
					EpochAborted:   func(processor.AbortedInfo) { aborts++ },
				})
				seen := map[string]int{}
				for len(seen) < n && b.ctx.Err() == nil {
					b.cl.PollFetches(b.ctx).EachRecord(func(r *kgo.Record) { seen[string(r.Key)]++ })
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				for k, times := range seen {
					if times != 1 {
						t.Errorf("record %s came out %d times", k, times)
					}
				}
				if len(seen) != n || most > 16 || aborts > 3 {
					t.Errorf("%d of %d records came out, in %d epochs of at most %d, %d aborted; want at most 16 records in one\n%s", len(seen), n, commits, most, aborts, b.log)
				}
			})
		})
	}
}

// One slow task kept the others of its lane waiting until everything that had been polled for
// it was done. They have their turn between its records, and what it has to wait for does not
// take the room of what they could do.
func TestVirtualSlowTaskDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		const slow, quick = 30_000, 50
		for i := range slow {
			b.cl.Produce(b.ctx, &kgo.Record{Topic: "in", Partition: 0, Key: fmt.Appendf(nil, "slow-%d", i), Value: []byte("v")}, nil)
		}
		if err := b.cl.Flush(b.ctx); err != nil {
			t.Fatal(err)
		}
		stop := b.run(func(key string) time.Duration {
			if strings.HasPrefix(key, "slow") {
				return 50 * time.Millisecond
			}
			return 0
		}, &processor.Listener{})
		worst := time.Duration(0)
		for i := range quick {
			key := fmt.Sprintf("quick-%d", i)
			sent, came := time.Now(), false
			b.send(1, key)
			for !came && b.ctx.Err() == nil {
				b.cl.PollFetches(b.ctx).EachRecord(func(r *kgo.Record) { came = came || string(r.Key) == key })
			}
			worst = max(worst, time.Since(sent))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if worst > 10*time.Second {
			t.Errorf("a record of the quick task waited %s", worst)
		}
	})
}

// A lane fetched each record as soon as somebody had written it, for results that nobody saw
// before the end of the epoch: at 20,000 records per second that was most of its CPU. With
// little to do it lets them gather; with much to do it does not, or it would be late.
func TestVirtualLaneWithLittleToDoFetchesSeldom(t *testing.T) {
	const n, every = 1000, 2 * time.Millisecond
	for takes, seldom := range map[time.Duration]bool{0: true, every / 2: false} {
		t.Run(takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				stop := b.run(func(string) time.Duration { return takes }, &processor.Listener{})
				seen := 0
				come := func(want int) {
					for seen < want && b.ctx.Err() == nil {
						seen += b.cl.PollFetches(b.ctx).NumRecords()
					}
				}
				b.send(0, "first")
				come(1)
				before := b.fetches.Load()
				go func() {
					for i := range n {
						time.Sleep(every) // virtual
						if err := b.cl.ProduceSync(b.ctx, &kgo.Record{Topic: "in", Key: fmt.Append(nil, i), Value: []byte("v")}).FirstErr(); err != nil {
							b.Error(err)
						}
					}
				}()
				come(1 + n)
				fetches := b.fetches.Load() - before
				if err := stop(); err != nil {
					t.Error(err)
				}
				if seen != 1+n || seldom != (fetches < n/4) {
					t.Errorf("%d of %d records came out, %d fetches; want fewer than %d: %v", seen, 1+n, fetches, n/4, seldom)
				}
			})
		})
	}
}

// A lane that was behind, and waited more for fetches than it worked, took itself for one with
// little to do and slept before each poll: with commits every second half of the throughput
// was gone.
func TestVirtualLaneThatIsBehindDoesNotSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		const n = 2000
		for i := range n {
			b.send(0, fmt.Sprint(i))
		}
		began := time.Time{}
		stop := b.run(func(key string) time.Duration {
			if key == "0" {
				began = time.Now()
			}
			return 0
		}, &processor.Listener{}, processor.CommitInterval(time.Second), processor.Kafka(kgo.FetchMaxPartitionBytes(2<<10)))
		seen := 0
		for seen < n && b.ctx.Err() == nil {
			seen += b.cl.PollFetches(b.ctx).NumRecords()
		}
		took, fetches := time.Since(began), b.fetches.Load()
		if err := stop(); err != nil {
			t.Error(err)
		}
		// Some 30 records come with a fetch. The commit comes after a second at the latest.
		if fetches < n/100 {
			t.Errorf("%d fetches: they were to bring little", fetches)
		}
		if seen != n || took > 1500*time.Millisecond {
			t.Errorf("%d of %d records came out, after %s", seen, n, took)
		}
	})
}

// A worker whose brokers were gone could not be stopped: what was in doubt was asked for
// without an end.
func TestVirtualStopWithoutBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		for i := range 20 {
			b.send(0, fmt.Sprint(i))
		}
		working := make(chan struct{}, 100)
		stop := b.run(func(string) time.Duration { working <- struct{}{}; return 30 * time.Millisecond }, &processor.Listener{})
		<-working
		b.c.Close()
		time.Sleep(time.Minute) // virtual: what was open is in doubt by now
		asked := time.Now()
		err := stop()
		if took := time.Since(asked); took > 35*time.Second {
			t.Errorf("the stop took %s", took)
		}
		says(t, err, processor.ErrUnreachable, "lane 0", "undecided", "the next start asks")
	})
}
