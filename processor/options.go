package processor

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/topology"
)

// Option is a setting of a worker. A later one of the same kind wins.
type Option interface{ apply(*config) error }

type optionFunc func(*config) error

func (f optionFunc) apply(c *config) error { return f(c) }

func set(f func(*config)) Option {
	return optionFunc(func(c *config) error { f(c); return nil })
}

// config is what the options add up to. It does not change once a worker runs.
type config struct {
	application string
	brokers     []string
	stateDir    string
	instance    string
	rack        string
	lanes       int

	commitInterval time.Duration
	commitBytes    int64
	cacheBytes     int64
	minFree        uint64
	maxRecordBytes int

	sessionTimeout     time.Duration
	rebalanceTimeout   time.Duration
	heartbeat          time.Duration
	transactionTimeout time.Duration
	remindEvery        time.Duration // see runningTask.remind

	restart  Strategy
	failover FailoverScope

	leaveOnStop     bool
	allowOldBrokers bool
	internal        int // partitions of internal topics; 0: of the widest source

	checkpoints Checkpoints
	standbys    int
	warmups     int            // -1: as many as there are by default
	from        *RewindOptions // what is done before the start

	tls       *tls.Config
	sasl      sasl.Mechanism
	kafka     []kgo.Opt
	log       zerolog.Logger
	listener  listener
	listeners []*Listener
	closers   []func() error
}

// Brokers are the addresses to begin with. Default: localhost:9092.
func Brokers(addrs ...string) Option { return set(func(c *config) { c.brokers = addrs }) }

// StateDir is where state is kept on disk: one directory per worker, never shared by two
// that run at once. What is in it makes a restart fast and is never the only copy; it may
// be deleted. Default: weir-state/<application> under the working directory.
func StateDir(path string) Option { return set(func(c *config) { c.stateDir = path }) }

// InstanceID is the worker's name in the group: stable over restarts, unique among the
// workers that run at once (a pod name of a stateful set). A restart under the same id
// within the session timeout takes its tasks back without a rebalance and fences its own
// past; two at once fence each other. Characters a-z, 0-9 and -. Default: a random id kept
// in the state directory.
func InstanceID(id string) Option { return set(func(c *config) { c.instance = id }) }

// Rack is the worker's zone; tasks are spread over racks. Default: none.
func Rack(name string) Option { return set(func(c *config) { c.rack = name }) }

// Standbys is the number of other workers that keep a copy of each task's state: one of them
// takes the task over without a restore when its worker is gone, after SessionTimeout. A copy
// costs memory and disk like the state itself, and the CPU of writing it. Workers of one group
// should agree: the leader's number counts. Default: 0.
func Standbys(n int) Option { return set(func(c *config) { c.standbys = n }) }

// Warmups is how many tasks with state, of the whole application, are copied at a time before
// they move to a worker that has no copy near the end of their changelogs, such as one that
// has just joined. Until then their owners go on with them; a task whose owner is gone moves at
// once. 0: all move at once, and are restored where they come to. The leader's number counts, as
// with Standbys. Default: 2 where there are Standbys, else 0.
func Warmups(n int) Option { return set(func(c *config) { c.warmups = n }) }

func (c *config) warmupsOf() int {
	if c.warmups < 0 && c.standbys > 0 {
		return 2
	}
	return max(c.warmups, 0)
}

// Lanes is the number of goroutines that process, each a member of the group with a
// producer of its own. Default: GOMAXPROCS.
func Lanes(n int) Option { return set(func(c *config) { c.lanes = n }) }

// CommitInterval is the time from one commit of a lane to its next, the length of an epoch:
// results are visible to read_committed readers at its end. A busy lane takes records for that
// long and commits on top. Shorter: lower latency, more transactions and more changelog
// records for keys that change often. Default: 100 ms.
func CommitInterval(d time.Duration) Option { return set(func(c *config) { c.commitInterval = d }) }

// CommitBytes ends an epoch of a lane early when what it keeps in memory reaches this size:
// the records read, for a replay, with what they led to, outputs and state changes. Default:
// 64 MiB, some 120,000 records of 100 bytes.
func CommitBytes(n int64) Option { return set(func(c *config) { c.commitBytes = n }) }

