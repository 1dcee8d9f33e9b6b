package topology_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/task"
)

// memory is a byte store in a sorted slice, with the rollback that an engine has.
type memory struct {
	rows, saved []row
	ranges      int
	fail        error
}

type row struct{ key, value string }

func (m *memory) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(m.rows, string(key), func(r row, k string) int { return strings.Compare(r.key, k) })
}

func (m *memory) Get(key []byte) ([]byte, bool, error) {
	if i, ok := m.find(key); ok {
		return []byte(m.rows[i].value), true, m.fail
	}
	return nil, false, m.fail
}

func (m *memory) Put(key, value []byte) error {
	i, ok := m.find(key)
	if !ok {
		m.rows = slices.Insert(m.rows, i, row{key: string(key)})
	}
	m.rows[i].value = string(value)
	return m.fail
}

func (m *memory) Delete(key []byte) error {
	if i, ok := m.find(key); ok {
		m.rows = slices.Delete(m.rows, i, i+1)
	}
	return m.fail
}

func (m *memory) Range(lo, hi []byte, f func(key, value []byte) bool) error {
	m.ranges++
	i, _ := m.find(lo)
	for _, r := range slices.Clone(m.rows[i:]) {
		if hi != nil && r.key >= string(hi) || !f([]byte(r.key), []byte(r.value)) {
			break
		}
	}
	return m.fail
}

// user is the number of rows that hold users' keys.
func (m *memory) user() (n int) {
	for _, r := range m.rows {
		if r.key[0] == 1 {
			n++
		}
	}
	return n
}

// rig runs all sub-topologies of a plan with one partition each.
type rig struct {
	t     testing.TB
	plan  *topology.Plan
	tasks []*task.Task
	envs  []*env
	out   []string // what went to user topics: "topic key=value @time [headers]"
	queue []hopped
	show  func(topic string, o *task.Out) string
	next  map[string]int64 // offsets
}

type hopped struct {
	uid     string
	raw     task.Raw
	headers []task.Header
	stamp   offsets.Stamp
}

type env struct {
	r       *rig
	sub     *task.Sub
	stores  []*memory
	headers []task.Header
	fail    error
}

func (e *env) Store(i int) task.Store { return e.stores[i] }
func (e *env) Headers() []task.Header { return e.headers }

func (e *env) Emit(output int, o *task.Out) error {
	if e.fail != nil {
		return e.fail
	}
	to := e.sub.Outputs[output]
	if !to.Internal {
		e.r.out = append(e.r.out, to.Topic+" "+e.r.show(to.Topic, o))
		return nil
	}
	e.r.queue = append(e.r.queue, hopped{
		uid: to.Topic, raw: task.Raw{Key: slices.Clone(o.Key), Value: slices.Clone(o.Value), Time: o.Time, Topic: to.Topic},
		headers: slices.Clone(o.Headers),
		stamp:   offsets.Stamp{Task: offsets.Task{Sub: int32(e.sub.ID)}, Watermark: e.r.tasks[e.sub.ID].Watermark()},
	})
	return nil
}

