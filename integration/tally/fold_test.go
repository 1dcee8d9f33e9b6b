package tally

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
)

// A task that is made of several has the time of the slowest, and the windows that the others have fired are gone. Once
// the audit missed such a window in the first checkpoint behind a rescale, in one run of sixty.
func TestFoldAfterARescale(t *testing.T) {
	app := Tally{App: "app", Groups: 20, Partitions: 2, inner: 1}
	in := Partition{app.In(), 0}
	f, end := Facts{Logs: map[Partition]Log{}}, WindowSize.Milliseconds()
	var log Log
	for i := range 20 {
		log.Records = append(log.Records, Record{Offset: int64(i), Key: fmt.Appendf(nil, "key-%06d", i), Value: binary.BigEndian.AppendUint64(nil, 1), Time: 1})
	}
	log.Stable, log.End = 20, 20
	f.Logs[in] = log
	task := func(p int32, time int64) snapshot.TaskState {
		return snapshot.TaskState{Task: offsets.Task{Sub: 1, Partition: p}, Time: time}
	}
	state := func(sub, p int32) snapshot.TaskState {
		return snapshot.TaskState{Task: offsets.Task{Sub: sub, Partition: p}, Time: end}
	}
	open := func() map[string]bool {
		rows, err := app.inputFold(f, map[Partition]Position{in: {Offset: 20}}, offsets.Task{Sub: 1}, 0, nil)
		if err != nil || len(rows["groups"]) != 20 {
			t.Fatalf("%v, %v", rows, err)
		}
		out := map[string]bool{}
		for key := range rows["windows"] {
			out[key[len(key)-len("group-000"):]] = true
		}
		return out
	}
	want := func(ahead map[int32]bool, parts int32) {
		t.Helper()
		got, fired := open(), 0
		for i := range 20 {
			group := fmt.Sprintf("group-%03d", i)
			gone := ahead[offsets.Partition([]byte(group), parts)]
			if gone {
				fired++
			}
			if got[group] == gone {
				t.Errorf("%s is there: %t, and had fired: %t", group, got[group], gone)
			}
		}
		if len(ahead) > 0 && (fired == 0 || fired == 20) {
			t.Errorf("%d have fired, which shows nothing", fired)
		}
	}
	want(nil, 1)
	app.madeOf(&snapshot.Manifest{Tasks: []snapshot.TaskState{state(0, 0), state(0, 1), task(0, end-1), task(1, end), task(2, offsets.NoTime)}})
	want(map[int32]bool{1: true}, 3)
	app.madeOf(&snapshot.Manifest{Tasks: []snapshot.TaskState{task(0, 0)}}) // nobody was ahead this time: what was gone stays so
	want(map[int32]bool{1: true}, 3)
}
