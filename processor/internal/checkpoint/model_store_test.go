package checkpoint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-stream/weir/offsets"
)

// store is the model of what a bucket holds: objects, and the manifests that name them. A manifest is deleted before its
// objects, and a process may die between any two deletions.
type store struct {
	w       *world
	objects []rows
	lies    map[uint64]bool // the manifest of the cut is there
	deleted map[uint64]bool // cuts that do not count, of which all is deleted
}

// rows are an object: what an upload wrote of a task.
type rows struct {
	cut   uint64
	apart bool // it is a savepoint's, and lies elsewhere
	state effects
	gone  bool
}

// last is what a lane has written of a task for a cut: the next upload may leave that out.
type last struct {
	cut   uint64
	state effects
}

// uploading is one that is under way, outside of the lane.
type uploading struct {
	task  int
	cut   uint64
	epoch offsets.EpochID
	state effects
	base  last // what it builds on; the zero value: nothing
	apart bool // it is of a savepoint
	hasty bool // the fate of its epoch was not known
}

// uploading begins one. It builds on the checkpoint that was complete when the cut was triggered, if this lane has
// written that.
func (l *lane) uploading(t int, id uint64, epoch offsets.EpochID, state effects) {
	u := uploading{task: t, cut: id, epoch: epoch, state: state}
	cut, undecided := l.p.Log().Undecided()
	u.apart = undecided && cut.Kind == Savepoint
	base := uint64(0)
	for _, c := range l.p.Log().Completed() {
		if undecided && cut.Kind == Checkpoint && !cut.Full && c.Kind == Checkpoint {
			base = c.ID
		}
	}
	for _, was := range l.wrote[t] {
		if was.cut == base && base != 0 || l.w.rules.buildOnAnything && !u.apart && was.cut < id {
			u.base = was
		}
	}
	l.uploads = append(l.uploads, u)
}

// put stores what an upload has beyond the cut that it builds on, 0: none. The name tells both.
func (s *store) put(u uploading) string {
	s.objects = append(s.objects, rows{cut: u.cut, apart: u.apart, state: u.state.without(u.base.state)})
	return fmt.Sprintf("%d/%d", len(s.objects)-1, u.base.cut)
}

// layers are the objects which the state of a task is made of, by the name that its upload got.
func (s *store) layers(id uint64, task int, name string) (all []int, state effects) {
	if name == "" {
		return nil, effects{} // rules: there was no upload
	}
	own, on, _ := strings.Cut(name, "/")
	object, _ := strconv.Atoi(own)
	if base, _ := strconv.ParseUint(on, 10, 64); base != 0 {
		if !s.w.gone[id] && (!s.lies[base] || s.w.gone[base]) {
			s.w.k.violated("cut %d builds on cut %d, which does not count", id, base)
		}
		all = slices.Clone(s.w.manifests[base].layers[task])
	}
	all = append(all, object)
	for _, o := range all {
		if s.objects[o].gone && !s.w.gone[id] {
			s.w.k.violated("cut %d has an object of cut %d that was deleted", id, s.objects[o].cut)
		}
		state.join(s.objects[o].state)
	}
	return all, state
}

// names says whether the manifest of a cut names an object.
func (s *store) names(id uint64, object int) bool {
	for _, layers := range s.w.manifests[id].layers {
		if slices.Contains(layers, object) {
			return true
		}
	}
	return false
}

// needed says whether one of the manifests does.
func (s *store) needed(by []uint64, object int) bool {
	return slices.ContainsFunc(by, func(id uint64) bool { return s.lies[id] && s.names(id, object) })
}

// delete removes what a cut has left and none of keep needs; false: it was cut short after so many steps.
func (s *store) delete(id uint64, keep []uint64, steps int) bool {
	_, written := s.w.manifests[id]
	swept := written && !s.lies[id] // begun before: what it named is not known any more
	if s.lies[id] {
		if steps--; steps < 0 {
			return false
		}
		s.lies[id] = false
	}
	for i := range s.objects {
		o := &s.objects[i]
		left := o.cut == id || s.names(id, i) && !swept || swept && !o.apart && o.cut < id
		if !left || o.gone || s.needed(keep, i) {
			continue
		}
		if steps--; steps < 0 {
			return false
		}
		o.gone = true
		for _, other := range s.w.k.truth.Completed() {
			if s.names(other.ID, i) {
				s.w.k.violated("cut %d counts, and an object of it is deleted with cut %d", other.ID, id)
			}
		}
		for other := range s.lies {
			if s.lies[other] && s.names(other, i) {
				s.w.k.violated("the manifest of cut %d lies there, and an object of it is deleted with cut %d", other, id)
			}
		}
	}
	s.deleted[id] = true
	return true
}

// clean says whether nothing is left of cuts that do not count.
func (s *store) clean() bool {
	for id := range s.w.gone {
		if !s.deleted[id] {
			return false
		}
	}
	return true
}

// check: every manifest that lies there is that of a cut that counts, and of those that do not no object is left that a
// manifest has named.
func (s *store) check() error {
	var lying []uint64
	for _, c := range s.w.k.truth.Completed() {
		if lying = append(lying, c.ID); !s.lies[c.ID] {
			return fmt.Errorf("cut %d counts, and its manifest is not there", c.ID)
		}
	}
	for id, there := range s.lies {
		if there && !slices.Contains(lying, id) {
			return fmt.Errorf("cut %d does not count, and its manifest is there", id)
		}
	}
	for i, o := range s.objects {
		for id := range s.w.manifests {
			if !o.gone && s.names(id, i) && !s.needed(lying, i) {
				return fmt.Errorf("cut %d does not count, and an object of it is there", id)
			}
		}
	}
	return nil
}
