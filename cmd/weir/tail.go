package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/processor/cli"
)

type tail struct {
	topic, key, value string
	follow, fromEnd   bool
	most              int64
	meta, asJSON      bool
}

func newTail() *cobra.Command {
	var (
		c cli.Connection
		t tail
	)
	cmd := &cobra.Command{
		Use:   "tail TOPIC",
		Short: "Read a topic, committed records only",
		Long: `Read the committed records of a topic from the beginning to the present end, one line each: key, tab, value.
With --follow, go on with what comes.`,
		Example: `  weir tail word-counts --value int64 -f
  weir tail revenue --key windowed --value json --meta`,
		Args: cobra.ExactArgs(1),
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			t.topic = args[0]
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			return t.run(ctx, &c, cmd.OutOrStdout())
		}),
	}
	c.Flags(cmd.Flags())
	cmd.Flags().StringVar(&t.key, "key", "string", "`format` of keys: "+formatNames)
	cmd.Flags().StringVar(&t.value, "value", "string", "`format` of values: "+formatNames)
	cmd.Flags().BoolVarP(&t.follow, "follow", "f", false, "go on after the end")
	cmd.Flags().BoolVar(&t.fromEnd, "new", false, "only what comes from now on (implies --follow)")
	cmd.Flags().Int64VarP(&t.most, "records", "n", 0, "stop after that `number` of records")
	cmd.Flags().BoolVar(&t.meta, "meta", false, "partition, offset and time before each record")
	jsonFlag(cmd, &t.asJSON)
	return cmd
}

func (t *tail) run(ctx context.Context, c *cli.Connection, to io.Writer) error {
	keys, err := formatOf("key", t.key)
	if err != nil {
		return err
	}
	values, err := formatOf("value", t.value)
	if err != nil {
		return err
	}
	cl, err := connect(ctx, c)
	if err != nil {
		return err
	}
	_, err = findTopic(ctx, cl, t.topic)
	cl.Close()
	if errors.Is(err, errNoTopic) {
		err = cli.Hint(err, "check the name, or create it: weir send %s --create 4", t.topic)
	}
	if err != nil {
		return err
	}
	w := bufio.NewWriter(to)
	n := int64(0)
	line := func(r *kgo.Record) error {
		if t.most > 0 && n >= t.most {
			return errEnough
		}
		n++
		if err := t.line(w, r, keys, values); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if t.most > 0 && n >= t.most {
			return errEnough
		}
		return nil
	}
	if t.follow || t.fromEnd {
		err = t.following(ctx, c, w, line)
	} else {
		err = readAll(ctx, c, []string{t.topic}, line)
	}
	if ctx.Err() != nil || errors.Is(err, errEnough) {
		err = nil
	}
	return errors.Join(err, w.Flush())
}

var errEnough = errors.New("enough records")

func (t *tail) following(ctx context.Context, c *cli.Connection, w *bufio.Writer, line func(*kgo.Record) error) error {
	of, err := c.Kafka()
	if err != nil {
		return err
	}
	start := kgo.NewOffset().AtStart()
	if t.fromEnd {
		start = kgo.NewOffset().AtEnd()
	}
	cl, err := kgo.NewClient(append(of, kgo.ConsumeTopics(t.topic), kgo.ConsumeResetOffset(start), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(500*time.Millisecond))...)
	if err != nil {
		return fmt.Errorf("read %s: %w", t.topic, err)
	}
	defer cl.Close()
	for {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for _, fe := range fs.Errors() {
			return fmt.Errorf("read %s/%d: %w", fe.Topic, fe.Partition, fe.Err)
		}
		for _, r := range fs.Records() {
			if err := line(r); err != nil {
				return err
			}
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
}

func (t *tail) line(w *bufio.Writer, r *kgo.Record, keys, values format) error {
	if t.asJSON {
		b, err := json.Marshal(struct {
			Topic     string    `json:"topic"`
			Partition int32     `json:"partition"`
			Offset    int64     `json:"offset"`
			Time      time.Time `json:"time"`
			Key       any       `json:"key"`
			Value     any       `json:"value"`
		}{r.Topic, r.Partition, r.Offset, r.Timestamp.UTC(), keys.json(r.Key, t.key), values.json(r.Value, t.value)})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	}
	if t.meta {
		if _, err := fmt.Fprintf(w, "%d\t%d\t%s\t", r.Partition, r.Offset, r.Timestamp.UTC().Format("2006-01-02T15:04:05.000Z")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s\t%s\n", keys.text(r.Key), values.text(r.Value))
	return err
}
