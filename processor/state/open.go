package state

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-stream/weir/changelog/snapshot"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/task"
)

// ErrUnknown is returned for a store, a task or a repartition topic that is not there.
var ErrUnknown = errors.New("not there")

// Snapshot is a savepoint or a checkpoint. It may be used by several goroutines.
type Snapshot struct {
	bucket   *snapshot.Bucket
	manifest *snapshot.Manifest
	stores   []Store // by uid
	parts    []repartition
}

// Store is a store with the parts of all its tasks.
type Store struct {
	UID         string
	Kind        string // keyed or window
	Key, Value  string // codecs
	KeySchema   string
	ValueSchema string
	WindowMS    int64          // size of the windows, of kind window
	Tasks       []offsets.Task // by partition
	Entries     int64          // rows of all layers: an upper bound of the keys, exact in a savepoint
	text        rowText
}

// Open opens the directory or URL of a savepoint, or the file of a manifest, of a checkpoint too. Errors say what to do; they
// wrap those of package snapshot.
func Open(ctx context.Context, location string) (*Snapshot, error) {
	b, m, err := snapshot.FindManifest(ctx, location, snapshot.Options{Parallel: 1})
	if err != nil {
		return nil, explain(err)
	}
	s := &Snapshot{bucket: b, manifest: m}
	if err := s.read(); err != nil {
		return nil, errors.Join(&processor.Error{What: err.Error(), Where: b.String(), Fix: "run the release that wrote it, weir " + m.Weir}, b.Close())
	}
	return s, nil
}

// Close gives back what Open took.
func (s *Snapshot) Close() error { return s.bucket.Close() }

// String says what it is.
func (s *Snapshot) String() string {
	m := s.manifest
	return fmt.Sprintf("%s of %s, timeline %d, cut %d", m.Kind, m.Application, m.Timeline, m.Cut)
}

// Stores are all, by uid.
func (s *Snapshot) Stores() []Store { return s.stores }

// read learns the stores: their codecs are in the manifest, of a checkpoint in its plan alone.
func (s *Snapshot) read() error {
	var plan topology.Description
	if err := json.Unmarshal(s.manifest.Plan, &plan); err != nil {
		return fmt.Errorf("plan in the manifest: %w", err)
	}
	at := map[string]int{}
	for _, t := range s.manifest.Tasks {
		for i := range t.Stores {
			state := &t.Stores[i]
			if _, seen := at[state.UID]; !seen {
				at[state.UID] = len(s.stores)
				s.stores = append(s.stores, storeOf(state, plan))
			}
			of := &s.stores[at[state.UID]]
			of.Tasks = append(of.Tasks, t.Task)
			entries, _ := state.Rows()
			of.Entries += entries
		}
	}
	for i := range s.stores {
		of := &s.stores[i]
		slices.SortFunc(of.Tasks, func(a, b offsets.Task) int { return cmp.Compare(a.Partition, b.Partition) })
		var err error
		if of.text, err = newRowText(*of); err != nil {
			return fmt.Errorf("store %s: %w", of.UID, err)
		}
	}
	slices.SortFunc(s.stores, func(a, b Store) int { return cmp.Compare(a.UID, b.UID) })
	return s.readParts(plan)
}

func storeOf(state *snapshot.StoreState, plan topology.Description) Store {
	of := Store{UID: state.UID}
	for _, sub := range plan.Subs {
		for _, st := range sub.Stores {
			if st.UID == state.UID {
				of.Kind, of.Key, of.Value, of.KeySchema, of.ValueSchema, of.WindowMS = st.Kind, st.KeyCodec, st.ValueCodec, st.KeySchema, st.ValueSchema, st.WindowMS
			}
		}
	}
	if c := state.Codecs; c != nil { // what they were written with goes before
		of.Kind, of.Key, of.Value = c.Store, c.Key, c.Value
		of.KeySchema, of.ValueSchema = cmp.Or(c.KeySchema, of.KeySchema), cmp.Or(c.ValueSchema, of.ValueSchema)
	}
	return of
}

// Selection is what to read. The zero value is everything.
type Selection struct {
	Store string // uid
	Task  string // "1-3"
}

// part is the rows of a store in one task.
type part struct {
	store *Store
	task  offsets.Task
}

