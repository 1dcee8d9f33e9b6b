package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

// output is where a command says what it has found.
type output struct {
	io.Writer
	progress *progress
	asJSON   bool
}

// show writes a result: as JSON, or as text does it.
func (o output) show(result any, text func(io.Writer)) error {
	if o.asJSON {
		return cli.JSON(o, result)
	}
	text(o)
	return nil
}

// ofApplication makes cmd one about an application that is on some brokers, its argument: it
// has the flags for these, and for JSON, and do does its work.
func ofApplication(cmd *cobra.Command, do func(ctx context.Context, cl *admin.Client, out output) error) *cobra.Command {
	var (
		c      cli.Connection
		asJSON bool
	)
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = cli.Action(func(cmd *cobra.Command, args []string) error {
		ctx, stop := cli.Signals(cmd.Context())
		defer stop()
		cl, err := administer(ctx, &c, args[0])
		if err != nil {
			return err
		}
		defer cl.Close()
		p := newProgress(cmd.ErrOrStderr())
		defer p.end()
		return do(ctx, cl, output{cmd.OutOrStdout(), p, asJSON})
	})
	c.Flags(cmd.Flags())
	jsonFlag(cmd, &asJSON)
	return cmd
}

// administer makes a client for an application, after a broker has answered.
func administer(ctx context.Context, c *cli.Connection, application string) (*admin.Client, error) {
	cl, err := connect(ctx, c)
	if err != nil {
		return nil, err
	}
	cl.Close()
	of, err := c.Kafka()
	if err != nil {
		return nil, err
	}
	return admin.New(application, of...)
}
