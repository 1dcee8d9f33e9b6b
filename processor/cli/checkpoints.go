package cli

import (
	"github.com/spf13/pflag"

	"github.com/weir-stream/weir/processor"
)

// checkpointFlags are the settings of checkpoints and savepoints.
type checkpointFlags struct {
	processor.Checkpoints
	incremental bool
}

func (c *checkpointFlags) add(f *pflag.FlagSet) {
	f.StringVar(&c.Dir, "checkpoint-dir", "", "`directory` that all workers see, or URL of an object store, for checkpoints; default: none are taken")
	f.StringVar(&c.SavepointDir, "savepoint-dir", "", "the same for savepoints that are asked for without a path; default: that of checkpoints")
	f.DurationVar(&c.Interval, "checkpoint-interval", 0, "from one checkpoint to the next; negative: only what is asked for; default 1m")
	f.DurationVar(&c.Timeout, "checkpoint-timeout", 0, "when one that is not complete is given up; default 10m")
	f.DurationVar(&c.MinPause, "checkpoint-min-pause", 0, "from the end of one to the next; default none")
	f.StringVar(&c.Mode, "checkpoint-mode", "", "exactly-once, or at-least-once, which is carried out as exactly-once, at the same cost; default exactly-once")
	f.IntVar(&c.TolerableFailures, "tolerable-failed-checkpoints", 0, "`number` of failures in a row that are not reported as an error; negative: any; default 0")
	f.StringVar(&c.OnTooManyFailures, "on-too-many-failed-checkpoints", "", "report, or fail: the restart strategy decides; default report")
	f.IntVar(&c.Retained, "retained-checkpoints", 0, "`number` of complete ones that are kept; default 3")
	f.StringVar(&c.OnCancel, "checkpoints-on-cancel", "", "retain, or delete: they go when the application is stopped as a whole (weir stop); default retain")
	f.BoolVar(&c.incremental, "incremental-checkpoints", true, "share with the checkpoint before what has not changed")
	f.StringVar(&c.Compression, "checkpoint-compression", "", "zstd or none; default zstd")
}

// option lays the flags that were given over what the program says.
func (c *checkpointFlags) option(f *pflag.FlagSet) processor.Option {
	return processor.AdjustCheckpoints(func(to *processor.Checkpoints) {
		for name, change := range map[string]func(){
			"checkpoint-dir":                 func() { to.Dir = c.Dir },
			"savepoint-dir":                  func() { to.SavepointDir = c.SavepointDir },
			"checkpoint-interval":            func() { to.Interval = c.Interval },
			"checkpoint-timeout":             func() { to.Timeout = c.Timeout },
			"checkpoint-min-pause":           func() { to.MinPause = c.MinPause },
			"tolerable-failed-checkpoints":   func() { to.TolerableFailures = c.TolerableFailures },
			"checkpoint-mode":                func() { to.Mode = c.Mode },
			"on-too-many-failed-checkpoints": func() { to.OnTooManyFailures = c.OnTooManyFailures },
			"checkpoints-on-cancel":          func() { to.OnCancel = c.OnCancel },
			"retained-checkpoints":           func() { to.Retained = c.Retained },
			"incremental-checkpoints":        func() { to.Full = !c.incremental },
			"checkpoint-compression":         func() { to.Compression = c.Compression },
		} {
			if f.Changed(name) {
				change()
			}
		}
	})
}
