package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

func newBench() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure a worker: fill a topic, process it, check the output",
		Long: `Measure a worker on a broker of yours:

  weir bench load   --brokers B --topic in --records 5000000 --keys 100000
  weir bench worker --brokers B --workload count --in in --out out --app bench --until-idle 3s
  weir bench verify --brokers B --workload count --in in --out out

Each prints one line of JSON. load and worker create the topics that are missing.`,
	}
	c.PersistentFlags().Bool("json", true, "accepted for uniformity: the output is always JSON")
	c.AddCommand(newBenchLoad(), newBenchWorker(), newBenchVerify())
	return c
}

// printLine prints a value as one line of JSON.
func printLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }
