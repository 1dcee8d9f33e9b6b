package main

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/weir-stream/weir/processor/cli"
)

func testLoad(n int64) load {
	return load{records: n, keys: 100, valueBytes: 40, partitions: 4, seed: 7, span: 50 * 1e9, compression: "none"}
}

// outputOf is what a correct worker makes of an input, in one partition.
func outputOf(workload string, input []*kgo.Record) []*kgo.Record {
	counts := map[string]uint64{}
	var out []*kgo.Record
	for i, r := range input {
		var key []byte
		switch workload {
		case "pass":
			v := bytes.Clone(r.Value)
			upperFirst(v)
			out = append(out, &kgo.Record{Offset: int64(i), Key: r.Key, Value: v})
			continue
		case "count", "state":
			key = r.Key
		case "rekey":
			key = appendGroup(nil, r.Key)
		case "window":
			at := r.Timestamp.UnixMilli()
			key = appendWindow(nil, r.Key, at/10_000*10_000)
		}
		counts[string(key)]++
		out = append(out, &kgo.Record{Offset: int64(i), Key: key, Value: binary.BigEndian.AppendUint64(nil, counts[string(key)])})
	}
	return out
}

func TestCheckerReportsWhatIsPlanted(t *testing.T) {
	const n = 5000
	var input []*kgo.Record
	for i, next := int64(0), testLoad(n).generator(); i < n; i++ {
		input = append(input, next(i))
	}
	for _, workload := range workloads {
		right := outputOf(workload, input)
		middle := n / 2
		wrong := &kgo.Record{Key: right[middle].Key, Value: []byte("not at all")}
		for _, test := range []struct {
			name                    string
			output                  []*kgo.Record
			lost, duplicated, wrong int64
		}{
			{"right", right, 0, 0, 0},
			{"lost in the middle", append(append([]*kgo.Record{}, right[:middle]...), right[middle+1:]...), 1, 0, 0},
			{"lost at the end", right[:n-1], 1, 0, 0},
			{"nothing there", nil, n, 0, 0},
			{"duplicated", append(append(append([]*kgo.Record{}, right[:middle]...), right[middle]), right[middle:]...), 0, 1, 0},
			{"twice as a whole", append(append([]*kgo.Record{}, right...), right...), 0, n, 0},
			{"one too much", append(append([]*kgo.Record{}, right...), wrong), 0, 0, 1},
			{"one in another's place", append(append(append([]*kgo.Record{}, right[:middle]...), wrong), right[middle+1:]...), 1, 0, 1},
		} {
			c := newChecker(workload)
			for _, r := range input {
				c.input(r)
			}
			for _, r := range test.output {
				c.output(r)
			}
			v := c.verdict()
			if v.Lost != test.lost || v.Duplicated != test.duplicated || v.Wrong != test.wrong || v.Records != n || v.Seen != int64(len(test.output)) {
				t.Errorf("%s, %s: %+v, want %d lost, %d duplicated, %d wrong", workload, test.name, v, test.lost, test.duplicated, test.wrong)
			}
			if v.OK() != (test.name == "right") {
				t.Errorf("%s, %s: OK is %t", workload, test.name, v.OK())
			}
		}
	}
}

func TestCountThatNobodyReached(t *testing.T) {
	c := newChecker("count")
	c.input(&kgo.Record{Key: []byte("a")})
	c.output(&kgo.Record{Topic: "out", Partition: 3, Offset: 5, Key: []byte("a"), Value: []byte{0, 0, 0, 0, 0, 0, 0, 2}})
	if v := c.verdict(); v.Wrong != 1 || v.Lost != 1 || v.First != `topic out, partition 3, offset 5: key "a": count 2, and there are 1 in the input` {
		t.Errorf("%+v", v)
	}
}

func TestLoadIsTheSameForTheSameSeed(t *testing.T) {
	l := testLoad(1000)
	a, b := l.generator(), l.generator()
	l.seed = 8
	other := l.generator()
	keys, values, differs := map[string]int{}, map[string]bool{}, false
	for i := range int64(1000) {
		x, y, z := a(i), b(i), other(i)
		if !bytes.Equal(x.Key, y.Key) || !bytes.Equal(x.Value, y.Value) || !x.Timestamp.Equal(y.Timestamp) {
			t.Fatalf("record %d: %+v and %+v", i, x, y)
		}
		differs = differs || !bytes.Equal(x.Key, z.Key)
		keys[string(x.Key)]++
		values[string(x.Value)] = true
		if len(x.Value) != 40 || len(x.Key) != 10 || x.Value[0] < 'a' || x.Value[0] > 'z' {
			t.Fatalf("record %d: key %q, value %q", i, x.Key, x.Value)
		}
	}
	if !differs || len(values) != 1000 || len(keys) < 90 || keys["k000000099"] == 0 {
		t.Errorf("another seed differs: %t; %d values, %d keys", differs, len(values), len(keys))
	}
	l.roundRobin = true
	next := l.generator()
	for i := range int64(250) {
		if got, want := string(next(i).Key), string(appendKey(nil, i%100)); got != want {
			t.Fatalf("round robin: record %d has key %s, want %s", i, got, want)
		}
	}
}

func TestHotKey(t *testing.T) {
	l := testLoad(10_000)
	l.hot = 0.9
	keys := map[string]int{}
	for i, next := int64(0), l.generator(); i < 10_000; i++ {
		keys[string(next(i).Key)]++
	}
	// 9,010 are expected of the first key and 10 of each other, with deviations of 30 and 3.
	if n := keys["k000000000"]; n < 8800 || n > 9200 || len(keys) < 90 {
		t.Errorf("%d of 10,000 records have the first key, and there are %d keys", n, len(keys))
	}
}

// runWeir gives the exit code and the output of a command line.
func runWeir(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	code = cli.Execute(root)
	return code, out.String(), errs.String()
}

func TestBenchFlags(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"bench worker --workload nothing", "use one of pass, count, window, rekey, state"},
		{"bench worker --workload state --row-bytes 7", "takes 8"},
		{"bench worker --until-idle -1s", "--until-idle is -1s"},
		{"bench worker --lanes many", "invalid argument"},
		{"bench verify --workload nothing", "use one of pass, count, window, rekey, state"},
		{"bench load --records 0", "1 or more"},
		{"bench load --value-bytes 3", "takes 12"},
		{"bench load --hot 1.5", "use 0 to 1"},
		{"bench load --hot NaN", "use 0 to 1"},
		{"bench load --compression best", "use none, lz4, snappy or zstd"},
		{"bench load --no-such-flag", "unknown flag"},
	} {
		code, out, errs := runWeir(t, strings.Fields(test.args)...)
		if code != cli.ExitUsage || out != "" || !strings.Contains(errs, test.want) {
			t.Errorf("weir %s: exit code %d, output %q, errors %q; want 2 and %q", test.args, code, out, errs, test.want)
		}
	}
}

// Workers of one bench start at the same time, and each makes what is missing.
func TestTopicsAreMadeByManyAtOnce(t *testing.T) {
	ctx := testContext(t)
	brokers := startBroker(t, nil)
	var makers errgroup.Group
	for range 8 {
		makers.Go(func() error {
			cl, err := kgo.NewClient(kgo.SeedBrokers(brokers))
			if err != nil {
				return err
			}
			defer cl.Close()
			return ensureTopic(ctx, cl, "in", 3)
		})
	}
	if err := makers.Wait(); err != nil {
		t.Fatal(err)
	}
}
