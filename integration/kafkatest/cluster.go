package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Version is the Apache Kafka that the Java way runs and that the default image holds.
const Version = "4.3.1"

// Options of a cluster of the test's own.
type Options struct {
	// Brokers is 1 (also for zero) or 3. With 3, topics have three replicas of which two must be in sync.
	Brokers int
	// Properties are broker settings on top of the test defaults.
	Properties map[string]string
	// HeapMB bounds each broker's Java heap; default 512, and 384 with three brokers.
	HeapMB int
	// LongRun lets Java compile hot code fully, which benchmarks and soaks need. Short tests start faster and leave more
	// of two cores to themselves without it.
	LongRun bool
}

func (o Options) withDefaults() (Options, error) {
	if o.Brokers == 0 {
		o.Brokers = 1
	}
	if o.Brokers != 1 && o.Brokers != 3 {
		return o, fmt.Errorf("kafkatest: %d brokers asked for, the harness knows 1 and 3", o.Brokers)
	}
	if o.HeapMB == 0 {
		o.HeapMB = 512
		if o.Brokers == 3 {
			o.HeapMB = 384
		}
	}
	return o, nil
}

func (o Options) jvm() []string {
	flags := []string{"-Xms64m", fmt.Sprintf("-Xmx%dm", o.HeapMB), "-XX:+UseSerialGC"}
	if !o.LongRun {
		flags = append(flags, "-XX:TieredStopAtLevel=1")
	}
	return flags
}

// A node is one broker that this harness owns.
type node interface {
	start(context.Context) error
	signal(sig brokerSignal) error // kill returns when the broker is gone
	alive() bool
	logs() string // where to read what it said
	close()       // kills what runs and removes its data
}

type brokerSignal int

const (
	sigTerm brokerSignal = iota // clean stop; returns when the broker is gone
	sigKill                     // SIGKILL; returns when the broker is gone
	sigStop                     // freeze
	sigCont                     // thaw
)

// Cluster is a running Kafka.
type Cluster struct {
	way   string // how it came to be, for messages
	addrs []string
	nodes []node // empty when the cluster is not ours
	dir   string // logs and data of a cluster of ours
	tools toolbox
	admin *kadm.Client
}

// Launch starts a cluster outside of a test; the caller closes it. Tests use [Start] or [Shared].
func Launch(ctx context.Context, o Options) (*Cluster, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	w, err := findWay(ctx, false)
	if err != nil {
		return nil, err
	}
	return launchOn(ctx, w, o)
}

// launchOn tries a second time with other ports: another process may take one between our look and Kafka's bind.
func launchOn(ctx context.Context, w way, o Options) (*Cluster, error) {
	c, err := launchOnce(ctx, w, o)
	if err == nil || ctx.Err() != nil {
		return c, err
	}
	c, again := launchOnce(ctx, w, o)
	if again != nil {
		return nil, errors.Join(err, again)
	}
	return c, nil
}

func launchOnce(ctx context.Context, w way, o Options) (_ *Cluster, err error) {
	dir, err := os.MkdirTemp("", "weir-kafka-")
	if err != nil {
		return nil, fmt.Errorf("kafkatest: directory for broker data: %w", err)
	}
	c := &Cluster{way: w.name(), dir: dir}
	defer func() {
		if err != nil {
			c.Close(true)
		}
	}()
	if err := w.build(ctx, c, o); err != nil {
		return nil, fmt.Errorf("kafkatest: %s: %w", w.name(), err)
	}
	for i, n := range c.nodes {
		if err := n.start(ctx); err != nil {
			return nil, fmt.Errorf("kafkatest: %s: start broker %d: %w", w.name(), i, err)
		}
	}
	for i := range c.nodes {
		if err := c.waitReady(ctx, i); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Addrs are the bootstrap addresses.
func (c *Cluster) Addrs() []string { return append([]string(nil), c.addrs...) }

// Way says where this Kafka came from: "KAFKA_BROKERS", "container" or "java".
func (c *Cluster) Way() string { return c.way }

// Admin is a client that lives as long as the cluster.
func (c *Cluster) Admin() *kadm.Client {
	if c.admin == nil {
		client, err := kgo.NewClient(kgo.SeedBrokers(c.addrs...))
		if err != nil {
			panic(fmt.Sprintf("kafkatest: admin client for %v: %v", c.addrs, err)) // constant options: a mistake in this file
		}
		c.admin = kadm.NewClient(client)
	}
	return c.admin
}

// Close ends the brokers that are ours. Their logs stay when keepLogs is set; their data never does.
func (c *Cluster) Close(keepLogs bool) {
	if c.admin != nil {
		c.admin.Close()
	}
	for _, n := range c.nodes {
		n.close()
	}
	if c.dir != "" && !keepLogs {
		os.RemoveAll(c.dir)
	}
}

// Processes are the ids of the brokers that run as processes of this machine, for those who measure them: none where the
// brokers run in containers or are not ours.
func (c *Cluster) Processes() []int {
	var ids []int
	for _, n := range c.nodes {
		if j, ok := n.(*javaNode); ok && j.alive() {
			ids = append(ids, j.run.cmd.Process.Pid)
		}
	}
	return ids
}

// LogDir holds what the brokers printed, one file per broker; empty for a cluster that is not ours.
func (c *Cluster) LogDir() string { return c.dir }

// waitReady returns when broker i itself lists the whole cluster and knows a leader for every partition. It asks that
// broker alone: the others go on listing a dead one until its session ends.
func (c *Cluster) waitReady(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.addrs[i]), kgo.RetryTimeout(2*time.Second), kgo.DialTimeout(2*time.Second))
	if err != nil {
		return fmt.Errorf("kafkatest: client for %s: %w", c.addrs[i], err)
	}
	defer client.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if !c.nodes[i].alive() {
			return fmt.Errorf("kafkatest: %s: broker %d ended while starting, last words:\n%s", c.way, i, tail(c.nodes[i].logs(), 20))
		}
		last := c.ready(ctx, client)
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kafkatest: %s: broker %d at %s is not ready: %w, log %s, last words:\n%s",
				c.way, i, c.addrs[i], last, c.nodes[i].logs(), tail(c.nodes[i].logs(), 20))
		case <-tick.C:
		}
	}
}

