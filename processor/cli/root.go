package cli

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
)

// Main runs the command in os.Args on the plan that build makes, and exits. opts are the
// program's own settings; flags that are given win over them.
func Main(build func() (*topology.Plan, error), opts ...processor.Option) {
	os.Exit(Execute(Root(filepath.Base(os.Args[0]), build, opts...)))
}

// Root is the command behind Main, for a program that adds commands of its own; run it by
// Execute.
func Root(name string, build func() (*topology.Plan, error), opts ...processor.Option) *cobra.Command {
	root := &cobra.Command{
		Use:   name,
		Short: name + " is a stream processor on Kafka",
		Long: name + ` is a stream processor on Kafka, built with weir: start it as many times as there are machines,
and the processes share the work.

` + ExitCodes,
	}
	p := program{build: build, opts: opts}
	root.AddCommand(p.run(), p.rewind(), p.reset(), p.describe(), p.check())
	return root
}

// ExitCodes is the text about them for a command's help.
const ExitCodes = `Exit codes: 0 done; 1 looked, and found something wrong; 2 the command line is wrong;
3 could not do it (brokers out of reach, a worker that had to stop, files).`

// program is a plan with the settings that were compiled in.
type program struct {
	build func() (*topology.Plan, error)
	opts  []processor.Option
}

func (p program) plan() (*topology.Plan, error) {
	plan, err := p.build()
	if err != nil {
		return nil, &Finding{Err: err}
	}
	return plan, nil
}

// options puts what the flags say behind what is compiled in.
func (p program) options(c *Connection, w *workerFlags) ([]processor.Option, error) {
	brokers, err := c.Options()
	if err != nil {
		return nil, err
	}
	worker, err := w.options()
	if err != nil {
		return nil, err
	}
	return slices.Concat(p.opts, []processor.Option{brokers}, worker), nil
}

// Signals ends a context at SIGINT or SIGTERM. The second signal ends the process.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
