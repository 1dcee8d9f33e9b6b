package processor

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/control"
	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/task"
)

// application is a plan on its brokers: real topic names, partition counts, tasks. It does
// not change while a worker runs.
type application struct {
	cfg        *config
	names      offsets.Names
	plan       *topology.Plan
	graph      *task.Graph
	internal   int32
	partitions map[string]int32    // of every topic of the plan
	topicIDs   map[string][16]byte // of every topic of the plan
	taskList   []offsets.Task
	inputsOf   map[offsets.Task][]topicPartition
	life       int64 // end of the control topic when the worker began
	draining   bool  // as of then
	quiet      bool  // the same
}

func newApplication(cfg *config, plan *topology.Plan, timeline uint32) *application {
	return &application{
		cfg: cfg, plan: plan, graph: plan.Graph(),
		names:      offsets.Names{Application: plan.Application(), Timeline: timeline},
		partitions: map[string]int32{}, topicIDs: map[string][16]byte{}, inputsOf: map[offsets.Task][]topicPartition{},
	}
}

// layOut computes the tasks, once the partition counts are known.
func (a *application) layOut() {
	a.taskList = nil
	for s := range a.graph.Subs {
		for p := range a.partitionsOf(s) {
			t := offsets.Task{Sub: int32(s), Partition: p}
			a.taskList = append(a.taskList, t)
			var in []topicPartition
			for i := range a.graph.Subs[s].Inputs {
				in = append(in, topicPartition{a.topicOf(s, i), p})
			}
			a.inputsOf[t] = in
		}
	}
	control := a.controlTask()
	a.taskList = append(a.taskList, control)
	a.inputsOf[control] = []topicPartition{{a.names.Control(), 0}, {a.names.Acks(), 0}}
	slices.SortFunc(a.taskList, offsets.Task.Compare)
}

// controlTask is the task of the coordinator. It is assigned, fenced and moved like those of
// the plan, comes behind them and has no stores: who owns it decides about cuts.
func (a *application) controlTask() offsets.Task { return offsets.Task{Sub: int32(len(a.graph.Subs))} }

// planTasks are the tasks that take cuts: all but the control task.
func (a *application) planTasks() []offsets.Task { return a.taskList[:len(a.taskList)-1] }

// stores are those of a task, in plan order.
func (a *application) stores(t offsets.Task) []task.StoreSpec {
	if t == a.controlTask() {
		return nil
	}
	return a.graph.Subs[t.Sub].Stores
}

func (a *application) tasks() []offsets.Task { return a.taskList }

// inputs are the partitions that a task reads, in the order of its sub-topology's inputs.
func (a *application) inputs(t offsets.Task) []topicPartition { return a.inputsOf[t] }

// partitionsOf is the number of tasks of a sub-topology: its inputs have as many partitions.
func (a *application) partitionsOf(sub int) int32 {
	return a.partitions[a.topicOf(sub, 0)]
}

func (a *application) topicOf(sub, input int) string {
	in := a.graph.Subs[sub].Inputs[input]
	if in.Internal {
		return a.names.Repartition(in.Topic)
	}
	return in.Topic
}

func (a *application) changelogTopic(sub, store int) string {
	return a.names.Changelog(a.graph.Subs[sub].Stores[store].UID)
}

func (a *application) outputTopic(sub, output int) (string, int32) {
	o := a.graph.Subs[sub].Outputs[output]
	topic := o.Topic
	if o.Internal {
		topic = a.names.Repartition(o.Topic)
	}
	return topic, a.partitions[topic]
}

// upstream are the tasks that write an internal input.
func (a *application) upstream(sub, input int) []offsets.Task {
	var out []offsets.Task
	for _, s := range a.graph.Subs[sub].Inputs[input].Upstream {
		for p := range a.partitionsOf(s) {
			out = append(out, offsets.Task{Sub: int32(s), Partition: p})
		}
	}
	return out
}

