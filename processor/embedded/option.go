package embedded

import (
	"fmt"
	"os"

	"github.com/weir-stream/weir/processor"
)

// Broker starts a broker on dir ("": in memory) when the worker is made, connects the
// worker to it, and closes it when Run has ended. One line on standard error says where it
// listens, for weir send and weir tail, and that it is not for production.
//
// Several workers in one process share a broker by Start and processor.Brokers instead.
func Broker(dir string) processor.Option {
	return processor.Deferred(func() (processor.Option, error) {
		s, err := Start(Options{Dir: dir})
		if err != nil {
			return nil, err
		}
		fmt.Fprintln(os.Stderr, s.Notice())
		return processor.Options(processor.Brokers(s.Addrs()...), processor.OnClose(s.Close)), nil
	})
}
