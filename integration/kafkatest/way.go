package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrNone is returned when no way to a real Kafka works on this machine.
var ErrNone = errors.New("no Kafka here")

// A way to a Kafka. build fills in addresses and nodes, without starting them.
type way interface {
	name() string
	build(ctx context.Context, c *Cluster, o Options) error
}

// findWay returns the first way that works, or ErrNone with what each of them lacks. The named cluster counts only
// where the caller does not need brokers of its own.
func findWay(ctx context.Context, named bool) (way, error) {
	var lacks []string
	if named {
		if brokers := os.Getenv("KAFKA_BROKERS"); brokers != "" {
			return namedWay{strings.Split(brokers, ",")}, nil
		}
		lacks = append(lacks, "KAFKA_BROKERS is not set")
	}
	only := os.Getenv("WEIR_KAFKA")
	if only != "" && only != "container" && only != "java" {
		return nil, fmt.Errorf("kafkatest: WEIR_KAFKA=%q: say container or java, or leave it unset", only)
	}
	if only != "java" {
		w, err := findEngine(ctx)
		if err == nil {
			return w, nil
		}
		lacks = append(lacks, "container: "+err.Error())
	}
	if only != "container" {
		w, err := findJava(ctx)
		if err == nil {
			return w, nil
		}
		lacks = append(lacks, "java: "+err.Error())
	}
	return nil, fmt.Errorf("%w (%s). Three ways to have one: KAFKA_BROKERS=host:port of a running cluster, "+
		"a Docker engine with the image %s, or Java 17 and Maven", ErrNone, strings.Join(lacks, "; "), image())
}

// namedWay is a cluster that somebody else runs.
type namedWay struct{ addrs []string }

func (namedWay) name() string { return "KAFKA_BROKERS" }

func (w namedWay) build(_ context.Context, c *Cluster, o Options) error {
	if o.Brokers > 1 || len(o.Properties) > 0 {
		return errors.New("a cluster that is not ours cannot be given settings")
	}
	c.addrs = w.addrs
	c.tools = hostTools{}
	return nil
}

// Find says which way a test would take, without starting a broker. It may fetch what that way needs.
func Find(ctx context.Context) (string, error) {
	w, err := findWay(ctx, true)
	if err != nil {
		return "", err
	}
	return w.name(), nil
}
