package snapshot

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/weir-stream/weir/offsets"
)

// check refuses a manifest that contradicts itself: when it is written a mistake of the engine, when it is read damage
// that a right checksum covers.
func (m *Manifest) check() error {
	if err := offsets.CheckName(m.Application); err != nil {
		return fmt.Errorf("application: %w", err)
	}
	switch {
	case m.Kind != Checkpoint && m.Kind != Savepoint:
		return fmt.Errorf("kind %q is unknown", m.Kind)
	case m.Format != Native && m.Format != Portable:
		return fmt.Errorf("format %q is unknown", m.Format)
	case m.Timeline == 0 || m.Cut == 0:
		return fmt.Errorf("timeline %d, cut %d: both count from 1", m.Timeline, m.Cut)
	case m.InternalPartitions < 1:
		return fmt.Errorf("%d internal partitions", m.InternalPartitions)
	}
	for i, t := range m.Topics {
		if t.Name == "" || t.Partitions < 1 {
			return fmt.Errorf("topic %q has %d partitions", t.Name, t.Partitions)
		}
		if i > 0 && m.Topics[i-1].Name >= t.Name {
			return fmt.Errorf("topic %q is out of order", t.Name)
		}
	}
	seen := map[string]bool{}
	for i := range m.Tasks {
		t := &m.Tasks[i]
		if t.Task.Sub < 0 || t.Task.Partition < 0 || (i > 0 && m.Tasks[i-1].Task.Compare(t.Task) >= 0) {
			return fmt.Errorf("task %s is out of order", t.Task)
		}
		if err := t.check(m, seen); err != nil {
			return fmt.Errorf("task %s: %w", t.Task, err)
		}
	}
	for i := range m.InFlight {
		p := &m.InFlight[i]
		if i > 0 {
			before := &m.InFlight[i-1]
			if cmp.Or(cmp.Compare(before.UID, p.UID), cmp.Compare(before.Partition, p.Partition)) >= 0 {
				return fmt.Errorf("in flight: %s partition %d is out of order", p.UID, p.Partition)
			}
		}
		if err := p.check(m, seen); err != nil {
			return fmt.Errorf("in flight: %s partition %d: %w", p.UID, p.Partition, err)
		}
	}
	return nil
}

func (t *TaskState) check(m *Manifest, seen map[string]bool) error {
	for i, p := range t.Positions {
		if p.Topic == "" || p.Partition < 0 || p.Offset < 0 {
			return fmt.Errorf("position %d in %q partition %d", p.Offset, p.Topic, p.Partition)
		}
		if i > 0 {
			before := t.Positions[i-1]
			if cmp.Or(cmp.Compare(before.Topic, p.Topic), cmp.Compare(before.Partition, p.Partition)) >= 0 {
				return fmt.Errorf("position of %q partition %d is out of order", p.Topic, p.Partition)
			}
		}
	}
	uids := map[string]bool{}
	for i := range t.Stores {
		s := &t.Stores[i]
		if uids[s.UID] {
			return fmt.Errorf("two stores %q", s.UID)
		}
		uids[s.UID] = true
		if err := s.check(m, t.Task, seen); err != nil {
			return fmt.Errorf("store %q: %w", s.UID, err)
		}
	}
	return nil
}

func (s *StoreState) check(m *Manifest, task offsets.Task, seen map[string]bool) error {
	if len(s.Layers) == 0 {
		return errors.New("it has no layers, not even an empty one")
	}
	for i, l := range s.Layers {
		if err := m.origin(task, s.UID, l).check(); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		switch {
		case (i == 0) != (l.Content == Full) || l.Content == Records:
			return fmt.Errorf("layer %d is %s", i, l.Content)
		case l.Cut > m.Cut:
			return fmt.Errorf("layer %d is of cut %d", i, l.Cut)
		case i > 0 && (s.Layers[i-1].End != l.Since || s.Layers[i-1].Cut >= l.Cut):
			return fmt.Errorf("layer %d, since %d of cut %d, does not lie on layer %d, which is cut %d and ends at %d", i, l.Since, l.Cut, i-1, s.Layers[i-1].Cut, s.Layers[i-1].End)
		}
		for _, o := range l.Objects {
			if err := o.check(m.Format, l.Cut, seen); err != nil {
				return fmt.Errorf("layer %d: object %q: %w", i, o.Name, err)
			}
			if l.Content == Full && o.Deletes != 0 {
				return fmt.Errorf("layer %d: object %q of a full layer has deleted rows", i, o.Name)
			}
		}
	}
	if top := s.Layers[len(s.Layers)-1]; top.End != s.End {
		return fmt.Errorf("its layers end at %d, it at %d", top.End, s.End)
	}
	return nil
}

// origin is what the headers of a layer's objects say, but for codecs.
func (m *Manifest) origin(task offsets.Task, uid string, l Layer) Origin {
	return Origin{
		Format: m.Format, Content: l.Content, Application: m.Application, Timeline: m.Timeline, Cut: l.Cut,
		Task: task, UID: uid, Epoch: l.Epoch, Since: l.Since, End: l.End,
	}
}

func (p *InFlight) check(m *Manifest, seen map[string]bool) error {
	if p.Task.Partition != p.Partition {
		return fmt.Errorf("task %s reads it", p.Task)
	}
	if err := m.origin(p.Task, p.UID, p.layer(m.Cut)).check(); err != nil {
		return err
	}
	for _, o := range p.Objects {
		if err := o.check(m.Format, m.Cut, seen); err != nil {
			return fmt.Errorf("object %q: %w", o.Name, err)
		}
		if o.Deletes != 0 {
			return fmt.Errorf("object %q has deleted rows", o.Name)
		}
	}
	return nil
}

// layer is the part as if it were rows.
func (p *InFlight) layer(cut uint64) Layer {
	return Layer{Content: Records, Cut: cut, Epoch: p.Epoch, Since: p.From, End: p.To}
}

func (o Object) check(f Format, cut uint64, seen map[string]bool) error {
	n, ok := parseName(o.Name)
	switch {
	case !ok || n.dir != objectDir:
		return errors.New("the name is none of an object")
	case n.cut != cut:
		return fmt.Errorf("it lies in a layer of cut %d", cut)
	case (n.ext == extension(Native, "")) != (f == Native):
		return fmt.Errorf("the format is %s", f)
	case seen[o.Name]:
		return errors.New("it is there twice")
	case o.Size <= 0 || o.Entries <= 0 || o.Deletes < 0 || o.Deletes > o.Entries || o.Bytes < 0:
		return fmt.Errorf("size %d, %+v", o.Size, o.Counts)
	}
	seen[o.Name] = true
	return nil
}
