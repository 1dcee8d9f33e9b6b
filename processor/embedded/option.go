package embedded

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/weir-stream/weir/processor"
)

// Broker starts a broker on dir ("": in memory) when the worker is made, connects the
// worker to it, and closes it when Run has ended. Topics are given as "name:partitions"
// and created if they are missing: a worker never creates those that are not its own. One
// line on standard error says where the broker listens, for weir send and weir tail, and
// that it is not for production.
//
// Several workers in one process share a broker by Start and processor.Brokers instead.
func Broker(dir string, topics ...string) processor.Option {
	return processor.Deferred(func() (processor.Option, error) {
		parsed, err := ParseTopics(topics)
		if err != nil {
			return nil, fmt.Errorf("start embedded broker: %w", err)
		}
		s, err := Start(Options{Dir: dir, Topics: parsed})
		if err != nil {
			return nil, err
		}
		fmt.Fprintln(os.Stderr, s.Notice())
		return processor.Options(processor.Brokers(s.Addrs()...), processor.OnClose(s.Close)), nil
	})
}

// ParseTopics reads "name:partitions"; without a number it is one partition.
func ParseTopics(texts []string) (map[string]int32, error) {
	topics := map[string]int32{}
	for _, text := range texts {
		name, number, given := strings.Cut(text, ":")
		n := int64(1)
		if given {
			var err error
			if n, err = strconv.ParseInt(number, 10, 32); err != nil || n < 1 {
				return nil, fmt.Errorf("topic %q: %q is no number of partitions; give name:partitions", text, number)
			}
		}
		if name == "" {
			return nil, fmt.Errorf("topic %q has no name; give name:partitions", text)
		}
		topics[name] = int32(n)
	}
	return topics, nil
}
