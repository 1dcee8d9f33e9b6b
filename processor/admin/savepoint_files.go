package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
)

// SavepointContent is what a savepoint, or a checkpoint, holds, as its manifest says.
type SavepointContent struct {
	Location           string               `json:"location"`
	Kind               string               `json:"kind"` // savepoint or checkpoint
	Format             string               `json:"format"`
	Application        string               `json:"application"`
	Timeline           uint32               `json:"timeline"`
	Cut                uint64               `json:"cut"`
	Request            string               `json:"request,omitempty"`
	Triggered          time.Time            `json:"triggered"`
	Completed          time.Time            `json:"completed"`
	Weir               string               `json:"weir"` // version that wrote it
	InternalPartitions int32                `json:"internal_partitions"`
	Files              int                  `json:"files"`
	Bytes              int64                `json:"bytes"` // of all files but the manifest
	Rows               int64                `json:"rows"`
	Records            int64                `json:"records"` // copied ones, in flight
	Stores             []StoreContent       `json:"stores"`
	InFlight           []InFlightContent    `json:"in_flight"`
	Tasks              []TaskContent        `json:"tasks"`
	Topics             []TopicContent       `json:"topics"`
	Plan               topology.Description `json:"plan"`
}

// StoreContent is a store with the parts of all its tasks.
type StoreContent struct {
	UID         string `json:"uid"`
	Kind        string `json:"kind,omitempty"`
	Key         string `json:"key_codec,omitempty"`
	Value       string `json:"value_codec,omitempty"`
	KeySchema   string `json:"key_schema,omitempty"`
	ValueSchema string `json:"value_schema,omitempty"`
	Tasks       int    `json:"tasks"`
	Rows        int64  `json:"rows"` // of all layers: an upper bound of the keys, and exact in a savepoint
	Bytes       int64  `json:"bytes"`
	Layers      int    `json:"layers"` // of the task that has most: 1 but for checkpoints
}