// CacheBytes bounds the state of all tasks that is held in memory, but for stores with the
// option InMemory, which come on top. A key that is not in memory costs a read from disk.
// Default: an eighth of the machine's memory, between 64 MiB and 512 MiB.
func CacheBytes(n int64) Option { return set(func(c *config) { c.cacheBytes = n }) }

// MinFreeDisk is the space that is left alone on the disk of the state directory: below it
// tasks with state stop with an error instead of filling the disk. Default: 256 MiB.
func MinFreeDisk(n uint64) Option { return set(func(c *config) { c.minFree = n }) }

// SessionTimeout is how long the group waits for a silent worker before it gives its tasks
// to others. Default: 10 s.
func SessionTimeout(d time.Duration) Option { return set(func(c *config) { c.sessionTimeout = d }) }

// RebalanceTimeout is how long the group waits for a worker to end its epoch. Default: 30 s.
func RebalanceTimeout(d time.Duration) Option {
	return set(func(c *config) { c.rebalanceTimeout = d })
}

// HeartbeatInterval is how often a worker shows that it lives; a rebalance is noticed that
// late. Default: 1 s.
func HeartbeatInterval(d time.Duration) Option { return set(func(c *config) { c.heartbeat = d }) }

// TransactionTimeout is how long the brokers keep the open transaction of a worker that
// vanished; readers of its outputs, and a rewind, wait that long unless a successor ends it before.
// Default: 10 s.
func TransactionTimeout(d time.Duration) Option {
	return set(func(c *config) { c.transactionTimeout = d })
}

// LeaveOnStop makes a stop leave the group at once, for scaling down. Without it a stopped
// worker stays a member until its session ends, so that a restart moves no task.
func LeaveOnStop() Option { return set(func(c *config) { c.leaveOnStop = true }) }

// AllowOldBrokers accepts brokers without transaction.version 2. On those a delayed end of
// one transaction can end the next one: exactly-once is not guaranteed when the network
// delays requests.
func AllowOldBrokers() Option { return set(func(c *config) { c.allowOldBrokers = true }) }

// TLS connects by TLS.
func TLS(t *tls.Config) Option { return set(func(c *config) { c.tls = t }) }

// SASL authenticates with a mechanism of franz-go's pkg/sasl.
func SASL(m sasl.Mechanism) Option { return set(func(c *config) { c.sasl = m }) }

// Logger gets the worker's log. Default: warnings and errors to standard error, as JSON.
func Logger(l zerolog.Logger) Option { return set(func(c *config) { c.log = l }) }

// Events adds a listener; more than one may be given.
func Events(l *Listener) Option { return set(func(c *config) { c.listeners = append(c.listeners, l) }) }

// OnClose runs f when Run or Check has ended, or New has failed: what an option started is
// stopped by it.
func OnClose(f func() error) Option { return set(func(c *config) { c.closers = append(c.closers, f) }) }

// Options makes one option of several.
func Options(opts ...Option) Option {
	return optionFunc(func(c *config) error {
		for _, o := range opts {
			if err := o.apply(c); err != nil {
				return err
			}
		}
		return nil
	})
}

