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

// undecidedLimit is longer than transactions are open mostly. After it the brokers are asked about the one that is.
const undecidedLimit = 5 * time.Second

// controlEnd is the end of the topic when nothing is open in it: who reads up to there has
// seen every decision that was made before. It waits for transactions that the brokers will end.
func controlEnd(ctx context.Context, cfg *config, cl *kgo.Client, topic string, mayBeAbsent bool) (int64, error) {
	adm := kadm.NewClient(cl)
	u := undecided{cfg: cfg, adm: adm, topic: topic, hanging: -1}
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

// undecided is what a reader of a topic with one partition knows of the transaction that it waits for.
type undecided struct {
	cfg     *config
	adm     *kadm.Client
	topic   string
	told    bool
	hanging int64 // no broker knew the one that begins there; -1: none
}

// look tells once of a transaction that the brokers will end, which may take as long as its timeout, and is an error if it is
// one that stays open for ever.
func (u *undecided) look(ctx context.Context, offset int64) error {
	id, known, err := u.holder(ctx, offset)
	switch {
	case err != nil && judge(err) != verdictFatal: // asked again
	case err != nil:
		return fmt.Errorf("control topic %s: whose transaction is open at offset %d: %w", u.topic, offset, err)
	case known && id != "" && !u.told:
		u.told = true
		u.cfg.listener.warn("read control topic "+u.topic, fmt.Errorf("a transaction of %s is open in it since offset %d: waiting until it ends, or the brokers end it", id, offset))
	case !known && u.hanging == offset: // a second time: it did not end between two answers
		return &Error{What: fmt.Sprintf("a transaction that no broker knows is open in control topic %s since offset %d", u.topic, offset), Where: "control topic", Err: ErrTopic,
			Fix: "find it with kafka-transactions.sh find-hanging, abort it, and start again"}
	case !known:
		u.hanging = offset
	}
	return nil
}

// holder is the transactional id whose transaction begins at an offset. known is false if there is such a transaction,
// and no broker will end it. Nothing begins there: "", true.
func (u *undecided) holder(ctx context.Context, offset int64) (id string, known bool, err error) {
	var topics kadm.TopicsSet
	topics.Add(u.topic, 0)
	producers, err := u.adm.DescribeProducers(ctx, topics)
	if err != nil {
		return "", false, err
	}
	var ids []int64
	producers.EachPartition(func(p kadm.DescribedProducersPartition) {
		err = errors.Join(err, p.Err)
		for _, who := range p.ActiveProducers {
			if who.CurrentTxnStartOffset == offset {
				ids = append(ids, who.ProducerID)
			}
		}
	})
	if err != nil || len(ids) == 0 {
		return "", true, err
	}
	listed, err := u.adm.ListTransactions(ctx, ids, nil)
	if err != nil || len(listed) == 0 {
		return "", false, err
	}
	described, err := u.adm.DescribeTransactions(ctx, listed.TransactionalIDs()...)
	if err != nil {
		return "", false, err
	}
	for id, t := range described {
		if t.Err != nil {
			return "", false, t.Err
		}
		if t.Topics.Lookup(u.topic, 0) {
			return id, true, nil
		}
	}
	return "", false, nil
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
