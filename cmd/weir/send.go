package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/cli"
)

// maxLine bounds a line of input: brokers take batches of a mebibyte by default.
const maxLine = 1 << 20

type sender struct {
	topic, separator string
	key, value       string
	create           int32
}

func newSend() *cobra.Command {
	var (
		c      cli.Connection
		s      sender
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "send TOPIC",
		Short: "Write lines of standard input to a topic",
		Long: `Write each line of standard input as a record. With --key-separator, what stands before the first separator
is the key; a line without one has a null key. Records with a key lie where the Java client would put them.`,
		Example: `  echo to be or not to be | weir send lines --create 4
  printf 'alice\t12\nbob\t7\n' | weir send amounts --key-separator '\t' --value int64`,
		Args: cobra.ExactArgs(1),
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			s.topic = args[0]
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			n, err := s.send(ctx, &c, cmd.InOrStdin())
			if err != nil {
				return err
			}
			if asJSON {
				return cli.JSON(cmd.OutOrStdout(), map[string]any{"topic": s.topic, "records": n})
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s to %s\n", records(n), s.topic)
			return nil
		}),
	}
	c.Flags(cmd.Flags())
	cmd.Flags().StringVar(&s.separator, "key-separator", "", `what stands between key and value; \t is a tab`)
	cmd.Flags().StringVar(&s.key, "key", "string", "`format` of keys: string, hex, int64 or json")
	cmd.Flags().StringVar(&s.value, "value", "string", "`format` of values: string, hex, int64 or json")
	cmd.Flags().Int32Var(&s.create, "create", 0, "create the topic with that `number` of partitions if it is missing")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (s *sender) send(ctx context.Context, c *cli.Connection, from io.Reader) (n int64, err error) {
	keys, err := formatOf("key", s.key)
	if err == nil {
		var values format
		if values, err = formatOf("value", s.value); err == nil {
			if keys.read == nil || values.read == nil {
				err = cli.Usagef("the format windowed can be read only")
			} else {
				n, err = s.sendAs(ctx, c, from, keys, values)
			}
		}
	}
	return n, err
}

func (s *sender) sendAs(ctx context.Context, c *cli.Connection, from io.Reader, keys, values format) (int64, error) {
	cl, err := connect(ctx, c, kgo.RecordPartitioner(placed()), kgo.ProducerBatchMaxBytes(maxLine+1024))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	_, err = findTopic(ctx, cl, s.topic)
	switch {
	case errors.Is(err, errNoTopic) && s.create > 0:
		err = createTopic(ctx, cl, s.topic, s.create, nil)
	case errors.Is(err, errNoTopic):
		err = cli.Hint(err, "create it: weir send %s --create 4", s.topic)
	}
	if err != nil {
		return 0, err
	}
	separator := strings.ReplaceAll(s.separator, `\t`, "\t")
	var mu sync.Mutex
	var n int64
	var failed error
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number++ {
		r := &kgo.Record{Topic: s.topic}
		text := lines.Text()
		if separator != "" {
			if key, rest, ok := strings.Cut(text, separator); ok {
				if r.Key, err = keys.read(key); err != nil {
					return n, fmt.Errorf("line %d: key %.80q: %w", number, key, err)
				}
				text = rest
			}
		}
		if r.Value, err = values.read(text); err != nil {
			return n, fmt.Errorf("line %d: value %.80q: %w", number, text, err)
		}
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				n++
			} else if failed == nil {
				failed = fmt.Errorf("write to %s: %w", s.topic, err)
			}
		})
	}
	if err := lines.Err(); err != nil {
		return n, fmt.Errorf("read standard input: %w", err)
	}
	if err := cl.Flush(ctx); err != nil {
		return n, fmt.Errorf("write to %s: %w", s.topic, err)
	}
	return n, failed
}

// placed puts records with a key where the engine and Java would, others round robin.
func placed() kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
		next := 0
		return func(r *kgo.Record, n int) int {
			if r.Key != nil {
				return int(offsets.Partition(r.Key, int32(n)))
			}
			next++
			return next % n
		}
	})
}

// records is "1 record", "12,000 records".
func records(n int64) string {
	if n == 1 {
		return "1 record"
	}
	return number(n) + " records"
}

// number groups digits: 12,000.
func number[N ~int | ~int64](n N) string {
	digits := fmt.Sprint(int64(n))
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