func newConfig(plan *topology.Plan, opts ...Option) (*config, error) {
	c := &config{
		brokers: []string{"localhost:9092"}, lanes: runtime.GOMAXPROCS(0),
		commitInterval: 100 * time.Millisecond, commitBytes: 64 << 20, maxRecordBytes: 1000 << 10,
		sessionTimeout: 10 * time.Second, rebalanceTimeout: 30 * time.Second, heartbeat: time.Second,
		transactionTimeout: 10 * time.Second, remindEvery: 10 * time.Second, restart: ExponentialDelay(), warmups: -1,
		log: zerolog.New(os.Stderr).Level(zerolog.WarnLevel).With().Timestamp().Logger(),
	}
	if plan != nil {
		c.application, c.internal = plan.Application(), plan.InternalPartitions()
	}
	for _, o := range opts {
		if err := o.apply(c); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	if c.stateDir == "" {
		c.stateDir = "weir-state/" + c.application
	}
	if c.cacheBytes == 0 {
		c.cacheBytes = min(max(memory()/8, 64<<20), 512<<20)
	}
	c.listener = newListener(c.log.With().Str("application", c.application).Logger(), c.listeners)
	if err := c.validate(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// validate holds every rule between settings. The timeouts pull at each other: a session
// needs some heartbeats, an epoch must end within the transaction's and the rebalance's
// time, and a transaction that outlives the session by much keeps a successor waiting.
func (c *config) validate() error {
	var errs []error
	rule := func(ok bool, what, fix string) {
		if !ok {
			errs = append(errs, &Error{What: what, Where: "options", Fix: fix})
		}
	}
	if c.instance != "" {
		if err := offsets.CheckName(c.instance); err != nil {
			errs = append(errs, &Error{What: "InstanceID: " + err.Error(), Where: "options", Fix: "use a-z, 0-9 and -", Err: err})
		}
	}
	rule(len(c.brokers) > 0, "no brokers", "give at least one address with Brokers")
	rule(c.lanes >= 1, fmt.Sprintf("Lanes is %d", c.lanes), "use 1 or more")
	rule(c.standbys >= 0, fmt.Sprintf("Standbys is %d", c.standbys), "use 0 for none, or the number of copies")
	rule(c.warmups >= -1, fmt.Sprintf("Warmups is %d", c.warmups), "use 0 for none, or how many tasks are copied at a time")
	rule(c.commitInterval > 0, fmt.Sprintf("CommitInterval is %s", c.commitInterval), "use a positive duration")
	rule(c.commitBytes >= 1<<10, fmt.Sprintf("CommitBytes is %d", c.commitBytes), "use 1 KiB or more")
	rule(c.cacheBytes >= 1<<20, fmt.Sprintf("CacheBytes is %d", c.cacheBytes), "use 1 MiB or more")
	rule(c.sessionTimeout >= 3*c.heartbeat, fmt.Sprintf("SessionTimeout %s is below three HeartbeatIntervals of %s", c.sessionTimeout, c.heartbeat),
		"one lost heartbeat must not end the session: raise SessionTimeout or lower HeartbeatInterval")
	rule(c.heartbeat > 0, fmt.Sprintf("HeartbeatInterval is %s", c.heartbeat), "use a positive duration")
	rule(c.transactionTimeout >= 2*c.commitInterval, fmt.Sprintf("TransactionTimeout %s is below two CommitIntervals of %s", c.transactionTimeout, c.commitInterval),
		"the brokers would abort epochs that are merely slow: raise TransactionTimeout or lower CommitInterval")
	rule(c.transactionTimeout >= time.Second, fmt.Sprintf("TransactionTimeout is %s", c.transactionTimeout), "use 1 s or more")
	rule(c.rebalanceTimeout >= 2*c.commitInterval+c.heartbeat, fmt.Sprintf("RebalanceTimeout %s is too short for an epoch of %s and a heartbeat of %s", c.rebalanceTimeout, c.commitInterval, c.heartbeat),
		"a worker that ends its epoch would be thrown out of the group: raise RebalanceTimeout")
	rule(c.from == nil || !c.from.DryRun, "StartFrom with DryRun", "use Rewind to look only")
	errs = append(errs, c.checkpoints.validate())
	return errors.Join(append(errs, c.checkRestart()...)...)
}

func (c *config) dbOptions() changelog.DBOptions {
	return changelog.DBOptions{Dir: c.stateDir, Application: c.application, CacheBytes: c.cacheBytes, MinFree: c.minFree}
}

// memory is the machine's memory, or what a container may use of it.
func memory() int64 {
	total := int64(2 << 30)
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
				if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					total = kib << 10
				}
			}
		}
	}
	if b, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
			total = min(total, n)
		}
	}
	return total
}

// clientID names the worker in the brokers' logs and quotas.
func (c *config) clientID() string {
	return "weir/" + c.application + "/" + cmp.Or(c.instance, "-")
}
