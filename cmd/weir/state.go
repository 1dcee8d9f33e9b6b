package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor/cli"
	"github.com/weir-stream/weir/processor/state"
)

func newState() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Read the state in savepoints and checkpoints",
		Long: `Read the state in savepoints and checkpoints, without Kafka and without the program that wrote it.

PATH is the directory or URL of a savepoint, or the file of a manifest, of a checkpoint too:
<directory>/<application>/manifests/<cut>-<sum>.json. Keys and values are shown as their codecs say: numbers for
int64 and float64, text for string, time and uuid, JSON for json and avro. What the program has a codec of its own for
is shown as {"hex":"..."}.`,
	}
	cmd.AddCommand(newStateExport(), newStateGet(), newStateDiff())
	return cmd
}

// selectionFlags say which rows are meant.
func selectionFlags(cmd *cobra.Command, sel *state.Selection) {
	cmd.Flags().StringVar(&sel.Store, "store", "", "`uid` of the store; default: all of them")
	cmd.Flags().StringVar(&sel.Task, "task", "", "task, such as 1-3; default: all of them")
}

// withState opens a savepoint or checkpoint for f.
func withState(cmd *cobra.Command, path string, f func(context.Context, *state.Snapshot) error) error {
	ctx, stop := cli.Signals(cmd.Context())
	defer stop()
	s, err := state.Open(ctx, path)
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, s), s.Close())
}

func newStateExport() *cobra.Command {
	var (
		sel      state.Selection
		format   string
		inFlight bool
	)
	cmd := &cobra.Command{
		Use:   "export PATH",
		Short: "Write all rows of a savepoint or checkpoint",
		Long: `Write all rows of a savepoint or checkpoint to standard output, in the order of stores, tasks and keys, as lines of
JSON or as CSV. With --in-flight the records that were on their way between tasks are written instead; --store then
names the repartition. State may be larger than memory.`,
		Example: `  weir state export /backups/before-upgrade --store counts | jq -c 'select(.value > 100)'`,
		Args:    cobra.ExactArgs(1),
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			e, err := newExporter(cmd.OutOrStdout(), format, inFlight)
			if err != nil {
				return err
			}
			if inFlight && sel.Task != "" {
				return cli.Usagef("--task is about rows, and --in-flight writes none")
			}
			return withState(cmd, args[0], func(ctx context.Context, s *state.Snapshot) error {
				if inFlight {
					err = s.InFlight(ctx, sel.Store, e.record)
				} else {
					err = s.Rows(ctx, sel, e.row)
				}
				return errors.Join(err, e.close())
			})
		}),
	}
	selectionFlags(cmd, &sel)
	cmd.Flags().StringVar(&format, "format", "ndjson", "ndjson or csv")
	cmd.Flags().BoolVar(&inFlight, "in-flight", false, "records in flight instead of rows; a checkpoint has none")
	return cmd
}

// exporter writes rows or records.
type exporter struct {
	w    *bufio.Writer
	json *json.Encoder
	csv  *csv.Writer
}

func newExporter(w io.Writer, format string, inFlight bool) (*exporter, error) {
	e := &exporter{w: bufio.NewWriterSize(w, 64<<10)}
	switch format {
	case "ndjson":
		e.json = json.NewEncoder(e.w)
		e.json.SetEscapeHTML(false)
	case "csv":
		e.csv = csv.NewWriter(e.w)
		header := []string{"store", "task", "window_start", "window_end", "key", "value"}
		if inFlight {
			header = []string{"repartition", "partition", "task", "offset", "time", "key", "value"}
		}
		return e, e.csv.Write(header)
	default:
		return nil, cli.Usagef("--format %q: known are ndjson, csv", format)
	}
	return e, nil
}

func (e *exporter) row(r state.Row) error {
	if e.json != nil {
		return e.json.Encode(r)
	}
	start, end := "", ""
	if r.Window != nil {
		start = r.Window.Start.Format(time.RFC3339Nano)
		if !r.Window.End.IsZero() {
			end = r.Window.End.Format(time.RFC3339Nano)
		}
	}
	return e.csv.Write([]string{r.Store, r.Task, start, end, cell(r.Key), cell(r.Value)})
}

func (e *exporter) record(r state.Record) error {
	if e.json != nil {
		return e.json.Encode(r)
	}
	return e.csv.Write([]string{r.Repartition, strconv.Itoa(int(r.Partition)), r.Task, strconv.FormatInt(r.Offset, 10), r.Time.Format(time.RFC3339Nano), cell(r.Key), cell(r.Value)})
}

func (e *exporter) close() error {
	if e.csv != nil {
		e.csv.Flush()
		if err := e.csv.Error(); err != nil {
			return err
		}
	}
	return e.w.Flush()
}

// cell is JSON for people and for cells: a string without its quotes, bytes as 0x.
func cell(v json.RawMessage) string {
	var s string
	if len(v) > 0 && v[0] == '"' && json.Unmarshal(v, &s) == nil {
		return s
	}
	if rest, ok := bytes.CutPrefix(v, []byte(`{"hex":"`)); ok {
		if digits, ok := bytes.CutSuffix(rest, []byte(`"}`)); ok {
			return "0x" + string(digits)
		}
	}
	return string(v)
}

func newStateGet() *cobra.Command {
	var (
		sel         state.Selection
		hex, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "get PATH KEY",
		Short: "Show the row of a key, or its windows",
		Long: `Show the row of a key, or one row for each of its windows. All tasks are looked at, as keys may have been placed by
other programs. KEY is written as weir state export shows it, a string without quotes; it is read by the codec of the
keys. The exit code is 1 if there is none.`,
		Example: `  weir state get /backups/before-upgrade --store counts word`,
		Args:    cobra.ExactArgs(2),
		RunE: cli.Action(func(cmd *cobra.Command, args []string) error {
			return withState(cmd, args[0], func(ctx context.Context, s *state.Snapshot) error {
				if stores := s.Stores(); sel.Store == "" && len(stores) == 1 {
					sel.Store = stores[0].UID
				}
				rows := []state.Row{}
				err := s.Get(ctx, sel, args[1], hex, func(r state.Row) error { rows = append(rows, r); return nil })
				if err != nil {
					return err
				}
				if asJSON {
					err = cli.JSON(cmd.OutOrStdout(), rows)
				} else {
					showRows(cmd.OutOrStdout(), rows)
				}
				if len(rows) == 0 {
					err = errors.Join(err, &cli.Finding{Err: fmt.Errorf("store %s has no row of key %s", sel.Store, args[1])})
				}
				return err
			})
		}),
	}
	selectionFlags(cmd, &sel)
	cmd.Flags().Lookup("store").Usage = "`uid` of the store; may be left out if there is only one"
	cmd.Flags().BoolVar(&hex, "hex", false, "KEY is the hex digits of its bytes")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func showRows(w io.Writer, rows []state.Row) {
	if len(rows) == 0 {
		return
	}
	header := []any{"task", "key", "value"}
	if rows[0].Window != nil {
		header = []any{"task", "window", "key", "value"}
	}
	t := newTable(w, nil, header...)
	for _, r := range rows {
		row := []any{r.Task, cell(r.Key), cell(r.Value)}
		if r.Window != nil {
			row = []any{r.Task, r.Window, cell(r.Key), cell(r.Value)}
		}
		t.AppendRow(row)
	}
	t.Render()
}
