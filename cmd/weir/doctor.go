package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/offsets"
	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/admin"
	"github.com/weir-stream/weir/processor/cli"
)

type doctor struct {
	conn                cli.Connection
	application         string
	session, txn, epoch time.Duration
	asJSON              bool
}

func newDoctor() *cobra.Command {
	var d doctor
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check brokers, versions, timeouts and rights",
		Long: `Check what every worker needs of its brokers: that they answer, transaction.version 2, and timeouts within the
brokers' limits; with --application, also that application's topics, group and transactions, and the rights of
the user in them. Nothing is changed. The exit code is 1 if a check failed.

Rights of a worker of application A, where brokers check them (prefixed ACLs on "A." cover what is its own):
  topics A.*              Create, Read, Write, Delete, Describe, DescribeConfigs
  its sources             Read, Describe
  its sinks               Write, Describe
  group A.*               Read, Describe
  transactional ids A.*   Write, Describe
  cluster                 DescribeConfigs (only for this check of timeouts)`,
		Args: cobra.NoArgs,
		RunE: cli.Action(func(cmd *cobra.Command, _ []string) error {
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			results, err := d.examine(ctx)
			if err != nil {
				return err
			}
			return cli.ShowChecks(cmd.OutOrStdout(), results, d.asJSON)
		}),
	}
	f := cmd.Flags()
	d.conn.Flags(f)
	f.StringVar(&d.application, "application", "", "`name` of an application to look at")
	f.DurationVar(&d.session, "session-timeout", 10*time.Second, "of the workers")
	f.DurationVar(&d.txn, "transaction-timeout", 10*time.Second, "of the workers")
	f.DurationVar(&d.epoch, "commit-interval", 100*time.Millisecond, "of the workers")
	jsonFlag(cmd, &d.asJSON)
	return cmd
}

func (d *doctor) examine(ctx context.Context) ([]processor.CheckResult, error) {
	conn, err := d.conn.Options()
	if err != nil {
		return nil, err
	}
	results, err := processor.Check(ctx, nil, processor.Brokers(d.conn.Brokers...), conn, processor.Logger(zerolog.Nop()),
		processor.SessionTimeout(d.session), processor.TransactionTimeout(d.txn), processor.CommitInterval(d.epoch))
	if err != nil || d.application == "" || results[0].Err != nil {
		return results, err
	}
	cl, err := administer(ctx, &d.conn, d.application)
	if err != nil {
		return results, err
	}
	defer cl.Close()
	birth, err := cl.Birth(ctx)
	if errors.Is(err, admin.ErrNotBorn) {
		return append(results, processor.CheckResult{Name: "application", Err: err}), nil
	}
	if err != nil {
		return results, err
	}
	results = append(results, processor.CheckResult{Name: "application", Detail: fmt.Sprintf("timeline %d, born %s", birth.Timeline, birth.Born.Format("2006-01-02 15:04 MST"))})
	client, err := connect(ctx, &d.conn)
	if err != nil {
		return results, err
	}
	defer client.Close()
	r := rights{client: client, birth: birth, names: offsets.Names{Application: d.application, Timeline: birth.Timeline}}
	return append(results, r.topics(ctx), r.group(ctx), r.transactions(ctx)), nil
}

// rights looks at what the user may do, as the brokers tell it.
type rights struct {
	client *kgo.Client
	birth  admin.Birth
	names  offsets.Names
}

// needs are the operations on each topic.
func (r *rights) needs() map[string][]kmsg.ACLOperation {
	const (
		read, write   = kmsg.ACLOperationRead, kmsg.ACLOperationWrite
		remove, watch = kmsg.ACLOperationDelete, kmsg.ACLOperationDescribe
		configs       = kmsg.ACLOperationDescribeConfigs
	)
	needs := map[string][]kmsg.ACLOperation{}
	for topic := range r.birth.Partitions {
		if strings.HasPrefix(topic, r.names.Application+".") {
			needs[topic] = []kmsg.ACLOperation{read, write, remove, watch, configs}
		} else {
			needs[topic] = []kmsg.ACLOperation{read, watch}
		}
	}
	needs[r.names.Control()] = []kmsg.ACLOperation{read, write, watch, configs} // nothing of it is deleted
	for _, s := range r.birth.Plan.Subs {
		for _, o := range s.Outputs {
			if !o.Internal {
				needs[o.Topic] = append(needs[o.Topic], write, watch)
			}
		}
	}
	return needs
}

