package task

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/offsets"
)

// sorted is a byte store small enough to search from the front.
type sorted [][2]string

func (s *sorted) Get(key []byte) ([]byte, bool, error) {
	for _, r := range *s {
		if r[0] == string(key) {
			return []byte(r[1]), true, nil
		}
	}
	return nil, false, nil
}

func (s *sorted) Put(key, value []byte) error {
	_ = s.Delete(key)
	*s = append(*s, [2]string{string(key), string(value)})
	slices.SortFunc(*s, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return nil
}

func (s *sorted) Delete(key []byte) error {
	*s = slices.DeleteFunc(*s, func(r [2]string) bool { return r[0] == string(key) })
	return nil
}

func (s *sorted) Range(lo, hi []byte, f func(key, value []byte) bool) error {
	for _, r := range slices.Clone(*s) {
		if r[0] >= string(lo) && r[0] < string(hi) && !f([]byte(r[0]), []byte(r[1])) {
			break
		}
	}
	return nil
}

type storeEnv struct{ store sorted }

func (e *storeEnv) Store(int) Store      { return &e.store }
func (e *storeEnv) Emit(int, *Out) error { return nil }
func (e *storeEnv) Headers() []Header    { return nil }
func (e *storeEnv) keys() (rows []string) {
	for _, r := range e.store {
		if start, key, ok := ParseWindowRow([]byte(r[0])); ok {
			rows = append(rows, time.UnixMilli(start).UTC().Format("05")+string(key))
		}
	}
	return rows
}

// bySecond counts nothing: it puts each record into the window of its second, and fires
// when that closes.
func bySecond(fired *[]string) *Graph {
	return &Graph{
		Nodes: []Node{{Kind: "windows", Site: "here.go:1", Outputs: nil}},
		Subs: []Sub{{
			HasTime: true, Stores: []StoreSpec{{UID: "w", Kind: StoreWindow}},
			Inputs: []Input{{Topic: "hop", Internal: true, Open: func(t *Task) func(*Raw) error {
				w := t.NewWindows(0, 1000, FireAll, func(start int64, key, _ []byte) error {
					*fired = append(*fired, time.UnixMilli(start).UTC().Format("05")+string(key))
					return nil
				})
				return func(r *Raw) error {
					t.Begin(r.Time)
					if _, _, err := w.Get(r.Time-r.Time%1000, r.Key); err != nil {
						return err
					}
					return w.Put(r.Value)
				}
			}}},
		}},
	}
}

// A producer that held time back is gone after a restart: the windows that this closes
// fire at the next sign of life, and are not taken for closed already.
func TestWindowsFireAfterAHolderOfTimeIsGone(t *testing.T) {
	var fired []string
	g, e := bySecond(&fired), &storeEnv{}
	run := g.Start(0, 0, e)
	run.SetUpstream(0, []offsets.Task{from0, from1})
	do := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	do(run.Restore(NoTime, nil),
		run.Stamped(0, from0, 0, offsets.Data), run.Process(0, &Raw{Key: []byte("a"), Time: 500}),
		run.Stamped(0, from1, 5000, offsets.Data), run.Process(0, &Raw{Key: []byte("b"), Time: 5500}),
		run.Flush())
	if got := strings.Join(e.keys(), " "); got != "00a 05b" || fired != nil {
		t.Fatalf("rows %s, fired %v", got, fired)
	}

	run = g.Start(0, 0, e)
	do(run.Restore(NoTime, nil))
	run.SetUpstream(0, []offsets.Task{from1})
	if run.Watermark() != 0 || !run.TickDue(0) {
		t.Errorf("watermark %d, due %v", run.Watermark(), run.TickDue(0))
	}
	do(run.Tick(0), run.Flush())
	if got := strings.Join(fired, " "); got != "00a" || run.Watermark() != 5000 {
		t.Errorf("fired %s, watermark %d", got, run.Watermark())
	}
	if got := strings.Join(e.keys(), " "); got != "05b" {
		t.Errorf("rows %s", got)
	}
}

// The row that is read ahead is the one that the next record of the same window reads.
func TestGuessedRowIsTheOneThatIsRead(t *testing.T) {
	var fired []string
	e := &storeEnv{}
	run := bySecond(&fired).Start(0, 0, e)
	if err := run.Restore(NoTime, nil); err != nil {
		t.Fatal(err)
	}
	if err := run.Process(0, &Raw{Key: []byte("a"), Value: []byte("first"), Time: 5500}); err != nil {
		t.Fatal(err)
	}
	row := run.GuessRow([]byte("x"), []byte("b"))
	if err := run.Process(0, &Raw{Key: []byte("b"), Value: []byte("second"), Time: 5900}); err != nil {
		t.Fatal(err)
	}
	if v, ok, _ := e.store.Get(row[1:]); row[0] != 'x' || !ok || string(v) != "second" {
		t.Errorf("guessed %x, which holds %q", row, v)
	}
	plain := &Task{}
	if got := plain.GuessRow(nil, []byte("b")); !bytes.Equal(got, AppendKeyedRow(nil, []byte("b"))) {
		t.Errorf("without windows: guessed %q", got)
	}
}

func TestOperatorErrorWithoutARecord(t *testing.T) {
	var fired []string
	run := bySecond(&fired).Start(0, 7, &storeEnv{})
	err := run.Fail(0, errClockRow)
	if got := err.Error(); got != "windows here.go:1: partition 7: watermark row is damaged" {
		t.Error(got)
	}
}
