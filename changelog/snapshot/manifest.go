package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/weir-stream/weir/offsets"
)

// Kind of a manifest.
type Kind string

const (
	// Checkpoint is for the application itself: it may share objects with other checkpoints, and is dropped by it.
	Checkpoint Kind = "checkpoint"
	// Savepoint is for its user: it refers to nothing outside of its directory, and is never dropped unasked.
	Savepoint Kind = "savepoint"
)

const manifestVersion = 1

// Manifest is all of a checkpoint or savepoint: what each task had processed, where its state lies, and which records
// were on their way. It is immutable once written. Names in it are relative, so that its directory may be moved.
type Manifest struct {
	Kind        Kind   `json:"kind"`
	Format      Format `json:"format"`
	Application string `json:"application"`
	Timeline    uint32 `json:"timeline"`
	Cut         uint64 `json:"cut"`
	Request     string `json:"request,omitempty"` // id chosen by who asked for it
	Triggered   int64  `json:"triggered"`         // wall clock, ms since 1970
	Completed   int64  `json:"completed"`         // wall clock, ms since 1970
	Weir        string `json:"weir"`              // version of the library

	Fingerprint        string          `json:"fingerprint"` // of the plan
	Plan               json.RawMessage `json:"plan"`        // not looked into here
	InternalPartitions int32           `json:"internalPartitions"`
	Topics             []Topic         `json:"topics"` // all that the application uses, by name

	Tasks    []TaskState `json:"tasks"`    // all of the plan, in order
	InFlight []InFlight  `json:"inFlight"` // all partitions of repartition topics, by uid and partition
}

// Topic is one as it was.
type Topic struct {
	Name       string `json:"name"`
	ID         string `json:"id,omitempty"`
	Partitions int32  `json:"partitions"`
}

// TaskState is the part of a cut that a task acknowledged in one transaction.
type TaskState struct {
	Task      offsets.Task    `json:"task"`
	Epoch     offsets.EpochID `json:"epoch"`
	Time      int64           `json:"time"`      // watermark, ms since 1970, or offsets.NoTime
	Positions []Position      `json:"positions"` // of all inputs, by topic and partition
	Stores    []StoreState    `json:"stores"`    // in plan order
}

// Position is the next offset to process of an input.
type Position struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Time      int64  `json:"time"` // watermark of the input, ms since 1970, or offsets.NoTime
}

// StoreState is where the rows of a store are: a full layer, then increments in their order.
type StoreState struct {
	UID    string  `json:"uid"`
	End    int64   `json:"end"` // of its changelog, as of the epoch
	Codecs *Codecs `json:"codecs,omitempty"`
	Layers []Layer `json:"layers"`
}

// Rows counts the entries of all layers: an upper bound of the keys, and exact if there is one layer. Bytes is the size
// of their files.
func (s *StoreState) Rows() (rows, bytes int64) {
	for _, l := range s.Layers {
		for _, o := range l.Objects {
			rows += o.Entries
			bytes += o.Size
		}
	}
	return rows, bytes
}

// InFlight is what lay in a partition of a repartition topic before the reader's position and belongs to the cut: the
// records of [From, To) whose stamp is below it. A checkpoint pins them in the topic, a savepoint has copies.
type InFlight struct {
	UID       string          `json:"uid"`
	Partition int32           `json:"partition"`
	Task      offsets.Task    `json:"task"` // that reads it
	Epoch     offsets.EpochID `json:"epoch"`
	From      int64           `json:"from"`
	To        int64           `json:"to"`
	Codecs    *Codecs         `json:"codecs,omitempty"`
	Objects   []Object        `json:"objects,omitempty"`
}

// Store gives the state of a store, or nil.
func (m *Manifest) Store(task offsets.Task, uid string) *StoreState {
	i, ok := slices.BinarySearchFunc(m.Tasks, task, func(s TaskState, t offsets.Task) int { return s.Task.Compare(t) })
	if !ok {
		return nil
	}
	stores := m.Tasks[i].Stores
	if j := slices.IndexFunc(stores, func(s StoreState) bool { return s.UID == uid }); j >= 0 {
		return &stores[j]
	}
	return nil
}

// Objects are all that the manifest refers to: the one truth about what a checkpoint needs.
func (m *Manifest) Objects() iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for _, t := range m.Tasks {
			for _, s := range t.Stores {
				for _, l := range s.Layers {
					for _, o := range l.Objects {
						if !yield(o) {
							return
						}
					}
				}
			}
		}
		for _, part := range m.InFlight {
			for _, o := range part.Objects {
				if !yield(o) {
					return
				}
			}
		}
	}
}

// Name is where the manifest lies in its bucket. Errors say what is wrong with the manifest.
func (m *Manifest) Name() (string, error) {
	_, n, err := m.encode()
	return n.String(), err
}

// wire is a manifest as it is written: one line of JSON, version first.
type wire struct {
	Version int `json:"version"`
	*Manifest
}

func (m *Manifest) encode() ([]byte, name, error) {
	if err := m.check(); err != nil {
		return nil, name{}, fmt.Errorf("manifest of cut %d: %w", m.Cut, err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // or the plan would not come back as it was
	if err := e.Encode(wire{manifestVersion, m}); err != nil {
		return nil, name{}, fmt.Errorf("manifest of cut %d: %w", m.Cut, err)
	}
	return b.Bytes(), name{dir: manifestDir, cut: m.Cut, sum: sha256.Sum256(b.Bytes()), ext: "json"}, nil
}

// decodeManifest reads what encode gives, and nothing else. Errors wrap ErrDamaged or ErrNewer.
func decodeManifest(n name, text []byte) (*Manifest, error) {
	if sum := sha256.Sum256(text); sum != n.sum {
		return nil, damaged("its SHA-256 is %x", sum)
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, damaged("%v", err)
	}
	if v.Version > manifestVersion {
		return nil, fmt.Errorf("version %d, known are versions up to %d: %w", v.Version, manifestVersion, ErrNewer)
	}
	w := wire{Manifest: &Manifest{}}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return nil, damaged("%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, damaged("something follows the manifest")
	}
	if w.Manifest == nil {
		return nil, damaged("there is no manifest")
	}
	again, _, err := w.Manifest.encode()
	if err != nil {
		return nil, damaged("%v", err)
	}
	if w.Version != manifestVersion || !bytes.Equal(again, text) || n.cut != w.Cut {
		return nil, damaged("it is not what weir writes")
	}
	return w.Manifest, nil
}
