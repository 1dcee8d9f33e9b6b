package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// ErrNoJava is returned when a test needs a program of the Java client and only a cluster that is not ours is here.
var ErrNoJava = errors.New("no Java client here")

// A toolbox runs the command line tools of Apache Kafka, by class name, against the cluster.
type toolbox interface {
	command(ctx context.Context, class string, args ...string) (*exec.Cmd, error)
}

type javaTools struct{ way javaWay }

func (j javaTools) command(ctx context.Context, class string, args ...string) (*exec.Cmd, error) {
	all := append(j.way.command("-XX:TieredStopAtLevel=1", "-Xmx128m", class), args...)
	return exec.CommandContext(ctx, all[0], all[1:]...), nil
}

// containerTools runs them inside the first broker's container, where the advertised addresses hold too.
type containerTools struct{ node *containerNode }

func (c containerTools) command(ctx context.Context, class string, args ...string) (*exec.Cmd, error) {
	all := append([]string{"exec", "-i", "-e", "KAFKA_HEAP_OPTS=-Xmx128m", c.node.name, "/opt/kafka/bin/kafka-run-class.sh", class}, args...)
	return exec.CommandContext(ctx, "docker", all...), nil
}

// hostTools looks for Java only when a tool is asked for: a named cluster needs none otherwise.
type hostTools struct{}

func (hostTools) command(ctx context.Context, class string, args ...string) (*exec.Cmd, error) {
	w, err := findJava(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoJava, err)
	}
	return javaTools{w.(javaWay)}.command(ctx, class, args...)
}

// KV is one record for the Java producer. Neither side may hold a tab or a line break.
type KV struct{ Key, Value string }

// JavaProduce writes records with Apache Kafka's own producer and its default partitioner, by way of the console
// producer: a topic written so is what a Java program would have written.
func (c *Cluster) JavaProduce(ctx context.Context, topic string, records []KV) error {
	var lines strings.Builder
	for _, r := range records {
		if strings.ContainsAny(r.Key+r.Value, "\t\r\n") {
			return fmt.Errorf("kafkatest: the console producer cannot send %q: %q", r.Key, r.Value)
		}
		lines.WriteString(r.Key + "\t" + r.Value + "\n")
	}
	cmd, err := c.tools.command(ctx, "org.apache.kafka.tools.ConsoleProducer",
		"--bootstrap-server", strings.Join(c.addrs, ","), "--topic", topic, "--reader-property", "parse.key=true")
	if err != nil {
		return err
	}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(lines.String()), &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("kafkatest: console producer to %s: %w\n%s", topic, err, out.String())
	}
	// It reports a failed send in its log and exits with 0 all the same.
	if strings.Contains(out.String(), "ERROR") || strings.Contains(out.String(), "Exception") {
		return fmt.Errorf("kafkatest: console producer to %s:\n%s", topic, out.String())
	}
	return nil
}
