package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Options say what broker to start.
type Options struct {
	// Dir keeps topics, groups and transactions over restarts; one broker at a time. "": in
	// memory, gone with the process.
	Dir string
	// Port on 127.0.0.1. 0: a free one, and with Dir the one it had before if that is free,
	// so that clients find a restarted broker again.
	Port int
	// Topics that are created if they are missing, with their numbers of partitions. Others
	// are created by request; none is created by being written to.
	Topics map[string]int32
	// Log gets the broker's warnings. Default: they are dropped.
	Log func(string)
}

// ErrInUse is returned when another broker runs on the directory.
var ErrInUse = errors.New("another broker runs on this directory")

// Server is a running broker.
type Server struct {
	cluster *kfake.Cluster
	addrs   []string
	dir     string
	lock    *os.File
	close   sync.Once
}

// Start starts a broker. Close stops it.
func Start(o Options) (*Server, error) {
	b := &Server{dir: o.Dir}
	if err := b.start(o); err != nil {
		b.Close()
		return nil, fmt.Errorf("start embedded broker: %w", err)
	}
	return b, nil
}

func (b *Server) start(o Options) error {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("weir-embedded"),
		kfake.DefaultNumPartitions(1),
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.WithLogger(logger{o.Log}),
	}
	if o.Dir != "" {
		if err := b.own(o.Dir); err != nil {
			return err
		}
		opts = append(opts, kfake.DataDir(filepath.Join(o.Dir, "data")))
		if err := b.repair(o.Dir, slices.Clip(opts)); err != nil {
			return err
		}
	}
	ports := []int{o.Port}
	if o.Port == 0 && o.Dir != "" {
		if last := lastPort(o.Dir); last != 0 {
			ports = []int{last, 0}
		}
	}
	var err error
	for _, port := range ports {
		if b.cluster, err = kfake.NewCluster(append(slices.Clip(opts), kfake.Ports(port))...); err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		b.cluster = nil
		return err
	}
	b.addrs = b.cluster.ListenAddrs()
	if o.Dir != "" {
		if err := errors.Join(rememberPort(o.Dir, b.addrs[0]), os.WriteFile(filepath.Join(o.Dir, runningFile), nil, 0o644)); err != nil {
			return err
		}
	}
	return b.createTopics(o.Topics)
}

// own locks the directory: two brokers on one would write over each other.
func (b *Server) own(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "broker.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return fmt.Errorf("%s: %w", dir, err)
	}
	b.lock = f
	return nil
}

func (b *Server) createTopics(topics map[string]int32) error {
	if len(topics) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addrs...))
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		r, err := kadm.NewClient(cl).CreateTopic(ctx, topics[name], 1, nil, name)
		if err == nil {
			err = r.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s with %d partitions: %w", name, topics[name], err)
		}
	}
	return nil
}

// Addrs are the addresses for clients.
func (b *Server) Addrs() []string { return slices.Clone(b.addrs) }

// Close stops the broker. With a directory everything is written, so that a broker started
// there goes on where this one stopped, within open transactions too.
func (b *Server) Close() error {
	var err error
	b.close.Do(func() {
		if b.cluster != nil {
			b.cluster.Close()
			if b.dir != "" {
				err = os.Remove(filepath.Join(b.dir, runningFile))
			}
		}
		if b.lock != nil {
			err = errors.Join(err, b.lock.Close())
		}
	})
	return err
}

const portFile = "broker.port"

func lastPort(dir string) (port int) {
	text, err := os.ReadFile(filepath.Join(dir, portFile))
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscan(string(text), &port); err != nil {
		return 0
	}
	return port
}

func rememberPort(dir, addr string) error {
	var port int
	if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &port); err != nil {
		return fmt.Errorf("port of %s: %w", addr, err)
	}
	return os.WriteFile(filepath.Join(dir, portFile), fmt.Appendln(nil, port), 0o644)
}

// logger passes on what went wrong.
type logger struct{ to func(string) }

func (l logger) Logf(level kfake.LogLevel, text string, args ...any) {
	if l.to != nil && level <= kfake.LogLevelWarn {
		l.to(fmt.Sprintf(text, args...))
	}
}

// Notice says where the broker is and what it is not.
func (b *Server) Notice() string {
	where := "in memory, gone with this process"
	if b.dir != "" {
		where = "data in " + b.dir
	}
	return fmt.Sprintf("embedded broker at %s, %s: for trying out and tests, not for production", strings.Join(b.addrs, ","), where)
}
