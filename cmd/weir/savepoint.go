package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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
	timeout          time.Duration
}

func (f *savepointFlags) add(cmd *cobra.Command, id string) {
	cmd.Flags().StringVar(&f.path, "path", "", "directory, from the root, or URL of an object store that all workers see under this name, and where no other savepoint lies; default: the workers' place for savepoints")
	cmd.Flags().StringVar(&f.format, "format", "", "native, or portable: lines of JSON, for programs that are not weir; default: native")
	cmd.Flags().StringVar(&f.id, "id", "", id)
}

func (f *savepointFlags) addTimeout(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.timeout, "timeout", 0, "how long to wait; what was asked for goes on; default: as long as it takes")
}

func (f *savepointFlags) options() (admin.SavepointOptions, error) {
	if f.format != "" && f.format != "native" && f.format != "portable" {
		return admin.SavepointOptions{}, cli.Usagef("--format %q: known are native, portable", f.format)
	}
	return admin.SavepointOptions{ID: f.id, Path: f.path, Format: f.format}, nil
}

var errNotInTime = errors.New("not over within --timeout")

func (f *savepointFlags) context(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.timeout > 0 {
		return context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("%w %s", errNotInTime, f.timeout))
	}
	return context.WithCancel(ctx)
}

func newSavepointTrigger() *cobra.Command {
	var (
		c                cli.Connection
		f                savepointFlags
		detached, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "trigger APPLICATION",
		Short: "Take a savepoint of a running application",
		Long: `Take a savepoint of a running application. Records are processed meanwhile. The request is a record in the
application's control topic: whoever ends this command does not end the savepoint.

The id names the request: with the same one no second savepoint is taken, and the result is that of the first. So
a script that does not know whether it has asked may ask again.

The exit code is 3 if the savepoint was declined; the application goes on as if nobody had asked.`,
		Args: cobra.ExactArgs(1),
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			o, err := f.options()
			if err != nil {
				return err
			}
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			cl, err := administer(ctx, &c, args[0])
			if err != nil {
				return err
			}
			defer cl.Close()
			s, err := cl.RequestSavepoint(ctx, o)
			if err == nil && !detached {
				p := newProgress(cmd.ErrOrStderr())
				ctx, end := f.context(ctx)
				s, err = cl.AwaitSavepoint(ctx, s.ID, p.savepoint)
				end()
				p.end()
			}
			if err != nil && !errors.Is(err, admin.ErrDeclined) {
				return err
			}
			if asJSON {
				err = errors.Join(cli.JSON(cmd.OutOrStdout(), s), err)
			} else if err == nil {
				showSavepoint(cmd.OutOrStdout(), s)
			}
			return err
		}),
	}
	f.add(cmd, "name of the request, of a-z, 0-9 and -; default: a new one")
	cmd.Flags().BoolVar(&detached, "detached", false, "do not wait; weir savepoint list shows what became of it")
	f.addTimeout(cmd)
	c.Flags(cmd.Flags())
	jsonFlag(cmd, &asJSON)
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
	switch {
	case s.State == admin.SavepointRequested:
		p.line("savepoint %s waits for its turn", s.ID)
	case s.Uploaded < s.Tasks:
		p.line("savepoint %s, cut %d: %d of %d tasks have taken it, %d have written their state", s.ID, s.Cut, s.Taken, s.Tasks, s.Uploaded)
	default:
		p.line("savepoint %s, cut %d: what is in flight is copied", s.ID, s.Cut)
	}
}
