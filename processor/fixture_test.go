package processor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/integration/fixture"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/state"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/codec"
)

// fixtures were written once and are read by all later code.
const fixtures = "testdata/savepoint-v1"

// ground is a broker for the application of package fixture.
type ground struct {
	*testing.T
	ctx  context.Context
	cl   *kgo.Client
	adm  *kadm.Client
	addr []string
	dir  string // state of the worker, also of the next one

	taken int                // savepoints
	more  []processor.Option // of each worker
}

func newGround(t *testing.T, app string) *ground {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0", "group.min.session.timeout.ms": "1000"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	g := &ground{T: t, ctx: ctx, cl: cl, adm: kadm.NewClient(cl), addr: c.ListenAddrs(), dir: t.TempDir()}
	g.must(fixture.CreateTopics(ctx, g.adm, app))
	return g
}

func (g *ground) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

func (g *ground) plan(app string) *topology.Plan {
	g.Helper()
	p, err := fixture.Plan(app)
	g.must(err)
	return p
}

func (g *ground) options(more ...processor.Option) []processor.Option {
	return append([]processor.Option{processor.Brokers(g.addr...), processor.StateDir(g.dir), processor.Lanes(1),
		processor.CommitInterval(5 * time.Millisecond), processor.Logger(zerolog.Nop())}, more...)
}

// run starts a worker; end stops it.
func (g *ground) run(app string, more ...processor.Option) (end func()) {
	g.Helper()
	ctx, cancel := context.WithCancel(g.ctx)
	done := make(chan error, 1)
	plan, opts := g.plan(app), g.options(append(more, g.more...)...)
	go func() { done <- processor.Run(ctx, plan, opts...) }()
	g.Cleanup(cancel)
	return func() {
		g.Helper()
		cancel()
		g.must(<-done)
	}
}

