package topologytest

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// Store reads a store by its uid, over all partitions.
type Store[K, V any] struct {
	d   *Driver
	uid string
	k   codec.Codec[K]
	v   codec.Codec[V]
}

// StoreOf gives the rows of a store. The key codec of a window store is
// topology.WindowedKey of the stream's.
func StoreOf[K, V any](d *Driver, uid string, k codec.Codec[K], v codec.Codec[V]) Store[K, V] {
	d.t.Helper()
	stores := d.storesOf(uid)
	if len(stores) == 0 {
		d.t.Fatalf("topologytest: the topology has no store %s", uid)
	}
	_, windowed := any(k).(interface{ PartitionKey([]byte) []byte })
	if kind := stores[0].spec.Kind; (kind == task.StoreWindow) != windowed {
		d.t.Fatalf("topologytest: store %s is of kind %s, the key codec is %s: use topology.WindowedKey with window stores, and with those alone", uid, kind, k.Name())
	}
	name := d.nameOf(task.CodecUse{Kind: task.ChangelogTopic, Topic: uid})
	k, err := codec.ForTopic(context.Background(), k, name, true)
	d.must(err)
	v, err = codec.ForTopic(context.Background(), v, name, false)
	d.must(err)
	return Store[K, V]{d, uid, k, v}
}

// Get reads the row of a key.
func (s Store[K, V]) Get(key K) (value V, ok bool) {
	s.d.t.Helper()
	s.d.settle()
	b, err := s.k.Append(nil, key)
	s.d.must(err)
	for _, st := range s.d.storesOf(s.uid) {
		if row, found := st.rows[string(rowKey(st.spec, b))]; found {
			v, err := s.v.Decode(row)
			s.d.must(err)
			return v, true
		}
	}
	return value, false
}

// All walks the rows: by partition, then window, then key.
func (s Store[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		s.d.t.Helper()
		s.d.settle()
		for _, st := range s.d.storesOf(s.uid) {
			for _, row := range st.keys() {
				key, ok := userKey(st.spec, []byte(row))
				if !ok {
					continue
				}
				k, err := s.k.Decode(key)
				s.d.must(err)
				v, err := s.v.Decode(st.rows[row])
				s.d.must(err)
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// windowBounds are the start and the end behind an encoded windowed key.
const windowBounds = 16

// rowKey is the row of an encoded key.
func rowKey(spec *task.StoreSpec, key []byte) []byte {
	if spec.Kind != task.StoreWindow {
		return task.AppendKeyedRow(nil, key)
	}
	n := len(key) - windowBounds
	return task.AppendWindowRow(nil, int64(binary.BigEndian.Uint64(key[n:])), key[:n])
}

// userKey is the encoded key of a row; it is false for system rows.
func userKey(spec *task.StoreSpec, row []byte) (key []byte, ok bool) {
	if spec.Kind != task.StoreWindow {
		return task.ParseKeyedRow(row)
	}
	start, key, ok := task.ParseWindowRow(row)
	if !ok {
		return nil, false
	}
	key = binary.BigEndian.AppendUint64(slices.Clone(key), uint64(start))
	return binary.BigEndian.AppendUint64(key, uint64(start+spec.Window.Milliseconds())), true
}

// viewed is a store with what the plan says of it.
type viewed struct {
	*store
	spec *task.StoreSpec
}

func (d *Driver) storesOf(uid string) (out []viewed) {
	for _, id := range d.order {
		r := d.runners[id]
		for i := range r.sub.Stores {
			if spec := &r.sub.Stores[i]; spec.UID == uid {
				out = append(out, viewed{r.stores[i], spec})
			}
		}
	}
	return out
}

// String shows all outputs that were not taken and all stores, for golden files.
func (d *Driver) String() string {
	d.settle()
	var b strings.Builder
	for _, topic := range slices.Sorted(maps.Keys(d.outputs)) {
		for _, r := range d.outputs[topic][d.taken[topic]:] {
			fmt.Fprintf(&b, "%s/%d@%d %s = %s at %s\n", r.topic, r.partition, r.offset, quoted(r.key), quoted(r.value), time.UnixMilli(r.time).UTC().Format(time.RFC3339Nano))
		}
	}
	for _, id := range d.order {
		r := d.runners[id]
		for i, spec := range r.sub.Stores {
			for _, k := range r.stores[i].keys() {
				fmt.Fprintf(&b, "%s %s %x = %x\n", spec.UID, id, k, r.stores[i].rows[k])
			}
		}
	}
	return b.String()
}

func quoted(b []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf("%q", b)
}