// InFlightContent is what was on its way to a task.
type InFlightContent struct {
	UID       string `json:"uid"`
	Partition int32  `json:"partition"`
	Task      string `json:"task"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
	Records   int64  `json:"records"` // copied: a checkpoint has none, they stay in the topic
	Bytes     int64  `json:"bytes"`
}

// TaskContent is a task as it was.
type TaskContent struct {
	Task      string            `json:"task"`
	Epoch     string            `json:"epoch"`
	Watermark *Time             `json:"watermark"`
	Positions []PositionContent `json:"positions"`
	Rows      int64             `json:"rows"`
	Bytes     int64             `json:"bytes"`
}

// PositionContent is where a task was in an input.
type PositionContent struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Watermark *Time  `json:"watermark"`
}

// TopicContent is a topic of the application as it was.
type TopicContent struct {
	Name       string `json:"name"`
	ID         string `json:"id,omitempty"`
	Partitions int32  `json:"partitions"`
}

// InspectSavepoint reads the manifest of a savepoint, by its place, or of a checkpoint, by its
// manifest's, and makes sure that all its files are there. With verify it reads them all, and
// finds any damage. A savepoint that cannot be restored is an ErrBroken, with what is known of
// it.
func InspectSavepoint(ctx context.Context, location string, verify bool) (SavepointContent, error) {
	b, m, err := snapshot.FindManifest(ctx, location, snapshot.Options{})
	if err != nil {
		class := ErrBroken
		if !broken(err) || errors.Is(err, snapshot.ErrNotFound) {
			class = nil // there is none, or it cannot be told
		}
		return SavepointContent{}, explain(err, class)
	}
	defer b.Close()
	out, err := contentOf(b.String(), m)
	if err != nil {
		return out, errors.Join(err, ErrBroken)
	}
	if verify {
		err = b.Verify(ctx, m, nil)
	} else {
		err = b.Present(ctx, m)
	}
	if broken(err) {
		return out, explain(err, ErrBroken)
	}
	return out, explain(err, nil)
}

func contentOf(location string, m *snapshot.Manifest) (SavepointContent, error) {
	out := SavepointContent{
		Location: location, Kind: string(m.Kind), Format: string(m.Format), Application: m.Application, Timeline: m.Timeline, Cut: m.Cut, Request: m.Request,
		Triggered: time.UnixMilli(m.Triggered).UTC(), Completed: time.UnixMilli(m.Completed).UTC(), Weir: m.Weir, InternalPartitions: m.InternalPartitions,
		Stores: []StoreContent{}, InFlight: []InFlightContent{}, Tasks: []TaskContent{}, Topics: []TopicContent{},
	}
	if err := json.Unmarshal(m.Plan, &out.Plan); err != nil {
		return out, fmt.Errorf("plan in the manifest of cut %d: %w", m.Cut, err)
	}
	for o := range m.Objects() {
		out.Files++
		out.Bytes += o.Size
	}
	for _, t := range m.Topics {
		out.Topics = append(out.Topics, TopicContent(t))
	}
	at := map[string]int{}
	for _, t := range m.Tasks {
		task := TaskContent{Task: t.Task.String(), Epoch: t.Epoch.String(), Watermark: watermark(t.Time), Positions: []PositionContent{}}
		for _, p := range t.Positions {
			task.Positions = append(task.Positions, PositionContent{p.Topic, p.Partition, p.Offset, watermark(p.Time)})
		}
		for i := range t.Stores {
			s := &t.Stores[i]
			rows, bytes := s.Rows()
			task.Rows, task.Bytes = task.Rows+rows, task.Bytes+bytes
			if _, seen := at[s.UID]; !seen {
				at[s.UID] = len(out.Stores)
				of := StoreContent{UID: s.UID}
				if c := s.Codecs; c != nil {
					of.Kind, of.Key, of.Value, of.KeySchema, of.ValueSchema = c.Store, c.Key, c.Value, c.KeySchema, c.ValueSchema
				}
				out.Stores = append(out.Stores, of)
			}
			of := &out.Stores[at[s.UID]]
			of.Tasks, of.Rows, of.Bytes, of.Layers = of.Tasks+1, of.Rows+rows, of.Bytes+bytes, max(of.Layers, len(s.Layers))
		}
		out.Rows += task.Rows
		out.Tasks = append(out.Tasks, task)
	}
	describeStores(out.Stores, out.Plan)
	slices.SortFunc(out.Stores, func(a, b StoreContent) int { return cmp.Compare(a.UID, b.UID) })
	for _, p := range m.InFlight {
		one := InFlightContent{UID: p.UID, Partition: p.Partition, Task: p.Task.String(), From: p.From, To: p.To}
		for _, o := range p.Objects {
			one.Records, one.Bytes = one.Records+o.Entries, one.Bytes+o.Size
		}
		out.Records += one.Records
		out.InFlight = append(out.InFlight, one)
	}
	return out, nil
}

// describeStores fills in from the plan what the manifest does not say of stores.
func describeStores(stores []StoreContent, plan topology.Description) {
	for _, sub := range plan.Subs {
		for _, st := range sub.Stores {
			if i := slices.IndexFunc(stores, func(s StoreContent) bool { return s.UID == st.UID && s.Kind == "" }); i >= 0 {
				stores[i].Kind, stores[i].Key, stores[i].Value = st.Kind, st.KeyCodec, st.ValueCodec
				stores[i].KeySchema, stores[i].ValueSchema = st.KeySchema, st.ValueSchema
			}
		}
	}
}

// ErrNotSavepoint is returned for what is not a savepoint, and so not its user's to delete.
var ErrNotSavepoint = errors.New("not a savepoint")

// Disposed is what was deleted.
type Disposed struct {
	Location    string `json:"location"`
	Application string `json:"application"`
	Request     string `json:"request"`
	Cut         uint64 `json:"cut"`
	Files       int    `json:"files"` // the manifest among them
	Bytes       int64  `json:"bytes"` // of all files but the manifest
}

// DisposeSavepoint deletes a savepoint for good: the files that its manifest names, and the
// manifest. It deletes nothing where there is no savepoint: checkpoints belong to their
// application, and what lies beside the savepoint to somebody else. Who restores from it at
// this moment fails.
func DisposeSavepoint(ctx context.Context, location string) (Disposed, error) {
	b, m, err := snapshot.FindManifest(ctx, location, snapshot.Options{})
	if err != nil {
		return Disposed{}, explain(err, nil)
	}
	defer b.Close()
	if m.Kind != snapshot.Savepoint {
		return Disposed{}, &processor.Error{What: fmt.Sprintf("it is checkpoint %d of %s; nothing was deleted", m.Cut, m.Application), Where: location, Err: ErrNotSavepoint,
			Fix: "leave it: the application drops its checkpoints itself, and may need this one"}
	}
	swept, err := b.Remove(ctx, m)
	if err != nil {
		return Disposed{}, explain(err, nil)
	}
	return Disposed{Location: b.String(), Application: m.Application, Request: m.Request, Cut: m.Cut, Files: swept.Manifests + swept.Objects, Bytes: swept.Bytes}, nil
}