// born waits for the first start of an application.
func (g *ground) born(app string) {
	g.Helper()
	cl, err := admin.New(app, kgo.SeedBrokers(g.addr...))
	g.must(err)
	defer cl.Close()
	for {
		if _, err = cl.Birth(g.ctx); err == nil {
			return
		}
		if !errors.Is(err, admin.ErrNotBorn) {
			g.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// savepoint takes one and gives what it holds.
func (g *ground) savepoint(app, dir, id, format string) (string, admin.SavepointContent) {
	g.Helper()
	cl, err := admin.New(app, kgo.SeedBrokers(g.addr...))
	g.must(err)
	defer cl.Close()
	path := filepath.Join(dir, id)
	for {
		s, err := cl.RequestSavepoint(g.ctx, admin.SavepointOptions{ID: id, Path: path, Format: format})
		if errors.Is(err, admin.ErrNotBorn) || err != nil && g.ctx.Err() == nil { // nobody runs yet
			time.Sleep(10 * time.Millisecond)
			continue
		}
		g.must(err)
		_, err = cl.AwaitSavepoint(g.ctx, s.ID, nil)
		g.must(err)
		break
	}
	c, err := admin.InspectSavepoint(g.ctx, path, true)
	g.must(err)
	return path, c
}

// through says whether all of the input was processed, and nothing is on its way.
func through(c admin.SavepointContent, records int) bool {
	n := int64(0)
	for _, t := range c.Tasks {
		for _, p := range t.Positions {
			if p.Topic == fixture.In(fixture.App) {
				n += p.Offset
			}
		}
	}
	return n == int64(records) && c.Records == 0
}

// rows reads the state of a savepoint or checkpoint as package fixture wants it.
func rows(t *testing.T, path string) (accounts, buckets map[string]string, windows map[string]int64) {
	t.Helper()
	s, err := state.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	accounts, buckets, windows = map[string]string{}, map[string]string{}, map[string]int64{}
	err = s.Rows(t.Context(), state.Selection{}, func(r state.Row) error {
		var key string
		if err := json.Unmarshal(r.Key, &key); err != nil {
			return err
		}
		switch r.Store {
		case "accounts":
			accounts[key] = string(r.Value)
		case "buckets":
			buckets[key] = string(r.Value)
		case "windows":
			return json.Unmarshal(r.Value, addr(windows, fixture.WindowName(key, r.Window.Start)))
		default:
			return fmt.Errorf("store %s", r.Store)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return accounts, buckets, windows
}

// setter lets JSON be read into a map.
type setter struct {
	m   map[string]int64
	key string
}

func addr(m map[string]int64, key string) *setter { return &setter{m, key} }

func (s *setter) UnmarshalJSON(b []byte) error {
	var n int64
	err := json.Unmarshal(b, &n)
	s.m[s.key] = n
	return err
}

// emitted reads the windows that an application has given, each of which comes once.
func (g *ground) emitted(app string) map[string]int64 {
	g.Helper()
	ends, err := g.adm.ListCommittedOffsets(g.ctx, fixture.Windows(app))
	g.must(err)
	at := map[string]map[int32]kgo.Offset{fixture.Windows(app): {}}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) {
		at[o.Topic][o.Partition] = kgo.NewOffset().At(0)
		left += o.Offset
	})
	cl, err := kgo.NewClient(kgo.SeedBrokers(g.addr...), kgo.ConsumePartitions(at), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	g.must(err)
	defer cl.Close()
	out := map[string]int64{}
	keys := topology.WindowedKey(codec.String)
	for left > 0 {
		fetches := cl.PollFetches(g.ctx)
		g.must(fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			if r.Attrs.IsControl() {
				return
			}
			key, err := keys.Decode(r.Key)
			g.must(err)
			n, err := codec.Int64.Decode(r.Value)
			g.must(err)
			name := fixture.WindowName(key.Key, key.Start)
			if _, twice := out[name]; twice {
				g.Errorf("window %s was given twice", name)
			}
			out[name] = n
		})
	}
	return out
}

// Savepoints that an earlier release has written are restored: state with an Avro value, open windows and their timers, and
// records that were in flight. What follows is exact.
func TestOldSavepointsAreRestored(t *testing.T) {
	for _, format := range []string{"native", "portable"} {
		for _, way := range []string{"fork", "rewind"} {
			t.Run(format+"/"+way, func(t *testing.T) {
				t.Parallel()
				from := filepath.Join(fixtures, format)
				app := fixture.App
				if way == "fork" {
					app = "restored"
				}
				g := newGround(t, app)
				was, err := admin.InspectSavepoint(g.ctx, from, true)
				g.must(err)
				_, _, open := rows(t, from)
				if was.Records == 0 || len(open) == 0 || through(was, fixture.Records) {
					t.Fatalf("%d records in flight, %d open windows", was.Records, len(open))
				}
				if way == "rewind" { // the application has to be there
					end := g.run(app)
					g.born(app)
					end()
				}
				// The source as it is where the savepoint was taken: the records behind its positions.
				g.must(fixture.Load(g.ctx, g.cl, 0, fixture.Records))
				below := kadm.Offsets{}
				for _, task := range was.Tasks {
					for _, p := range task.Positions {
						if p.Topic == fixture.In(fixture.App) {
							below.AddOffset(p.Topic, p.Partition, p.Offset, -1)
						}
					}
				}
				_, err = g.adm.DeleteRecords(g.ctx, below)
				g.must(err)
				report, err := processor.Rewind(g.ctx, g.plan(app), processor.RewindOptions{
					From: from, Fork: way == "fork", StopWorkers: way == "rewind", Positions: map[string]processor.RewindPosition{fixture.In(fixture.App): processor.RewindToEarliest},
				}, g.options()...)
				g.must(err)
				if report.Records != was.Records || report.Rows < was.Rows-4 || len(report.Added)+len(report.NotRestored) != 0 {
					t.Errorf("%+v", report)
				}
				end := g.run(app)
				dir, last := t.TempDir(), ""
				for i := 0; ; i++ {
					path, c := g.savepoint(app, dir, fmt.Sprintf("s%d", i), "")
					if through(c, fixture.Records) {
						last = path
						break
					}
				}
				end()

				accounts, buckets, windows := fixture.Want(fixture.Records)
				gotAccounts, gotBuckets, stillOpen := rows(t, last)
				if !reflect.DeepEqual(gotAccounts, accounts) {
					t.Errorf("accounts %v\nwant %v", gotAccounts, accounts)
				}
				if !reflect.DeepEqual(gotBuckets, buckets) {
					t.Errorf("buckets %v\nwant %v", gotBuckets, buckets)
				}
				given := g.emitted(app)
				for name := range open {
					if given[name]+stillOpen[name] != windows[name] {
						t.Errorf("window %s, open in the savepoint, has %d and %d, want %d", name, given[name], stillOpen[name], windows[name])
					}
				}
				for _, part := range []map[string]int64{given, stillOpen} {
					for name, n := range part {
						if n != windows[name] {
							t.Errorf("window %s has %d, want %d", name, n, windows[name])
						}
					}
				}
				if len(given) == 0 {
					t.Error("no window has closed")
				}
			})
		}
	}
}

// A checkpoint that an earlier release has written, a base with increments on it, is read.
func TestOldCheckpointIsRead(t *testing.T) {
	path := onlyManifest(t, filepath.Join(fixtures, "checkpoint"))
	c, err := admin.InspectSavepoint(t.Context(), path, true)
	if err != nil {
		t.Fatal(err)
	}
	layers := 0
	for _, s := range c.Stores {
		layers = max(layers, s.Layers)
	}
	if c.Kind != string(snapshot.Checkpoint) || layers < 2 {
		t.Fatalf("%s of %d layers", c.Kind, layers)
	}
	accounts, buckets, windows := fixture.Want(fixture.Records)
	gotAccounts, gotBuckets, open := rows(t, path)
	if !reflect.DeepEqual(gotAccounts, accounts) || !reflect.DeepEqual(gotBuckets, buckets) {
		t.Errorf("%v\n%v\nwant %v\n%v", gotAccounts, gotBuckets, accounts, buckets)
	}
	if len(open) == 0 {
		t.Error("no window is open")
	}
	for name, n := range open {
		if n != windows[name] {
			t.Errorf("window %s has %d, want %d", name, n, windows[name])
		}
	}
}

func onlyManifest(t *testing.T, dir string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "manifests", "*.json"))
	if err != nil || len(all) != 1 {
		t.Fatalf("manifests in %s: %v, %v", dir, all, err)
	}
	return all[0]
}

// TestWriteFixtures writes the fixtures; it is how those of the next format begin. WEIR_FIXTURES names a new directory: what
// lies in testdata is not written again, it is the proof that old files are read.
func TestWriteFixtures(t *testing.T) {
	dir := os.Getenv("WEIR_FIXTURES")
	if dir == "" {
		t.Skip("it writes files: set WEIR_FIXTURES to the directory")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Fatalf("%s is there already", dir)
	}
	writeFixtures(t, dir)
}
