package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor/cli"
	"github.com/weir-stream/weir/processor/embedded"
)

func newBroker() *cobra.Command {
	var (
		dir    string
		port   int
		topics []string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run a broker for trying out (not for production)",
		Long: `Run a Kafka broker in this process until SIGTERM or SIGINT, for trying out and for tests. It is not for
production: one node, no replica, this machine only. Its address is the one line on standard output.`,
		Example: `  weir broker --topic lines:4 --topic word-counts:4
  weir broker --dir broker-data --port 0`,
		Args: cobra.NoArgs,
		RunE: cli.Action(func(cmd *cobra.Command, _ []string) error {
			o := embedded.Options{Dir: dir, Port: port, Log: func(s string) { fmt.Fprintln(cmd.ErrOrStderr(), "broker:", s) }}
			var err error
			if o.Topics, err = embedded.ParseTopics(topics); err != nil {
				return cli.Usagef("--topic: %w", err)
			}
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			s, err := embedded.Start(o)
			switch {
			case errors.Is(err, syscall.EADDRINUSE):
				return cli.Hint(err, "stop what runs at port %d, or give another one with --port (0: any free one)", port)
			case errors.Is(err, embedded.ErrInUse):
				return cli.Hint(err, "stop that broker, or give another directory with --dir")
			case err != nil:
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), s.Notice())
			if asJSON {
				err = cli.JSON(cmd.OutOrStdout(), map[string]any{"addresses": s.Addrs(), "dir": dir})
			} else {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.Join(s.Addrs(), ","))
			}
			if err == nil {
				<-ctx.Done()
			}
			return errors.Join(err, s.Close())
		}),
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`directory` that keeps topics over restarts; default: in memory")
	cmd.Flags().IntVar(&port, "port", 9092, "`port` on 127.0.0.1; 0: any free one")
	cmd.Flags().StringArrayVar(&topics, "topic", nil, "create a topic if it is missing, `name:partitions`; may be given again")
	jsonFlag(cmd, &asJSON)
	return cmd
}
