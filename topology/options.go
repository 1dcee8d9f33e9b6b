package topology

import (
	"time"

	"github.com/weir-stream/weir/topology/task"
)

// Options come in families: an Option fits every operator, the others only where they
// mean something; the compiler refuses the rest.
type (
	// BuilderOption is an option of New.
	BuilderOption interface{ applyBuilder(*Builder) }

	// SourceOption is an option of From.
	SourceOption interface {
		apply(*settings)
		source()
	}

	// RepartitionOption is an option of KeyBy, Repartition and NewLoop.
	RepartitionOption interface {
		apply(*settings)
		repartition()
	}

	// StoreOption is an option of operators with a store.
	StoreOption interface {
		apply(*settings)
		store()
	}

	// SinkOption is an option of To and ToLoop.
	SinkOption interface {
		apply(*settings)
		sink()
	}

	// Option is an option of every operator.
	Option interface {
		apply(*settings)
		source()
		repartition()
		store()
		sink()
		operator()
	}
)

// settings is what the options of one operator say.
type settings struct {
	name                string
	disorder, idleAfter time.Duration
	start               StartPosition
	partitions          int
	partitionsSet       bool
	inMemory            bool
}

const defaultIdleAfter = time.Minute

func settingsOf[O interface{ apply(*settings) }](opts []O) settings {
	s := settings{idleAfter: defaultIdleAfter}
	for _, o := range opts {
		o.apply(&s)
	}
	return s
}

type (
	named       string
	maxDisorder time.Duration
	idleAfter   time.Duration
	startAt     StartPosition
	partitions  int

	inMemory           struct{}
	internalPartitions int
	streamTime         struct{}
)

// Named gives an operator without uid a name for drawings, metrics and errors. Default:
// its kind and the line of the program that made it, "map orders.go:31".
func Named(name string) Option { return named(name) }

func (n named) apply(s *settings) { s.name = string(n) }
func (named) source()             {}
func (named) repartition()        {}
func (named) store()              {}
func (named) sink()               {}
func (named) operator()           {}

// MaxDisorder is how far a record's time may be behind the highest time of its partition
// before it may be late. Default 0. Costs as much latency in every window downstream.
func MaxDisorder(d time.Duration) SourceOption { return maxDisorder(d) }

func (d maxDisorder) apply(s *settings) { s.disorder = time.Duration(d) }
func (maxDisorder) source()             {}

// IdleAfter is how long a partition may be silent before it stops holding time back.
// Default 1m; 0 means never. Records that come after a longer silence may be late.
func IdleAfter(d time.Duration) SourceOption { return idleAfter(d) }

func (d idleAfter) apply(s *settings) { s.idleAfter = time.Duration(d) }
func (idleAfter) source()             {}

// StartAt is where partitions without a position begin. Default Earliest.
func StartAt(p StartPosition) SourceOption { return startAt(p) }

func (p startAt) apply(s *settings) { s.start = StartPosition(p) }
func (startAt) source()             {}

// StartPosition is where a source begins.
type StartPosition struct{ p task.StartPosition }

// Earliest is the oldest record that the topic still has.
func Earliest() StartPosition { return StartPosition{} }

// Latest is the end of the topic at the first start of the application.
func Latest() StartPosition { return StartPosition{task.StartPosition{Kind: task.Latest}} }

// At is the first record whose timestamp is not before t.
func At(t time.Time) StartPosition { return StartPosition{task.StartPosition{Kind: task.At, At: t}} }

// Partitions is the number of partitions of one internal topic. Default: that of all
// internal topics of the application, see InternalPartitions.
func Partitions(n int) RepartitionOption { return partitions(n) }

func (n partitions) apply(s *settings) { s.partitions, s.partitionsSet = int(n), true }
func (partitions) repartition()        {}

// InMemory keeps the rows of a store in memory only. They are in the changelog like those of
// any other, so nothing is lost, but every start of a task, and every move of one to another
// worker, reads the whole changelog of the store. All rows stay in memory, on top of the
// worker's CacheBytes, which bounds only what can be dropped: it is for small stores that
// change often, to spare the disk. May be given and taken away between two starts. Default:
// rows are kept on disk, and as many of them in memory as fit.
func InMemory() StoreOption { return inMemory{} }

func (inMemory) apply(s *settings) { s.inMemory = true }
func (inMemory) store()            {}

// InternalPartitions is the number of partitions of every internal topic; recorded at
// the first start, and not changed after it. Default: that of the widest source.
func InternalPartitions(n int) BuilderOption { return internalPartitions(n) }

func (n internalPartitions) applyBuilder(b *Builder) {
	if n < 1 {
		b.reject(b.self(), "the number of internal partitions is %d", int(n)).fix("pass 1 or more to InternalPartitions, or leave it out")
		return
	}
	b.partitions = int(n)
}

// StreamTime makes time the highest timestamp seen by a task instead of the lowest
// watermark of its partitions: windows close earlier, and records of partitions that lag
// behind are late.
func StreamTime() BuilderOption { return streamTime{} }

func (streamTime) applyBuilder(b *Builder) { b.streamTime = true }
