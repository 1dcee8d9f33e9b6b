package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

// progress shows on a terminal how far something is, in one line.
type progress struct {
	w     io.Writer
	shown int // bytes of the line
}

func newProgress(w io.Writer) *progress {
	if !cli.IsTerminal(w) {
		w = io.Discard
	}
	return &progress{w: w}
}

func (p *progress) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintf(p.w, "\r%s%s", text, strings.Repeat(" ", max(p.shown-len(text), 0)))
	p.shown = len(text)
}

// end clears the line.
func (p *progress) end() {
	if p.shown > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.shown))
		p.shown = 0
	}
}

func (p *progress) savepoint(s admin.SavepointProgress) {
	if s.State == admin.SavepointRunning && s.Uploaded == s.Tasks {
		p.line("savepoint %s, cut %d: what is in flight is copied", s.ID, s.Cut)
		return
	}
	if s.State == admin.SavepointDraining {
		p.line("savepoint %s waits until time has ended in all tasks", s.ID)
		return
	}
	p.parts("savepoint "+s.ID, s.Cut, s.Parts)
}

func (p *progress) checkpoint(k admin.CheckpointProgress) {
	p.parts("checkpoint "+k.Request, k.ID, k.Parts)
}

// parts says how many tasks have done what for a cut; 0 has not begun.
func (p *progress) parts(what string, cut uint64, of admin.Parts) {
	if cut == 0 {
		p.line("%s waits for its turn", what)
		return
	}
	p.line("%s, cut %d: %s", what, cut, partsText(of))
}

func partsText(p admin.Parts) string {
	return fmt.Sprintf("%d of %d tasks have taken it, %d have written their state", p.Taken, p.Tasks, p.Uploaded)
}
