package eos

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// diagnose logs what the brokers say when results do not come: where each partition's log
// begins, is stable and ends, where the group stands, and which transactions are open.
func (r *run) diagnose() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	adm := r.cluster.Admin()
	topics := []string{r.tally.In(), r.names().Repartition("by-group"), r.tally.Seen(), r.tally.GroupsT(), r.tally.Windows()}
	starts, err1 := adm.ListStartOffsets(ctx, topics...)
	stable, err2 := adm.ListCommittedOffsets(ctx, topics...)
	ends, err3 := adm.ListEndOffsets(ctx, topics...)
	group, err4 := adm.FetchOffsets(ctx, r.names().Group())
	r.t.Logf("diagnosis: errors %v %v %v %v", err1, err2, err3, err4)
	ends.Each(func(end kadm.ListedOffset) {
		lo, _ := starts.Lookup(end.Topic, end.Partition)
		lso, _ := stable.Lookup(end.Topic, end.Partition)
		at, _ := group.Lookup(end.Topic, end.Partition)
		r.t.Logf("%s/%d: start %d, stable %d, end %d; group at %d", end.Topic, end.Partition, lo.Offset, lso.Offset, end.Offset, at.At)
	})
	if open, err := adm.ListTransactions(ctx, nil, nil); err != nil {
		r.t.Logf("list transactions: %v", err)
	} else {
		open.Each(func(x kadm.ListedTransaction) {
			if x.State != "CompleteCommit" && x.State != "CompleteAbort" && x.State != "Empty" {
				r.t.Logf("transaction %s of producer %d: %s", x.TxnID, x.ProducerID, x.State)
			}
		})
	}
	var set kadm.TopicsSet
	set.Add(r.names().Repartition("by-group"), 0, 1, 2, 3)
	producers, err := adm.DescribeProducers(ctx, set)
	if err != nil {
		r.t.Logf("describe producers: %v", err)
		return
	}
	producers.EachProducer(func(p kadm.DescribedProducer) {
		if p.CurrentTxnStartOffset >= 0 {
			r.t.Logf("%s/%d: producer %d epoch %d has a transaction open since offset %d, last timestamp %d", p.Topic, p.Partition, p.ProducerID, p.ProducerEpoch, p.CurrentTxnStartOffset, p.LastTimestamp)
		}
	})
}
