package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor/cli"
)

func newBenchVerify() *cobra.Command {
	var (
		conn              cli.Connection
		workload, in, out string
		timeout           time.Duration
	)
	c := &cobra.Command{
		Use:   "verify --workload pass|count|window|rekey|state",
		Short: "Check the output of a workload against its input",
		Long: `Read the whole input and the committed output of a workload, work the output out again from the input and compare.
One line of JSON says how many records are lost, duplicated and wrong. The exit code is 1 if any is.
The worker has to be at the end of the input. Counts are followed per key: 1, 2, 3 and so on, each once and in order.`,
		Args: cobra.NoArgs,
		RunE: cli.Action(func(cmd *cobra.Command, _ []string) error {
			if err := checkWorkload(workload); err != nil {
				return &cli.UsageError{Err: err}
			}
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			v, err := verify(ctx, workload, &conn, in, out)
			if err != nil {
				return err
			}
			if err := printLine(cmd.OutOrStdout(), v); err != nil {
				return err
			}
			if !v.OK() {
				return &cli.Finding{Err: fmt.Errorf("topic %s is not what workload %s makes of %s: %d lost, %d duplicated, %d wrong",
					out, workload, in, v.Lost, v.Duplicated, v.Wrong)}
			}
			return nil
		}),
	}
	f := c.Flags()
	f.StringVar(&workload, "workload", "count", "pass, count, window, rekey or state")
	conn.Flags(f)
	f.StringVar(&in, "in", "bench-in", "topic that the worker has read")
	f.StringVar(&out, "out", "bench-out", "topic that the worker has written")
	f.DurationVar(&timeout, "timeout", 10*time.Minute, "give up after this time")
	return c
}

// verify reads the input to its end, then the committed output to its end.
func verify(ctx context.Context, workload string, conn *cli.Connection, in, out string) (verdict, error) {
	c := newChecker(workload)
	each := func(f func(*kgo.Record)) func(*kgo.Record) error {
		return func(r *kgo.Record) error { f(r); return nil }
	}
	if err := readAll(ctx, conn, []string{in}, each(c.input)); err != nil {
		return verdict{}, fmt.Errorf("read input: %w", err)
	}
	if err := readAll(ctx, conn, []string{out}, each(c.output)); err != nil {
		return verdict{}, fmt.Errorf("read output: %w", err)
	}
	return c.verdict(), nil
}
