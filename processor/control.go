package processor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-stream/weir/changelog"
	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor/internal/control"
)

// readControl reads the control topic of an application to its end. An application that
// has none yet has the zero state. That a topic is absent is only believed where it may be:
// a broker that has not heard of a new topic yet would make us give birth twice.
func readControl(ctx context.Context, cfg *config, application string, mayBeAbsent bool) (control.State, error) {
	var state control.State
	topic := offsets.Names{Application: application}.Control()
	cl, err := cfg.client()
	if err != nil {
		return state, fmt.Errorf("read control topic %s: %w", topic, err)
	}
	defer cl.Close()
	end, err := controlEnd(ctx, cfg, cl, topic, mayBeAbsent)
	if err != nil || end == 0 {
		return state, err
	}
	_, err = changelog.ReadRange(ctx, cfg.clientOpts(), topic, 0, 0, end, func(key, value []byte, offset int64) error {
		if err := state.ApplyRecord(key, value); err != nil {
			return controlDamage(topic, offset, err)
		}
		return nil
	})
	if err != nil {
		return state, fmt.Errorf("read control topic %s: %w", topic, err)
	}
	return state, nil
}

// controlEnd is the end of the topic when nothing is open in it: who reads up to there has
// seen every decision that was made before. It waits for transactions that the brokers will end.
func controlEnd(ctx context.Context, cfg *config, cl *kgo.Client, topic string, mayBeAbsent bool) (int64, error) {
	adm := kadm.NewClient(cl)
	u := undecided{cfg: cfg, adm: adm, topic: topic, unknown: -1}
	for since := time.Now(); ; {
		ends, err := adm.ListEndOffsets(ctx, topic)
		if err != nil {
			return 0, fmt.Errorf("control topic %s: %w", topic, err)
		}
		end, ok := ends.Lookup(topic, 0)
		if absent := !ok || errors.Is(end.Err, kerr.UnknownTopicOrPartition); absent && mayBeAbsent {
			return 0, nil
		} else if absent {
			if err := pause(ctx, retryPause); err != nil {
				return 0, fmt.Errorf("control topic %s is missing: %w", topic, err)
			}
			continue
		}
		stable, err := adm.ListCommittedOffsets(ctx, topic)
		if err != nil {
			return 0, fmt.Errorf("control topic %s: %w", topic, err)
		}
		lso, ok := stable.Lookup(topic, 0)
		if ok && end.Err == nil && lso.Err == nil {
			// Where a first look is enough, what a birth in progress decides later is found by
			// the next reading. A birth itself must see all: with something undecided in
			// front of it, it would give birth twice.
			if lso.Offset >= end.Offset || mayBeAbsent && time.Since(since) > time.Second {
				return lso.Offset, nil
			}
			if time.Since(since) > undecidedLimit {
				if err := u.look(ctx, lso.Offset); err != nil {
					return 0, err
				}
			}
		} else if err := errors.Join(end.Err, lso.Err); err != nil && judge(err) == verdictFatal {
			return 0, fmt.Errorf("control topic %s: %w", topic, err)
		}
		if err := pause(ctx, retryPause); err != nil {
			return 0, fmt.Errorf("control topic %s: %w", topic, err)
		}
	}
}

// overtaken stops a lane that reads of a newer timeline. It would find out at its next epoch, but
// one without input has none. What it reads may be long past, and taken back: what counts is the
// end of the topic.
func (l *lane) overtaken(r control.Intent) {
	if r.Timeline <= l.app.names.Timeline {
		return
	}
	l.helpers.Go(func() {
		state, err := readControl(l.ctx, l.cfg, l.app.names.Application, false)
		if err != nil {
			return // its next epoch asks again
		}
		if err := state.Check(l.app.names.Timeline); err != nil {
			l.inbox.push(groupRefused{errors.Join(ErrTimelineOver, err)})
		}
	})
}

// timelineOver says whether this lane must stop: a newer timeline is intended or active.
// It is asked after every initialisation of a producer.
func (l *lane) timelineOver(ctx context.Context) (bool, error) {
	for wait := retryPause; ; wait = min(2*wait, time.Second) {
		state, err := readControl(ctx, l.cfg, l.app.names.Application, false)
		if err == nil {
			if err := state.Check(l.app.names.Timeline); err != nil {
				l.fatal = errors.Join(ErrTimelineOver, err)
				return true, nil
			}
			return false, nil
		}
		if judge(err) == verdictFatal || ctx.Err() != nil {
			return false, err
		}
		if pause(ctx, wait) != nil {
			return false, err
		}
	}
}