// ready sends the request itself: the admin client would answer from what it remembers for seconds.
func (c *Cluster) ready(ctx context.Context, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	md, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if live := c.live(); len(md.Brokers) < live {
		return fmt.Errorf("%d of %d brokers listed", len(md.Brokers), live)
	}
	for _, t := range md.Topics {
		for _, p := range t.Partitions {
			if p.Leader < 0 {
				return fmt.Errorf("%s/%d has no leader", *t.Topic, p.Partition)
			}
		}
	}
	return nil
}

func (c *Cluster) live() int {
	n := 0
	for _, b := range c.nodes {
		if b.alive() {
			n++
		}
	}
	return n
}

// settings are the broker properties that do not depend on addresses.
func settings(o Options) map[string]string {
	rf, isr := "1", "1"
	if o.Brokers == 3 {
		rf, isr = "3", "2"
	}
	s := map[string]string{
		"process.roles":                                    "broker,controller",
		"controller.listener.names":                        "CONTROLLER",
		"listener.security.protocol.map":                   "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"default.replication.factor":                       rf,
		"min.insync.replicas":                              isr,
		"offsets.topic.replication.factor":                 rf,
		"transaction.state.log.replication.factor":         rf,
		"transaction.state.log.min.isr":                    isr,
		"share.coordinator.state.topic.replication.factor": rf,
		"share.coordinator.state.topic.min.isr":            isr,
		"offsets.topic.num.partitions":                     "4",
		"transaction.state.log.num.partitions":             "4",
		"share.coordinator.state.topic.num.partitions":     "1",
		"auto.create.topics.enable":                        "false",
		"log.retention.ms":                                 "-1", // tests write records of the past, and retention counts from their time
		// What a test waits for: membership lost, transactions timed out, the first assignment.
		"group.min.session.timeout.ms":                                "1000",
		"group.initial.rebalance.delay.ms":                            "0",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
		// A dead broker's partitions move after this; 9 s by default.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "500",
		// Memory: the cleaner's map is allocated at start, 128 MiB by default.
		"log.cleaner.dedupe.buffer.size": "4194304",
		"log.cleaner.backoff.ms":         "1000",
		"num.network.threads":            "2",
		"num.io.threads":                 "4",
	}
	maps.Copy(s, o.Properties)
	return s
}

// freePorts picks ports of 127.0.0.1 below the range from which the kernel takes outgoing ports. A client that retries
// a dead broker's address inside that range may connect to itself, and the broker then cannot bind when it comes back.
func freePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	seen := map[int]bool{}
	for tries := 0; len(ports) < n; tries++ {
		if tries > 1000 {
			return nil, errors.New("no free port between 20000 and 32000 on 127.0.0.1")
		}
		p := 20000 + rand.IntN(12000)
		if seen[p] {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p))
		if err != nil {
			continue
		}
		l.Close()
		seen[p] = true
		ports = append(ports, p)
	}
	return ports, nil
}

// tail is the last n lines of a file or, when it cannot be read, why.
func tail(path string, n int) string {
	b, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
