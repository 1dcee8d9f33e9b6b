package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

func newStop() *cobra.Command {
	var (
		c                 cli.Connection
		f                 savepointFlags
		savepoint, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "stop APPLICATION",
		Short: "End all workers of an application, from any machine",
		Long: `End all workers of an application, from any machine: each commits what is done, ends as if it was told to by
SIGTERM, with exit code 0, and leaves the group.

With --savepoint a savepoint is taken first, and no task processes anything behind it: what is in the savepoint is
what the application has done. When it is declined the application goes on, and the exit code is 3.

The workers that run now are meant. Whoever starts the program again starts the application again, where it was;
nothing has to be taken back. Tell a supervisor that starts it again by itself before, such as a deployment: scale
it to 0.`,
		Args: cobra.ExactArgs(1),
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			if !savepoint && (f.path != "" || f.format != "" || f.id != "") {
				return cli.Usagef("--path, --format and --id are of --savepoint")
			}
			var o admin.StopOptions
			if savepoint {
				s, err := f.options()
				if err != nil {
					return err
				}
				o.Savepoint = &s
			}
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			cl, err := administer(ctx, &c, args[0])
			if err != nil {
				return err
			}
			defer cl.Close()
			p := newProgress(cmd.ErrOrStderr())
			ctx, end := f.context(ctx)
			defer end()
			s, err := cl.Stop(ctx, o, func(at admin.StopProgress) {
				if at.Savepoint != nil {
					p.savepoint(*at.Savepoint)
				} else {
					p.line("%d lanes have not ended yet", len(at.Left))
				}
			})
			p.end()
			if asJSON {
				return errors.Join(cli.JSON(cmd.OutOrStdout(), s), err)
			}
			if s.Savepoint != nil {
				showSavepoint(cmd.OutOrStdout(), *s.Savepoint)
			}
			if err != nil {
				return err
			}
			if s.Lanes == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "no worker of %s runs\n", s.Application)
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "%s has stopped: %d lanes\n", s.Application, s.Lanes)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&savepoint, "savepoint", false, "take a savepoint, and stop with it")
	f.add(cmd, "name of the savepoint's request, of a-z, 0-9 and -; default: a new one")
	c.Flags(cmd.Flags())
	jsonFlag(cmd, &asJSON)
	return cmd
}
