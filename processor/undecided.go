package processor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

const (
	// undecidedLimit is longer than transactions are open mostly. After it the brokers are asked about the one that is.
	undecidedLimit = 5 * time.Second
	// unknownLimit is how long no broker has known it when it is refused: longer than a transaction coordinator takes to move to
	// another broker.
	unknownLimit = 45 * time.Second
	// transactionState is the topic in which brokers keep what they know of transactions.
	transactionState = "__transaction_state"
)

// undecided is what a reader of a topic with one partition knows of the transaction that it waits for.
type undecided struct {
	cfg     *config
	adm     *kadm.Client
	topic   string
	told    bool
	unknown int64     // no broker knows the one that begins there, and all have answered; -1: none
	since   time.Time // of unknown
}

// look tells once of a transaction that the brokers will end, which may take as long as its timeout, and is an error if it is
// one that stays open for ever.
func (u *undecided) look(ctx context.Context, offset int64) error {
	id, known, err := u.holder(ctx, offset)
	switch {
	case err != nil && judge(err) != verdictFatal: // asked again: who did not answer may know it
		u.unknown = -1
	case err != nil:
		return fmt.Errorf("control topic %s: whose transaction is open at offset %d: %w", u.topic, offset, err)
	case known:
		u.unknown = -1
		if id == "" || u.told {
			break
		}
		u.told = true
		u.cfg.listener.warn("read control topic "+u.topic, fmt.Errorf("a transaction of %s is open in it since offset %d: waiting until it ends, or the brokers end it", id, offset))
	case u.unknown != offset:
		u.unknown, u.since = offset, time.Now()
	case time.Since(u.since) > unknownLimit:
		return &Error{What: fmt.Sprintf("a transaction that no broker knows is open in control topic %s since offset %d", u.topic, offset), Where: "control topic", Err: ErrTopic,
			Fix: "find it with kafka-transactions.sh find-hanging, abort it, and start again"}
	}
	return nil
}

// holder is the transactional id whose transaction begins at an offset. known is false if there is such a transaction,
// and no broker will end it. "", true: nothing begins there, or who could know cannot be asked.
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
	if err != nil {
		return "", false, err
	}
	if len(listed) == 0 {
		lost, err := u.coordinatorLost(ctx)
		return "", lost, err
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

// coordinatorLost says whether some transactions have no broker that knows them at the moment.
func (u *undecided) coordinatorLost(ctx context.Context) (bool, error) {
	topics, err := u.adm.ListTopicsWithInternal(ctx, transactionState)
	if err != nil {
		return false, err
	}
	for _, p := range topics[transactionState].Partitions {
		if p.Err != nil || p.Leader < 0 {
			return true, nil
		}
	}
	return false, nil
}
