package processor

import "github.com/weir-stream/weir/processor/internal/control"

// notice is a record that the coordinator writes to the control topic without being told so by
// the machine of cuts. It stays until it is read back, so that it is written once: again if its
// epoch is lost, and not if a later one is.
//
// Invariant: committed => written => record != nil
type notice struct {
	record    control.Record // nil: there is nothing to say
	written   bool           // in the open epoch, or in one that is committed
	committed bool           // and not read back yet
}

func (n *notice) pending() bool { return n.record != nil && !n.written }

func (n *notice) commit() { n.committed = n.written }

func (n *notice) rollback() { n.written = n.committed }

// heard: it has come back.
func (n *notice) heard() { *n = notice{} }
