package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

func newStop() *cobra.Command {
	var (
		c                 cli.Connection
		f                 savepointFlags
		savepoint, asJSON bool
		drain, yes        bool
	)
	cmd := &cobra.Command{
		Use:   "stop APPLICATION",
		Short: "End all workers of an application, from any machine",
		Long: `End all workers of an application, from any machine: each commits what is done, ends as if it was told to by
SIGTERM, with exit code 0, and leaves the group.

With --savepoint a savepoint is taken first, and no task processes anything behind it: what is in the savepoint is
what the application has done. When it is declined the application goes on, and the exit code is 3.

With --drain time is brought to its end before: nothing more is read from the sources, all windows fire, through
all tasks, and then the savepoint is taken, also without --savepoint. This is final. Windows that were not full
have fired; whoever goes on from the savepoint has them fire again, for the records that come later alone. A drain
cannot be taken back: it goes on when this command ends, and when workers are started again, until its savepoint is
complete; then the application is started only with --from. It asks before, or takes --yes for the answer.

The workers that run now are meant. Whoever starts the program again starts the application again, where it was;
nothing has to be taken back. Tell a supervisor that starts it again by itself before, such as a deployment: scale
it to 0.`,
		Args: cobra.ExactArgs(1),
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			savepoint = savepoint || drain
			if yes && !drain {
				return cli.Usagef("--yes is of --drain")
			}
			if !savepoint && (f.path != "" || f.format != "" || f.id != "") {
				return cli.Usagef("--path, --format and --id are of --savepoint")
			}
			var o admin.StopOptions
			if savepoint {
				s, err := f.options()
				if err != nil {
					return err
				}
				o.Savepoint, o.Drain = &s, drain
			}
			if drain && !yes {
				if err := confirmDrain(cmd, args[0]); err != nil {
					return err
				}
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
	cmd.Flags().BoolVar(&drain, "drain", false, "bring time to its end before the savepoint, so that all windows fire; final")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask whether --drain is meant")
	f.add(cmd, "name of the savepoint's request, of a-z, 0-9 and -; default: a new one")
	c.Flags(cmd.Flags())
	jsonFlag(cmd, &asJSON)
	return cmd
}

// confirmDrain asks a person whether a drain is meant. Where nobody can answer, --yes is
// needed.
func confirmDrain(cmd *cobra.Command, application string) error {
	in, ok := cmd.InOrStdin().(io.Writer)
	if !ok || !cli.IsTerminal(in) {
		return cli.Usagef("--drain is final: windows that are not full fire, and %s reads nothing more; --yes says that this is meant", application)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "A drain is final: windows of %s that are not full fire, it reads nothing more, and it is started again only with --from.\nGo on? Type the name of the application: ", application)
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if strings.TrimSpace(line) != application {
		return errors.Join(errNotConfirmed, err)
	}
	return nil
}

var errNotConfirmed = errors.New("not confirmed: nothing was done")