// selected lists what a selection means.
func (s *Snapshot) selected(sel Selection) (parts []part, err error) {
	want := offsets.Task{Sub: -1}
	if sel.Task != "" {
		if want, err = offsets.ParseTask(sel.Task); err != nil {
			return nil, &processor.Error{What: err.Error(), Fix: "write it as weir savepoint inspect shows it, such as 1-3", Err: ErrUnknown}
		}
	}
	var names, tasks []string
	for i := range s.stores {
		st := &s.stores[i]
		names = append(names, st.UID)
		if sel.Store != "" && st.UID != sel.Store {
			continue
		}
		for _, t := range st.Tasks {
			tasks = append(tasks, t.String())
			if sel.Task == "" || t == want {
				parts = append(parts, part{st, t})
			}
		}
	}
	switch {
	case len(tasks) == 0 && sel.Store != "":
		return nil, s.unknown("store "+sel.Store, names)
	case len(parts) == 0 && sel.Task != "":
		of := "store"
		if sel.Store != "" {
			of += " " + sel.Store
		}
		slices.Sort(tasks)
		return nil, s.unknown(fmt.Sprintf("%s of task %s", of, sel.Task), slices.Compact(tasks))
	}
	return parts, nil
}

// unknown is the error of a name that is not there.
func (s *Snapshot) unknown(what string, there []string) error {
	return &processor.Error{What: fmt.Sprintf("there is no %s in this %s", what, s.manifest.Kind), Where: s.bucket.String(), Fix: nameOne(there), Err: ErrUnknown}
}

func nameOne(there []string) string {
	if len(there) == 0 {
		return "look with weir savepoint inspect: it has nothing of the kind"
	}
	return "name one of " + strings.Join(there, ", ")
}

// Rows gives f the rows of a selection. A selection of something that is not there is an ErrUnknown, which lists what is.
func (s *Snapshot) Rows(ctx context.Context, sel Selection, f func(Row) error) error {
	parts, err := s.selected(sel)
	if err != nil {
		return err
	}
	for _, p := range parts {
		rows := s.bucket.Rows(ctx, s.manifest, p.task, p.store.UID)
		for rows.Next() {
			r, mine := p.store.text.row(rows.Key(), rows.Value())
			if !mine {
				continue
			}
			r.Store, r.Task = p.store.UID, p.task.String()
			if err := f(r); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return explain(err)
		}
	}
	return nil
}

// Get gives f the rows of one key: of a keyed store one at most, of a window store one for each window, from whatever task has
// them. The key is written as Rows shows it, strings without their quotes; with hex it is the hex digits of its bytes. A key that
// its codec does not have is an error that says so. A window store is read from its first row to its last, a keyed one up to
// the key.
func (s *Snapshot) Get(ctx context.Context, sel Selection, key string, hex bool, f func(Row) error) error {
	if sel.Store == "" {
		var names []string
		for _, st := range s.stores {
			names = append(names, st.UID)
		}
		return &processor.Error{What: "it is not said of which store the key is", Where: s.bucket.String(), Fix: nameOne(names), Err: ErrUnknown}
	}
	parts, err := s.selected(sel)
	if err != nil {
		return err
	}
	st := parts[0].store
	want, err := st.text.parseKey(key, hex)
	if err != nil {
		return &processor.Error{What: fmt.Sprintf("key %.80q: %v", key, err), Where: "store " + st.UID, Fix: "write it as weir state export shows it, or as hex digits with --hex"}
	}
	row := task.AppendKeyedRow(nil, want)
	for _, p := range parts {
		rows := s.bucket.Rows(ctx, s.manifest, p.task, st.UID)
		for rows.Next() {
			if st.Kind == task.StoreKeyed {
				if c := bytes.Compare(rows.Key(), row); c < 0 {
					continue
				} else if c > 0 {
					break
				}
			}
			_, k, mine := st.text.split(rows.Key())
			if !mine || !bytes.Equal(k, want) {
				continue
			}
			r, _ := st.text.row(rows.Key(), rows.Value())
			r.Store, r.Task = st.UID, p.task.String()
			if err := f(r); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return explain(err)
		}
	}
	return nil
}

// explain gives each error of a store the form that says what to do apart from what is wrong.
func explain(err error) error {
	if many, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // it walks the chain itself
		var out []error
		for _, one := range many.Unwrap() {
			out = append(out, explain(one))
		}
		return errors.Join(out...)
	}
	var e *snapshot.Error
	if !errors.As(err, &e) {
		return err
	}
	bare := *e
	bare.Hint = ""
	return &processor.Error{What: bare.Error(), Fix: e.Hint, Err: e}
}
