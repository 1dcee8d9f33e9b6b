package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// runningFile is there while a broker runs on the directory: who finds it at the start
// comes after a kill.
const runningFile = "broker.running"

// repair writes the abort markers that a killed broker left out. kfake counts transactions
// that were open at a kill as aborted, but readers learn from a marker where an aborted
// transaction of a producer ends. Without one they would drop whatever that producer
// commits afterwards, and a transactional id keeps its producer over restarts.
//
// It runs on a port of its own, before any client can begin a transaction that a marker
// would end.
func (b *Server) repair(dir string, opts []kfake.Opt) (err error) {
	if _, err := os.Stat(filepath.Join(dir, runningFile)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	c, err := kfake.NewCluster(append(opts, kfake.Ports(0))...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	fail := func(err error) error { return fmt.Errorf("abort what was open when the broker was killed: %w", err) }

	listed, err := adm.ListTransactions(ctx, nil, nil)
	if err != nil {
		return fail(err)
	}
	if len(listed) == 0 {
		return nil
	}
	states, err := adm.DescribeTransactions(ctx, listed.TransactionalIDs()...)
	if err != nil {
		return fail(err)
	}
	topics, err := adm.ListTopicsWithInternal(ctx)
	if err != nil {
		return fail(err)
	}
	var markers []kadm.TxnMarkers
	for _, s := range states.Sorted() {
		markers = append(markers, kadm.TxnMarkers{ProducerID: s.ProducerID, ProducerEpoch: s.ProducerEpoch, Commit: false, Topics: topics.TopicsSet()})
	}
	written, err := adm.WriteTxnMarkers(ctx, markers...)
	if err != nil {
		return fail(err)
	}
	written.Each(func(r kadm.TxnMarkersResponse) {
		r.Topics.Each(func(t kadm.TxnMarkersTopicResponse) {
			t.Partitions.Each(func(p kadm.TxnMarkersPartitionResponse) {
				if p.Err != nil && err == nil {
					err = fail(fmt.Errorf("%s/%d: %w", p.Topic, p.Partition, p.Err))
				}
			})
		})
	})
	return err
}