func plan(t testing.TB, build func(b *topology.Builder)) *topology.Plan {
	t.Helper()
	b := topology.New("app")
	build(b)
	p, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func start(t testing.TB, build func(b *topology.Builder)) *rig {
	t.Helper()
	r := &rig{t: t, plan: plan(t, build), next: map[string]int64{}, show: text}
	g := r.plan.Graph()
	for i := range g.Subs {
		e := &env{r: r, sub: &g.Subs[i]}
		for range e.sub.Stores {
			e.stores = append(e.stores, &memory{})
		}
		r.envs = append(r.envs, e)
		r.tasks = append(r.tasks, nil)
		r.open(i)
	}
	return r
}

// open starts or restarts a task from its stores.
func (r *rig) open(sub int) {
	r.t.Helper()
	tk := r.plan.Graph().Start(sub, 0, r.envs[sub])
	r.tasks[sub] = tk
	for i, in := range r.plan.Graph().Subs[sub].Inputs {
		if in.Internal {
			var from []offsets.Task
			for _, up := range in.Upstream {
				from = append(from, offsets.Task{Sub: int32(up)})
			}
			tk.SetUpstream(i, from)
		}
	}
	if err := tk.Restore(offsets.NoTime, nil); err != nil {
		r.t.Fatal(err)
	}
}

// input finds who reads a topic.
func (r *rig) input(topic string, internal bool) (sub, input int) {
	r.t.Helper()
	for _, s := range r.plan.Graph().Subs {
		for i, in := range s.Inputs {
			if in.Topic == topic && in.Internal == internal {
				return s.ID, i
			}
		}
	}
	r.t.Fatalf("nobody reads %s", topic)
	return 0, 0
}

// try runs a record, and everything that it brings about.
func (r *rig) try(topic string, key, value []byte, at int64, headers ...task.Header) error {
	r.t.Helper()
	sub, input := r.input(topic, false)
	r.envs[sub].headers = headers
	raw := &task.Raw{Key: key, Value: value, Time: at, Topic: topic, Offset: r.next[topic]}
	r.next[topic]++
	if err := r.tasks[sub].Process(input, raw); err != nil {
		return err
	}
	return r.drain()
}

func (r *rig) drain() error {
	for len(r.queue) > 0 {
		h := r.queue[0]
		r.queue = r.queue[1:]
		sub, input := r.input(h.uid, true)
		h.raw.Offset = r.next[h.uid]
		r.next[h.uid]++
		r.envs[sub].headers = h.headers
		if err := r.tasks[sub].Stamped(input, h.stamp.Task, h.stamp.Watermark, offsets.Data); err != nil {
			return err
		}
		if err := r.tasks[sub].Process(input, &h.raw); err != nil {
			return err
		}
	}
	return nil
}

// heartbeat tells every reader how far its writers are.
func (r *rig) heartbeat() {
	r.t.Helper()
	for _, s := range r.plan.Graph().Subs {
		for i, in := range s.Inputs {
			for _, up := range in.Upstream {
				if err := r.tasks[s.ID].Stamped(i, offsets.Task{Sub: int32(up)}, r.tasks[up].Watermark(), offsets.Heartbeat); err != nil {
					r.t.Fatal(err)
				}
			}
		}
		if err := r.drain(); err != nil {
			r.t.Fatal(err)
		}
	}
}

func send[K, V any](r *rig, topic topology.Topic[K, V], key K, value V, at int64, headers ...task.Header) {
	r.t.Helper()
	if err := trySend(r, topic, key, value, at, headers...); err != nil {
		r.t.Fatal(err)
	}
}

func trySend[K, V any](r *rig, topic topology.Topic[K, V], key K, value V, at int64, headers ...task.Header) error {
	r.t.Helper()
	k, v, err := topic.Encode(key, value)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.try(topic.Name(), k, v, at, headers...)
}

// flush ends an epoch in every task.
func (r *rig) flush() {
	r.t.Helper()
	for _, tk := range r.tasks {
		if err := tk.Flush(); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.drain(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) commit() {
	r.t.Helper()
	r.flush()
	for i, tk := range r.tasks {
		tk.Committed()
		for _, m := range r.envs[i].stores {
			m.saved = slices.Clone(m.rows)
		}
	}
}

func (r *rig) abort() {
	for i, tk := range r.tasks {
		for _, m := range r.envs[i].stores {
			m.rows = slices.Clone(m.saved)
		}
		tk.Rollback()
	}
}

// want compares what came out since the last want.
func (r *rig) want(lines ...string) {
	r.t.Helper()
	if !slices.Equal(r.out, lines) {
		r.t.Errorf("out:\n  %s\nwant:\n  %s", strings.Join(r.out, "\n  "), strings.Join(lines, "\n  "))
	}
	r.out = nil
}

// text shows a record whose key and value are text.
func text(_ string, o *task.Out) string {
	show := func(b []byte) string {
		if b == nil {
			return "null"
		}
		return string(b)
	}
	s := fmt.Sprintf("%s=%s @%d", show(o.Key), show(o.Value), o.Time)
	for _, h := range o.Headers {
		s += fmt.Sprintf(" %s:%s", h.Key, h.Value)
	}
	return s
}

// decimal is a codec of readable numbers.
type decimal struct{}

func (decimal) Name() string { return "decimal" }
func (decimal) Append(dst []byte, v int64) ([]byte, error) {
	return fmt.Appendf(dst, "%d", v), nil
}

func (decimal) Decode(src []byte) (v int64, err error) {
	_, err = fmt.Sscanf(string(src), "%d", &v)
	return v, err
}

// windowedText is a codec of readable windows in seconds: "ann[10,20)".
type windowedText struct{}

func (windowedText) Name() string { return "windowed text" }
func (windowedText) Append(dst []byte, w topology.Windowed[string]) ([]byte, error) {
	return fmt.Appendf(dst, "%s[%d,%d)", w.Key, w.Start.Unix(), w.End.Unix()), nil
}

func (windowedText) Decode([]byte) (topology.Windowed[string], error) {
	return topology.Windowed[string]{}, errors.New("not needed")
}

const second = int64(time.Second / time.Millisecond)

var lineNumber = regexp.MustCompile(`go:\d+`)
