package task

// This file is what operators see of a task. Its caller is package topology.

// Record is what travels beside key and value.
type Record struct {
	Time int64 // ms

	// Made records come from a window: they have neither headers nor origin.
	Made bool

	// Headers replace those of the record read, if Own is set.
	Own     bool
	Headers []Header
}

// Record is the record in work, without key and value.
func (t *Task) Record() Record { return t.rec }

// SetRecord changes it for the operators called next; who does that sets it back.
func (t *Task) SetRecord(r Record) { t.rec = r }

// Time is that of the record in work.
func (t *Task) Time() int64 { return t.rec.Time }

// Begin is called by a source with the event time of the record that it has decoded.
func (t *Task) Begin(time int64) { t.rec = Record{Time: time} }

// End is called by a source when the record is through: it moves time now.
func (t *Task) End(input int, time int64) { t.clock.record(input, time) }

// Origin is the record read that the record in work comes from; nil for what a window made.
func (t *Task) Origin() *Raw {
	if t.rec.Made {
		return nil
	}
	return t.raw
}

// Headers are those of the record in work.
func (t *Task) Headers() []Header {
	switch {
	case t.rec.Own:
		return t.rec.Headers
	case t.rec.Made || t.raw == nil:
		return nil
	}
	return t.env.Headers()
}

// At says that code of this node runs from here on, for the case that it panics.
func (t *Task) At(node int) { t.at = node }

// Node gives the description of a node.
func (t *Task) Node(node int) *Node { return &t.graph.Nodes[node] }

// Store is the store of a node.
func (t *Task) Store(node int) Store { return t.stores[t.graph.Nodes[node].Store] }

// Emit hands a record to the i-th output of a node.
func (t *Task) Emit(node, i int, o *Out) error {
	if err := t.env.Emit(t.graph.Nodes[node].Outputs[i], o); err != nil {
		return t.EnvFailed(node, "emit", err)
	}
	return nil
}

// Shared makes a thing once per task: the receiver of a node with several parents.
func (t *Task) Shared(node int, build func() any) any {
	made, ok := t.shared[node]
	if !ok {
		made = build()
		t.shared[node] = made
	}
	return made
}

// CountLate counts a record that came after its window had closed.
func (t *Task) CountLate() { t.late++ }

// Closed says whether a window that closes at this watermark is closed.
func (t *Task) Closed(at int64) bool { return t.time >= at && t.time != NoTime }