func (r *rights) topics(ctx context.Context) processor.CheckResult {
	result := processor.CheckResult{Name: "topics"}
	needs := r.needs()
	var names []string
	for topic := range needs {
		names = append(names, topic)
	}
	slices.Sort(names)
	found, err := kadm.NewClient(r.client).ListTopics(kadm.WithAuthorizedOps(ctx), names...)
	if err != nil {
		result.Err = fmt.Errorf("look up topics: %w", err)
		return result
	}
	var errs []error
	told := 0
	for _, topic := range names {
		t, ok := found[topic]
		switch {
		case !ok || errors.Is(t.Err, kerr.UnknownTopicOrPartition):
			errs = append(errs, cli.Hint(fmt.Errorf("topic %s is missing", topic), "put it back with its content, or start under a new application name"))
		case errors.Is(t.Err, kerr.TopicAuthorizationFailed):
			errs = append(errs, missing("topic "+topic, needs[topic]))
		case t.Err != nil:
			errs = append(errs, fmt.Errorf("topic %s: %w", topic, t.Err))
		case len(t.AuthorizedOperations) > 0:
			told++
			errs = append(errs, lacking("topic "+topic, needs[topic], t.AuthorizedOperations))
		}
	}
	result.Err = errors.Join(errs...)
	result.Detail = fmt.Sprintf("%d, rights in %d of them told by the brokers", len(names), told)
	return result
}

func (r *rights) group(ctx context.Context) processor.CheckResult {
	result := processor.CheckResult{Name: "group", Detail: r.names.Group()}
	needs := []kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationDescribe}
	groups, err := kadm.NewClient(r.client).DescribeGroups(ctx, r.names.Group())
	if err != nil {
		result.Err = fmt.Errorf("describe group %s: %w", r.names.Group(), err)
		return result
	}
	g := groups[r.names.Group()]
	switch {
	case errors.Is(g.Err, kerr.GroupAuthorizationFailed):
		result.Err = missing("group "+r.names.Group(), needs)
	case errors.Is(g.Err, kerr.GroupIDNotFound):
	case g.Err != nil:
		result.Err = fmt.Errorf("describe group %s: %w", r.names.Group(), g.Err)
	case len(g.AuthorizedOperations) > 0:
		result.Err = lacking("group "+r.names.Group(), needs, g.AuthorizedOperations)
	}
	result.Detail += " " + strings.ToLower(g.State)
	return result
}

// transactions asks for one: brokers tell no rights in transactional ids, but refuse.
func (r *rights) transactions(ctx context.Context) processor.CheckResult {
	result := processor.CheckResult{Name: "transactions", Detail: r.names.TxnPrefix() + "*"}
	id := r.names.BirthTransactionalID()
	described, err := kadm.NewClient(r.client).DescribeTransactions(ctx, id)
	if err == nil {
		err = described[id].Err
	}
	switch {
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		result.Err = missing("transactional ids "+r.names.Application+".*", []kmsg.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe})
	case errors.Is(err, kerr.TransactionalIDNotFound): // it expired, which is no harm
	case err != nil:
		result.Err = fmt.Errorf("describe transaction %s: %w", id, err)
	}
	return result
}

func lacking(where string, needs, has []kmsg.ACLOperation) error {
	var lacks []kmsg.ACLOperation
	for _, op := range needs {
		if !slices.Contains(has, op) {
			lacks = append(lacks, op)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return missing(where, lacks)
}

func missing(where string, ops []kmsg.ACLOperation) error {
	var names []string
	for _, op := range ops {
		if !slices.Contains(names, op.String()) {
			names = append(names, op.String())
		}
	}
	what := strings.Join(names, ", ")
	return cli.Hint(fmt.Errorf("%s: the user lacks %s", where, what), "allow it: kafka-acls --add --allow-principal User:... --operation %s, see weir doctor --help for all that is needed", names[0])
}
