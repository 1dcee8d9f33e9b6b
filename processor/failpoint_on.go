//go:build failpoints

package processor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The environment variable WEIR_FAILPOINT says "name:count:signal", for example
// "end.written:3:KILL": at the third time that the process comes to end.written it kills itself;
// STOP stops it until somebody sends SIGCONT.
var failpointAt = func() (f struct {
	name   string
	count  int64
	signal syscall.Signal
}) {
	parts := strings.Split(os.Getenv("WEIR_FAILPOINT"), ":")
	if len(parts) != 3 {
		return f
	}
	f.name = parts[0]
	f.count, _ = strconv.ParseInt(parts[1], 10, 64)
	f.signal = map[string]syscall.Signal{"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP}[parts[2]]
	if f.count < 1 || f.signal == 0 {
		panic("WEIR_FAILPOINT: want name:count:KILL or name:count:STOP, got " + os.Getenv("WEIR_FAILPOINT"))
	}
	return f
}()

var failpointHits atomic.Int64

func failpoint(name string) {
	if name != failpointAt.name || failpointHits.Add(1) != failpointAt.count {
		return
	}
	fmt.Fprintf(os.Stderr, "failpoint %s: %v\n", name, failpointAt.signal)
	if err := syscall.Kill(os.Getpid(), failpointAt.signal); err != nil {
		panic(err)
	}
	if failpointAt.signal == syscall.SIGKILL {
		select {} // the signal is on its way
	}
}

// The environment variable WEIR_PLANT names one mistake that the engine is to make, so that the tests see whether their
// checks notice it.
var plant = os.Getenv("WEIR_PLANT")

func planted(mistake string) bool { return mistake == plant }

// failpointHook sees the end of a transaction leave: the broker has it, and the process will
// not live to see the answer.
type failpointHook struct{}

func (failpointHook) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == kmsg.EndTxn.Int16() && err == nil {
		failpoint("end.written")
	}
}

func failpointOpts() []kgo.Opt { return []kgo.Opt{kgo.WithHooks(failpointHook{})} }
