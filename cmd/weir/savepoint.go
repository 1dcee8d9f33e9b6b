package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	// So that savepoints in S3 can be looked at and deleted; other clouds need a build of one's own.
	_ "gocloud.dev/blob/s3blob"

	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

func newSavepoint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "savepoint",
		Short: "Take savepoints, and look at them",
		Long: `Take savepoints of a running application, and look at them.

A savepoint is a consistent state of all tasks as of one moment, taken while they work: state, positions, and what
was on its way between tasks. It lies in a place of its own, refers to nothing outside of it, and may be copied
and moved. It is yours: no retention deletes it.`,
	}
	cmd.AddCommand(newSavepointTrigger(), newSavepointList(), newSavepointInspect(), newSavepointDispose())
	return cmd
}

// savepointFlags are what trigger and stop have in common.
type savepointFlags struct {
	path, format, id string
	timeoutFlag
}

func (f *savepointFlags) add(cmd *cobra.Command, id string) {
	f.timeoutFlag.add(cmd)
	cmd.Flags().StringVar(&f.path, "path", "", "directory, from the root, or URL of an object store that all workers see under this name, and where no other savepoint lies; default: the workers' place for savepoints")
	cmd.Flags().StringVar(&f.format, "format", "", "native, or portable: lines of JSON, for programs that are not weir; default: native")
	cmd.Flags().StringVar(&f.id, "id", "", id)
}

func (f *savepointFlags) options() (admin.SavepointOptions, error) {
	if f.format != "" && f.format != "native" && f.format != "portable" {
		return admin.SavepointOptions{}, cli.Usagef("--format %q: known are native, portable", f.format)
	}
	return admin.SavepointOptions{ID: f.id, Path: f.path, Format: f.format}, nil
}

// timeoutFlag is how long a command waits.
type timeoutFlag struct{ timeout time.Duration }

func (f *timeoutFlag) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.timeout, "timeout", 0, "how long to wait; what was asked for goes on; default: as long as it takes")
}

var errNotInTime = errors.New("not over within --timeout")

func (f *timeoutFlag) context(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.timeout > 0 {
		return context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("%w %s", errNotInTime, f.timeout))
	}
	return context.WithCancel(ctx)
}

func newSavepointTrigger() *cobra.Command {
	var (
		f        savepointFlags
		detached bool
	)
	cmd := ofApplication(&cobra.Command{
		Use:   "trigger APPLICATION",
		Short: "Take a savepoint of a running application",
		Long: `Take a savepoint of a running application. Records are processed meanwhile. The request is a record in the
application's control topic: whoever ends this command does not end the savepoint.

The id names the request: with the same one no second savepoint is taken, and the result is that of the first. So
a script that does not know whether it has asked may ask again.

The exit code is 3 if the savepoint was declined; the application goes on as if nobody had asked.`,
		PreRunE: cli.Action(func(*cobra.Command, []string) error {
			_, err := f.options()
			return err
		}),
	}, func(ctx context.Context, cl *admin.Client, out output) error {
		o, err := f.options()
		if err != nil {
			return err
		}
		s, err := cl.RequestSavepoint(ctx, o)
		if err == nil && !detached {
			ctx, end := f.context(ctx)
			defer end()
			s, err = cl.AwaitSavepoint(ctx, s.ID, out.progress.savepoint)
			out.progress.end()
		}
		if err != nil && !errors.Is(err, admin.ErrDeclined) {
			return err
		}
		return errors.Join(out.show(s, func(w io.Writer) {
			if err == nil {
				showSavepoint(w, s)
			}
		}), err)
	})
	f.add(cmd, "name of the request, of a-z, 0-9 and -; default: a new one")
	cmd.Flags().BoolVar(&detached, "detached", false, "do not wait; weir savepoint list shows what became of it")
	return cmd
}

func showSavepoint(w io.Writer, s admin.Savepoint) {
	switch s.State {
	case admin.SavepointCompleted:
		fmt.Fprintf(w, "savepoint %s, cut %d, %s: %s\n", s.ID, s.Cut, s.Format, s.Path)
	case admin.SavepointDeclined:
		fmt.Fprintf(w, "savepoint %s was declined (%s): %s\n", s.ID, s.Reason, s.Why)
	default:
		fmt.Fprintf(w, "savepoint %s is %s\n", s.ID, s.State)
	}
}
