package processor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	week     = "604800000"           // ms
	hour     = "3600000"             // ms
	farAhead = "9223372036854775807" // ms: event time may be anything
	forever  = "-1"
)

// settings are what the internal topics need. They are set at creation and checked at
// every start: an administrator may have changed them.
//
//	changelog    keeps the last value per key; tombstones for a week, so that a local base
//	             that is younger than half of it never misses one
//	repartition  keeps everything until its reader has committed it; we trim it ourselves
//	epochs       witness records that nobody reads
//	acks         what the tasks say about cuts; trimmed like a repartition topic
//	control      what was decided: the last word per timeline, request and cut. A segment is
//	             closed after an hour, because only closed ones are compacted
var settings = struct{ changelog, repartition, epochs, acks, control map[string]string }{
	changelog: map[string]string{
		"cleanup.policy": "compact", "delete.retention.ms": week, "message.timestamp.after.max.ms": farAhead, "max.message.bytes": "8388608",
	},
	repartition: map[string]string{
		"cleanup.policy": "delete", "retention.ms": forever, "retention.bytes": forever, "message.timestamp.after.max.ms": farAhead,
	},
	epochs:  map[string]string{"cleanup.policy": "delete", "retention.ms": hour, "message.timestamp.after.max.ms": farAhead},
	acks:    map[string]string{"cleanup.policy": "delete", "retention.ms": forever, "retention.bytes": forever},
	control: map[string]string{"cleanup.policy": "compact", "segment.ms": hour},
}

// internalTopic is one that the application owns.
type internalTopic struct {
	name       string
	partitions int32
	settings   map[string]string
}

// internalTopics of the timeline; partitions are known for sources, and for all others
// follow from them and a.internal.
func (a *application) internalTopics() []internalTopic {
	out := []internalTopic{{a.names.Epochs(), a.internal, settings.epochs}, {a.names.Control(), 1, settings.control}, {a.names.Acks(), 1, settings.acks}}
	for s := range a.graph.Subs {
		for _, o := range a.graph.Subs[s].Outputs {
			name := a.names.Repartition(o.Topic)
			if o.Internal && !slices.ContainsFunc(out, func(t internalTopic) bool { return t.name == name }) {
				out = append(out, internalTopic{name, cmp.Or(int32(o.Partitions), a.internal), settings.repartition})
			}
		}
	}
	for _, t := range out {
		a.partitions[t.name] = t.partitions
	}
	for s := range a.graph.Subs {
		for i := range a.graph.Subs[s].Stores {
			out = append(out, internalTopic{a.changelogTopic(s, i), a.partitionsOf(s), settings.changelog})
		}
	}
	return out
}

// createTopics makes the topics that are missing. One that exists must be as it would have
// been made.
func createTopics(ctx context.Context, cl *kgo.Client, topics []internalTopic) error {
	adm := kadm.NewClient(cl)
	for _, t := range topics {
		configs := map[string]*string{}
		for k, v := range t.settings {
			configs[k] = &v
		}
		r, err := adm.CreateTopic(ctx, t.partitions, -1, configs, t.name)
		if errors.Is(err, kerr.InvalidReplicationFactor) {
			r, err = adm.CreateTopic(ctx, t.partitions, 1, configs, t.name)
		}
		if err == nil {
			err = r.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", t.name, err)
		}
	}
	return errors.Join(checkTopics(ctx, cl, topics)...)
}

// checkInternal compares the internal topics with what they must be.
func (a *application) checkInternal(ctx context.Context, cl *kgo.Client) []error {
	found, err := kadm.NewClient(cl).ListTopics(ctx, a.sources()...)
	if err != nil {
		return []error{fmt.Errorf("look up sources of %s: %w", a.names.Application, err)}
	}
	for topic, d := range found {
		a.partitions[topic] = int32(len(d.Partitions))
	}
	return checkTopics(ctx, cl, a.internalTopics())
}

func checkTopics(ctx context.Context, cl *kgo.Client, topics []internalTopic) (errs []error) {
	adm := kadm.NewClient(cl)
	var names []string
	for _, t := range topics {
		names = append(names, t.name)
	}
	// A topic that was just created may not be known to every broker yet.
	found, err := awaitTopics(ctx, adm, names)
	if err != nil {
		return []error{err}
	}
	configs, err := adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return []error{fmt.Errorf("describe internal topics: %w", err)}
	}
	for _, t := range topics {
		if n := int32(len(found[t.name].Partitions)); n != t.partitions {
			errs = append(errs, &Error{What: fmt.Sprintf("internal topic %s has %d partitions, must have %d", t.name, n, t.partitions), Where: "internal topics", Err: ErrTopic,
				Fix: "it was made by something else, or changed: delete it if the application never ran, else start under a new application name"})
		}
		rc, err := configs.On(t.name, nil)
		if err != nil || rc.Err != nil {
			errs = append(errs, fmt.Errorf("describe topic %s: %w", t.name, errors.Join(err, rc.Err)))
			continue
		}
		has := map[string]string{}
		for _, c := range rc.Configs {
			if c.Value != nil {
				has[c.Key] = *c.Value
			}
		}
		for _, k := range slices.Sorted(maps.Keys(t.settings)) {
			want, got := t.settings[k], has[k]
			if got == "" || suffices(k, got, want) {
				continue // not reported: a broker that does not know the setting
			}
			errs = append(errs, &Error{What: fmt.Sprintf("internal topic %s has %s=%s, needs %s", t.name, k, got, want), Where: "internal topics", Err: ErrTopic,
				Fix: fmt.Sprintf("kafka-configs --alter --entity-type topics --entity-name %s --add-config %s=%s", t.name, k, want)})
		}
	}
	return errs
}

// suffices says whether a setting is at least as good as the one that we would choose.
func suffices(key, got, want string) bool {
	if got == want {
		return true
	}
	switch key {
	case "delete.retention.ms", "max.message.bytes":
		g, err1 := strconv.ParseInt(got, 10, 64)
		w, err2 := strconv.ParseInt(want, 10, 64)
		return err1 == nil && err2 == nil && g >= w
	case "retention.ms":
		return want == hour // of witnesses: any will do
	case "segment.ms":
		return true // a larger one costs time at each start
	}
	return false
}

func awaitTopics(ctx context.Context, adm *kadm.Client, names []string) (kadm.TopicDetails, error) {
	for {
		found, err := adm.ListTopics(ctx, names...)
		if err == nil {
			err = found.Error()
		}
		if err == nil && !slices.ContainsFunc(names, func(n string) bool { return len(found[n].Partitions) == 0 }) {
			return found, nil
		}
		if err != nil && judge(err) != verdictRetry && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil, fmt.Errorf("look up internal topics: %w", err)
		}
		if pauseErr := pause(ctx, retryPause); pauseErr != nil {
			return nil, fmt.Errorf("look up internal topics: %w", errors.Join(pauseErr, err))
		}
	}
}
