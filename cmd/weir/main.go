// Weir tries, measures and looks at applications that were built with weir. Whatever needs
// a program's own plan is done by that program itself (package processor/cli).
//
// Results go to standard output, as JSON with --json; errors, with hints, go to standard
// error. Exit codes:
//
//	0  done, and all is well
//	1  done, and something is wrong: results that are not exactly once, an unhealthy application
//	2  the command line is wrong
//	3  it could not be done: brokers out of reach, files, processes
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor/cli"
)

func main() { os.Exit(cli.Execute(newRoot())) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "Try, measure and look at stream processors on Kafka",
		Long: `weir tries, measures and looks at stream processors that were built with weir.

  weir demo                                    two workers, one killed, every result exactly once
  weir broker --topic lines:4 --topic words:4  a broker for trying out, no Kafka needed
  echo to be or not | weir send lines          write to a topic
  weir tail words --value int64 -f             read from one

Exit codes: 0 done, and all is well; 1 done, and something is wrong; 2 the command line is wrong;
3 it could not be done (brokers out of reach, files, processes).`,
	}
	root.AddCommand(
		newDemo(), newDemoWorker(),
		newBroker(), newSend(), newTail(),
		newDoctor(), newStatus(), newDescribe(), newCheckpoint(), newSavepoint(), newState(), newStop(),
		newBench(), newVersion(),
	)
	return root
}
