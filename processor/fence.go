package processor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// liveInstances are the instance ids of the members that the group has now.
func liveInstances(ctx context.Context, cl *kgo.Client, group string) (map[string]bool, error) {
	gs, err := kadm.NewClient(cl).DescribeGroups(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("describe group %s: %w", group, err)
	}
	g := gs[group]
	if g.Err != nil {
		return nil, fmt.Errorf("describe group %s: %w", group, g.Err)
	}
	live := map[string]bool{}
	for _, m := range g.Members {
		if m.InstanceID != nil {
			live[*m.InstanceID] = true
		}
	}
	return live, nil
}

// fencePredecessors ends the open transactions of lanes that are no longer in the group, so
// that their successors need not wait for the transaction timeout. A lane that is still a
// member ends its own; one that only seems gone is fenced twice, here and by its
// generation.
func (a *application) fencePredecessors(ctx context.Context, cl *kgo.Client, cfg *config) error {
	live, err := liveInstances(ctx, cl, a.names.Group())
	if err != nil {
		return err
	}
	ids, err := a.openTransactions(ctx, cl)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		_, instance, lane, ok := a.names.ParseTransactionalID(id)
		if !ok || live[a.names.GroupInstance(instance, lane)] {
			continue
		}
		if err := initProducerID(ctx, cl, id); err != nil {
			errs = append(errs, fmt.Errorf("end transaction of %s: %w", id, err))
			continue
		}
		cfg.listener.fenced(id)
	}
	return errors.Join(errs...)
}

// openTransactions are the transactional ids of this timeline's lanes with an open or
// ending transaction, on any broker.
func (a *application) openTransactions(ctx context.Context, cl *kgo.Client) ([]string, error) {
	open, err := kadm.NewClient(cl).ListTransactions(ctx, nil, []string{"Ongoing", "PrepareCommit", "PrepareAbort"})
	if err != nil {
		return nil, fmt.Errorf("list transactions: %w", err)
	}
	var ids []string
	for _, id := range open.TransactionalIDs() {
		if l, _, _, ok := a.names.ParseTransactionalID(id); ok && l == a.names.Timeline {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// initProducerID fences whoever uses the id and ends what is open under it.
func initProducerID(ctx context.Context, cl *kgo.Client, id string) error {
	for {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = &id, 10_000
		req.ProducerID, req.ProducerEpoch = -1, -1
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		if err = kerr.ErrorForCode(resp.ErrorCode); err == nil {
			return nil
		}
		if judge(err) != verdictRetry {
			return err
		}
		if err := pause(ctx, retryPause); err != nil {
			return err
		}
	}
}

// repartitionFloor is the offset below which records of a repartition topic may be
// deleted: nobody reads them again.
func repartitionFloor(committed int64, pins ...int64) int64 {
	for _, p := range pins {
		committed = min(committed, p)
	}
	return committed
}
