package cli

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/weir-stream/weir/processor"
)

// A flag changes one setting, and leaves those of the program: a timeout does not end its
// checkpoints.
func TestCheckpointFlagsLeaveWhatTheProgramSays(t *testing.T) {
	own := processor.Checkpoints{Dir: t.TempDir(), Retained: 7, Full: true, Compression: "none"}
	for flags, want := range map[string]string{
		"": "", "--checkpoint-timeout=5m": "", "--incremental-checkpoints=true": "", "--savepoint-dir=/x": "",
		"--checkpoint-compression=zip": `compression of checkpoints is "zip"`, "--retained-checkpoints=-1": "-1 retained",
		"--checkpoint-mode=at-least-once --checkpoints-on-cancel=delete --on-too-many-failed-checkpoints=fail --tolerable-failed-checkpoints=3": "",
		"--checkpoint-mode=twice": `mode of checkpoints is "twice"`, "--checkpoints-on-cancel=x": "retain or delete",
		"--on-too-many-failed-checkpoints=fail --tolerable-failed-checkpoints=-1": "never too many",
	} {
		var c checkpointFlags
		f := pflag.NewFlagSet("run", pflag.ContinueOnError)
		c.add(f)
		if err := f.Parse(strings.Fields(flags)); err != nil {
			t.Fatal(err)
		}
		var got processor.Checkpoints
		look := processor.AdjustCheckpoints(func(c *processor.Checkpoints) { got = *c })
		_, err := processor.New(nil, processor.CheckpointInto(own), c.option(f), look)
		if said := ""; err != nil {
			if said = err.Error(); want == "" || !strings.Contains(said, want) {
				t.Errorf("%q: %s, want %q", flags, said, want)
			}
		} else if want != "" {
			t.Errorf("%q is taken, want %q", flags, want)
		}
		if got.Dir != own.Dir {
			t.Errorf("%q: the directory of the program is %q", flags, got.Dir)
		}
	}
}
