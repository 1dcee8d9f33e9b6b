package checkpoint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weir-stream/weir/offsets"
)

// stage of a cut of ours.
type stage uint8

const (
	collecting stage = iota // waiting for acknowledgements and uploads
	finishing               // WriteManifest is out
	completing              // the manifest is written: the log is to say so
	declining               // it will not be: the log is to say so
)

// cut is one that this coordinator has triggered and that is not decided.
type cut struct {
	Cut
	stage    stage
	seen     bool  // its trigger is in the log
	deadline int64 // once seen
	parts    map[offsets.Task]*part
	acks     int    // parts that are acked
	done     int    // parts that are done
	reason   Reason // of declining
	why      string
}

// part is what is known of a task's part of the cut.
type part struct {
	acked  bool
	epoch  offsets.EpochID // that took it, when acked
	done   bool            // acked and uploaded
	object string
	early  []upload // reported before the acknowledgement was read
}

// upload is one that was reported.
type upload struct {
	epoch  offsets.EpochID
	object string
	lost   bool
	why    string
}

func newCut(c Cut) *cut { return &cut{Cut: c, parts: map[offsets.Task]*part{}} }

func (c *cut) part(t offsets.Task) *part {
	p := c.parts[t]
	if p == nil {
		p = &part{}
		c.parts[t] = p
	}
	return p
}

// collecting says whether acknowledgements and uploads count. They may come before the trigger is seen:
// the two logs are read apart, and a fast lane answers at once.
func (c *Coordinator) collecting() bool {
	return c.cut != nil && c.cut.stage == collecting && (c.cut.seen || !c.faults.deafUntilSeen)
}

func (c *Coordinator) finishing(id uint64) bool {
	return c.cut != nil && c.cut.ID == id && c.cut.stage == finishing
}

func (c *Coordinator) planned(t offsets.Task) bool {
	_, ok := slices.BinarySearchFunc(c.tasks, t, offsets.Task.Compare)
	return ok
}

// of says whether the cut of that id collects from that task. What is said of others comes too late, from a
// zombie, or from another plan.
func (c *Coordinator) of(id uint64, t offsets.Task) bool {
	return c.collecting() && c.cut.ID == id && c.planned(t)
}

func (c *Coordinator) acked(e Acked) {
	if !c.of(e.ID, e.Task) {
		return
	}
	p := c.cut.part(e.Task)
	switch {
	case !p.acked:
		p.acked, p.epoch = true, e.Epoch
		c.cut.acks++
		for _, u := range p.early {
			c.weigh(e.Task, p, u)
		}
		p.early = nil
	case p.epoch != e.Epoch:
		c.decline(AckedTwice, fmt.Sprintf("task %s in epochs %s and %s", e.Task, p.epoch, e.Epoch))
	}
}

func (c *Coordinator) uploaded(t offsets.Task, id uint64, u upload) {
	if !c.of(id, t) {
		return
	}
	if p := c.cut.part(t); p.acked {
		c.weigh(t, p, u)
	} else {
		p.early = append(p.early, u)
	}
}

// weigh takes the upload of the acknowledged epoch. One of another epoch shows a state that the
// acknowledgement does not speak of: its writer has lost the task, and does not know it.
func (c *Coordinator) weigh(t offsets.Task, p *part, u upload) {
	switch {
	case p.done || u.epoch != p.epoch && !c.faults.anyEpoch:
	case u.lost:
		c.decline(UploadFailed, fmt.Sprintf("task %s: %s", t, u.why))
	default:
		p.done, p.object = true, u.object
		c.cut.done++
	}
}

// complete says whether every task of the plan has done its part.
func (c *Coordinator) complete() bool {
	if c.faults.withoutUpload {
		return c.cut.acks == len(c.tasks)
	}
	return c.cut.done == len(c.tasks)
}

// decline ends the cut. The first reason stays.
func (c *Coordinator) decline(r Reason, why string) {
	if c.cut.stage != declining {
		c.cut.stage, c.cut.reason, c.cut.why = declining, r, why
	}
}

// list gives the parts in order.
func (c *cut) list(tasks []offsets.Task) []Part {
	out := make([]Part, 0, len(tasks))
	for _, t := range tasks {
		p := c.part(t)
		out = append(out, Part{Task: t, Epoch: p.epoch, Object: p.object})
	}
	return out
}

// missing says for people what a late cut waits for, naming a few tasks.
func (c *cut) missing(tasks []offsets.Task) string {
	const few = 5
	var acks, uploads []string
	for _, t := range tasks {
		switch p := c.part(t); {
		case !p.acked:
			acks = append(acks, t.String())
		case !p.done:
			uploads = append(uploads, t.String())
		}
	}
	var said []string
	for _, m := range []struct {
		what  string
		tasks []string
	}{{"acknowledgement", acks}, {"upload", uploads}} {
		switch n := len(m.tasks); {
		case n > few:
			said = append(said, fmt.Sprintf("no %s of %s and %d more tasks", m.what, strings.Join(m.tasks[:few], ", "), n-few))
		case n > 0:
			said = append(said, fmt.Sprintf("no %s of %s", m.what, strings.Join(m.tasks, ", ")))
		}
	}
	if said == nil {
		return "the manifest is not written"
	}
	return strings.Join(said, "; ")
}
