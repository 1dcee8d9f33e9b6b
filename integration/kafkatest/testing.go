package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// startLimit covers the first start on a machine, which fetches Apache Kafka.
const startLimit = 10 * time.Minute

var shared struct {
	sync.Mutex
	tried   bool
	cluster *Cluster
	err     error
}

// skipped makes the reason for "no Kafka" appear once per test binary.
var skipped sync.Once

// Main runs the tests of a package and then ends the broker that [Shared] started. Use it as TestMain's body.
func Main(m *testing.M) int {
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if c := shared.cluster; c != nil {
		keep := code != 0
		c.Close(keep)
		if keep && c.dir != "" {
			fmt.Printf("kafkatest: logs of the shared broker: %s\n", c.dir)
		}
	}
	return code
}

// Shared is one broker for all tests of the binary, which must use [Main]. A test must not stop it and must keep to
// topics, groups and transactional ids of its own; [Cluster.Topic] and [Unique] make names.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.tried {
		shared.tried = true
		ctx, cancel := context.WithTimeout(context.Background(), startLimit)
		defer cancel()
		var w way
		if w, shared.err = findWay(ctx, true); shared.err == nil {
			shared.cluster, shared.err = launchOn(ctx, w, Options{Brokers: 1, HeapMB: 512})
		}
	}
	if shared.err != nil {
		unavailable(t, shared.err)
	}
	return shared.cluster
}

// Start gives the test brokers of its own, which it may stop, kill, freeze and restart. They end with the test; their
// logs stay when it failed.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	c, err := Launch(ctx, o)
	if err != nil {
		unavailable(t, err)
	}
	t.Cleanup(func() {
		c.Close(t.Failed())
		if t.Failed() {
			t.Logf("logs of the brokers: %s", c.dir)
		}
	})
	return c
}

// unavailable skips where a machine has no Kafka, unless one is required. A broker that was tried and did not come up
// is always a failure.
func unavailable(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, ErrNone) || os.Getenv("WEIR_REQUIRE_KAFKA") == "1" {
		t.Fatal(err)
	}
	first := false
	skipped.Do(func() { first = true })
	if first {
		t.Skip(err)
	}
	t.Skip(ErrNone)
}

// Unique is a name made of the test's and a random part, of letters that Kafka and weir allow everywhere.
func Unique(t testing.TB) string {
	var b strings.Builder
	for _, r := range strings.ToLower(t.Name()) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else {
			b.WriteByte('-')
		}
	}
	name := b.String()
	return fmt.Sprintf("%s-%08x", name[:min(len(name), 60)], rand.Uint32())
}

// Topic creates a topic of this test's own, with Kafka's settings given as key and value by turns.
func (c *Cluster) Topic(t testing.TB, partitions int32, settings ...string) string {
	t.Helper()
	name := Unique(t)
	c.CreateTopic(t, name, partitions, settings...)
	return name
}

// CreateTopic creates a topic with the cluster's default replication. On a cluster that is not ours it is deleted
// when the test ends.
func (c *Cluster) CreateTopic(t testing.TB, name string, partitions int32, settings ...string) {
	t.Helper()
	if len(settings)%2 != 0 {
		t.Fatalf("kafkatest: topic %s: settings come in pairs, got %q", name, settings)
	}
	configs := map[string]*string{}
	for i := 0; i < len(settings); i += 2 {
		configs[settings[i]] = &settings[i+1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := c.Admin().CreateTopic(ctx, partitions, -1, configs, name); err != nil {
		t.Fatalf("kafkatest: create topic %s: %v", name, err)
	}
	if len(c.nodes) == 0 {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if _, err := c.Admin().DeleteTopic(ctx, name); err != nil {
				t.Logf("kafkatest: topic %s stays behind: %v", name, err)
			}
		})
	}
}

// Client is a client of this cluster that is closed when the test ends.
func (c *Cluster) Client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.addrs...)}, opts...)...)
	if err != nil {
		t.Fatalf("kafkatest: client: %v", err)
	}
	t.Cleanup(client.Close)
	return client
}

// Kill sends SIGKILL to broker i and returns when it is gone.
func (c *Cluster) Kill(t testing.TB, i int) { t.Helper(); c.send(t, i, sigKill, "kill") }

// Stop ends broker i cleanly and returns when it is gone.
func (c *Cluster) Stop(t testing.TB, i int) { t.Helper(); c.send(t, i, sigTerm, "stop") }

// Freeze stops broker i in its tracks, with its connections open, until [Cluster.Thaw].
func (c *Cluster) Freeze(t testing.TB, i int) { t.Helper(); c.send(t, i, sigStop, "freeze") }

// Thaw lets a frozen broker go on.
func (c *Cluster) Thaw(t testing.TB, i int) { t.Helper(); c.send(t, i, sigCont, "thaw") }

func (c *Cluster) send(t testing.TB, i int, sig brokerSignal, verb string) {
	t.Helper()
	if err := c.owned(i); err != nil {
		t.Fatal(err)
	}
	if err := c.nodes[i].signal(sig); err != nil {
		t.Fatalf("kafkatest: %s broker %d: %v", verb, i, err)
	}
}

// Restart starts broker i again, at the same address and with its data, and returns when it serves.
func (c *Cluster) Restart(t testing.TB, i int) {
	t.Helper()
	if err := c.owned(i); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := c.nodes[i].start(ctx); err != nil {
		t.Fatalf("kafkatest: restart broker %d: %v", i, err)
	}
	if err := c.waitReady(ctx, i); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) owned(i int) error {
	if len(c.nodes) == 0 {
		return errors.New("kafkatest: this cluster is not ours to stop: use Start instead of Shared")
	}
	if i < 0 || i >= len(c.nodes) {
		return fmt.Errorf("kafkatest: broker %d of %d", i, len(c.nodes))
	}
	return nil
}

// Leader is the broker, as an index for [Cluster.Kill], that leads a partition now.
func (c *Cluster) Leader(t testing.TB, topic string, partition int32) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// A client of its own: one that lives longer answers from what it remembers.
	client, err := kgo.NewClient(kgo.SeedBrokers(c.addrs...))
	if err != nil {
		t.Fatalf("kafkatest: client: %v", err)
	}
	defer client.Close()
	details, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err != nil {
		t.Fatalf("kafkatest: metadata of %s: %v", topic, err)
	}
	p, ok := details[topic].Partitions[partition]
	if !ok || p.Err != nil || p.Leader < 0 {
		t.Fatalf("kafkatest: %s/%d has no leader: %v", topic, partition, p.Err)
	}
	return int(p.Leader)
}