func (a *application) stateful(t offsets.Task) bool { return len(a.stores(t)) > 0 }

// inputTopics are all topics that the group subscribes to.
func (a *application) inputTopics() []string {
	seen := map[string]bool{a.names.Control(): true, a.names.Acks(): true}
	for s := range a.graph.Subs {
		for i := range a.graph.Subs[s].Inputs {
			seen[a.topicOf(s, i)] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// storeID names the i-th store of a task.
func (a *application) storeID(t offsets.Task, i int) changelog.StoreID {
	return changelog.StoreID{Timeline: a.names.Timeline, UID: a.stores(t)[i].UID, Task: t, TopicID: a.topicIDs[a.changelogTopic(int(t.Sub), i)]}
}

// witness is the partition of the epochs topic for the witness of an epoch.
func (a *application) witness(t offsets.Task) int32 {
	return t.Partition % a.partitions[a.names.Epochs()]
}

// sources are the topics that exist before the application, sinks those it writes to.
func (a *application) sources() (out []string) {
	for _, s := range a.graph.Subs {
		for _, in := range s.Inputs {
			if !in.Internal && !slices.Contains(out, in.Topic) {
				out = append(out, in.Topic)
			}
		}
	}
	return out
}

func (a *application) sinks() (out []string) {
	for _, s := range a.graph.Subs {
		for _, o := range s.Outputs {
			if !o.Internal && !slices.Contains(out, o.Topic) {
				out = append(out, o.Topic)
			}
		}
	}
	return out
}

// openApplication checks the brokers, gives birth to the application if it is new, and
// else compares the plan and the topics with what it was born with. Nothing that exists is
// ever changed.
func openApplication(ctx context.Context, cfg *config, plan *topology.Plan) (*application, error) {
	cl, err := cfg.client()
	if err != nil {
		return nil, fmt.Errorf("open application %s: %w", plan.Application(), err)
	}
	defer cl.Close()
	if err := checkBrokers(ctx, cfg, cl); err != nil {
		return nil, err
	}
	topic := offsets.Names{Application: plan.Application()}.Control()
	life, err := controlEnd(ctx, cfg, cl, topic, true)
	for ; err != nil; life, err = controlEnd(ctx, cfg, cl, topic, true) {
		if judge(err) != verdictRetry || pause(ctx, retryPause) != nil {
			return nil, err
		}
	}
	state, err := readControl(ctx, cfg, plan.Application(), true)
	for ; err != nil; state, err = readControl(ctx, cfg, plan.Application(), true) {
		if judge(err) != verdictRetry || pause(ctx, retryPause) != nil {
			return nil, err
		}
	}
	born, ok := state.Newest()
	for ; !ok; born, ok = state.Newest() {
		if err := mayBeBorn(state, offsets.Names{Application: plan.Application()}); err != nil {
			return nil, err
		}
		// Two workers that start at once fence each other: the loser looks again.
		if err := giveBirth(ctx, cfg, plan, cl); err != nil && (judge(err) == verdictFatal || ctx.Err() != nil) {
			return nil, fmt.Errorf("first start of %s: %w", plan.Application(), err)
		} else if err != nil {
			cfg.listener.warn("first start of "+plan.Application()+": trying again", err)
			if err := pause(ctx, retryPause); err != nil {
				return nil, err
			}
		}
		if state, err = readControl(ctx, cfg, plan.Application(), true); err != nil {
			return nil, err
		}
	}
	if err := state.Check(born.Timeline); err != nil {
		return nil, errors.Join(ErrTimelineOver, err)
	}
	if k, drained := state.Drained(born.Timeline); drained {
		return nil, drainedError(plan.Application(), k)
	}
	a := newApplication(cfg, plan, born.Timeline)
	a.life, a.draining, a.quiet = life, state.Draining(born.Timeline), state.Quiet(born.Timeline)
	if err := a.compare(ctx, cl, born); err != nil {
		return nil, err
	}
	a.layOut()
	if err := a.bindCodecs(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// codecTimeout bounds the time that codecs have to learn about their topics.
const codecTimeout = 30 * time.Second

// bindCodecs lets codecs that depend on their topic see it, before any task starts.
func (a *application) bindCodecs(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, codecTimeout)
	defer cancel()
	graph, err := a.plan.Bind(ctx, func(use task.CodecUse) string {
		switch use.Kind {
		case task.RepartitionTopic:
			return a.names.Repartition(use.Topic)
		case task.ChangelogTopic:
			return a.names.Changelog(use.Topic)
		}
		return use.Topic
	})
	if err != nil {
		return &Error{What: err.Error(), Where: "application " + a.names.Application, Err: errors.Join(ErrCodec, err),
			Fix: "check that what the codec asks, such as a schema registry, can be reached and knows the topic"}
	}
	a.graph = graph
	return nil
}

// compare refuses, with the whole list, what differs from the birth.
func (a *application) compare(ctx context.Context, cl *kgo.Client, born control.Born) error {
	var errs []error
	if born.Fingerprint != a.plan.Fingerprint() {
		var old topology.Description
		if err := json.Unmarshal(born.Plan, &old); err != nil {
			errs = append(errs, fmt.Errorf("plan in the control topic: %w", err))
		}
		var list []string
		for _, d := range a.plan.Diff(old) {
			list = append(list, d.String())
		}
		errs = append(errs, &Error{What: "the plan differs from the one that the application was born with: " + strings.Join(list, "; "),
			Where: "application " + a.names.Application, Err: ErrPlan, Fix: "run the old plan, rewind to a checkpoint or savepoint with this one (--from), or start under a new application name"})
	}
	a.internal = born.InternalPartitions
	topics := slices.Concat(slices.Collect(maps.Keys(born.Partitions)), a.sinks())
	found, err := kadm.NewClient(cl).ListTopics(ctx, topics...)
	if err != nil {
		return fmt.Errorf("look up topics of %s: %w", a.names.Application, err)
	}
	for _, topic := range slices.Sorted(maps.Keys(born.Partitions)) {
		d, ok := found[topic]
		if !ok || d.Err != nil {
			errs = append(errs, &Error{What: fmt.Sprintf("topic %s is missing", topic), Where: "application " + a.names.Application, Err: ErrTopic,
				Fix: "it was there at the first start: put it back with its content, or start under a new application name"})
			continue
		}
		if id := hex.EncodeToString(d.ID[:]); id != born.TopicIDs[topic] {
			errs = append(errs, &Error{What: fmt.Sprintf("topic %s was deleted and created again (topic id %s, was %s)", topic, id, born.TopicIDs[topic]),
				Where: "application " + a.names.Application, Err: ErrTopic, Fix: "positions and state belong to the old topic: start under a new application name"})
		}
		if n := int32(len(d.Partitions)); n != born.Partitions[topic] {
			errs = append(errs, &Error{What: fmt.Sprintf("topic %s has %d partitions, had %d", topic, n, born.Partitions[topic]),
				Where: "application " + a.names.Application, Err: ErrTopic,
				Fix: "keys moved to other partitions than their state: start under a new application name"})
		}
	}
	for _, topic := range a.sinks() {
		if d, ok := found[topic]; !ok || d.Err != nil {
			errs = append(errs, missingTopic(topic, "sink", a.names.Application))
		}
	}
	if len(errs) == 0 { // with another plan or other partitions they would differ for sure
		errs = a.checkInternal(ctx, cl)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for topic, d := range found {
		a.partitions[topic] = int32(len(d.Partitions))
		a.topicIDs[topic] = [16]byte(d.ID)
	}
	return nil
}

func missingTopic(topic, role, application string) error {
	return &Error{What: fmt.Sprintf("%s topic %s does not exist", role, topic), Where: "application " + application, Err: ErrTopic,
		Fix: "create it (weir never creates topics that are not its own), or correct its name"}
}
