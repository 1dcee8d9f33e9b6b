package main

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func init() { commands = append(commands, benchCommand) }

func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure a worker: fill a topic, process it, check the output",
		Long: `Measure a worker on a broker of yours:

  weir bench load   --brokers B --topic in --records 5000000 --keys 100000
  weir bench worker --brokers B --workload count --in in --out out --app bench --until-idle 3s
  weir bench verify --brokers B --workload count --in in --out out

Each prints one line of JSON. load and worker create the topics that are missing.`,
	}
	c.AddCommand(benchLoadCommand(), benchWorkerCommand(), benchVerifyCommand())
	return c
}

// brokersFlag adds the flag that all subcommands have in common.
func brokersFlag(f *pflag.FlagSet, to *string, def, usage string) {
	f.StringVar(to, "brokers", def, usage)
}

// addresses splits a list of brokers.
func addresses(list string) []string {
	var out []string
	for a := range strings.SplitSeq(list, ",") {
		if a = strings.TrimSpace(a); a != "" {
			out = append(out, a)
		}
	}
	return out
}

// printLine prints a value as one line of JSON.
func printLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }
