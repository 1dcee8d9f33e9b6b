package processor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-stream/weir/topology"
)

// reachTimeout bounds the first talk with the brokers.
const reachTimeout = 15 * time.Second

// transactionVersion is the one under which a delayed end of a transaction cannot end the
// next one (KIP-890 part 2, Kafka 4.0).
const transactionVersion = 2

// checkBrokers refuses brokers that cannot be reached, or on which the guarantee or the
// timeouts do not hold.
func checkBrokers(ctx context.Context, cfg *config, cl *kgo.Client) error {
	for _, r := range checkResults(ctx, cfg, cl) {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// CheckResult is one thing that Check looked at.
type CheckResult struct {
	Name   string
	Detail string
	Err    error // nil: fine
}

// Check looks at what a worker needs, and changes nothing: brokers, versions, timeouts and,
// with a plan, its topics and what it was born with. The error is for what prevents
// looking; findings are in the results.
func Check(ctx context.Context, plan *topology.Plan, opts ...Option) (results []CheckResult, err error) {
	cfg, err := newConfig(plan, opts...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cfg.close()) }()
	cl, err := cfg.client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	out := checkResults(ctx, cfg, cl)
	if plan == nil || out[0].Err != nil {
		return out, nil
	}
	state, err := readControl(ctx, cfg, plan.Application(), true)
	if err != nil {
		return append(out, CheckResult{Name: "control topic", Err: err}), nil
	}
	born, ok := state.Newest()
	if !ok {
		a := newApplication(cfg, plan, state.Next())
		return append(out, CheckResult{Name: "topics", Detail: "application not born yet: the first start creates its topics", Err: a.measure(ctx, cl)}), nil
	}
	a := newApplication(cfg, plan, born.Timeline)
	return append(out, CheckResult{Name: "plan and topics", Detail: fmt.Sprintf("born on timeline %d", born.Timeline), Err: a.compare(ctx, cl, born)}), nil
}

// checkResults begins with reachability; when that fails there is nothing else.
func checkResults(ctx context.Context, cfg *config, cl *kgo.Client) []CheckResult {
	reach, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	versions, err := kadm.NewClient(cl).ApiVersions(reach)
	if err == nil && len(versions) == 0 {
		err = fmt.Errorf("no broker in the answer")
	}
	if err == nil {
		for _, v := range versions {
			if v.Err != nil {
				err = v.Err
			}
		}
	}
	if err != nil {
		return []CheckResult{{Name: "brokers", Err: unreachable(cfg.brokers, err)}}
	}
	out := []CheckResult{{Name: "brokers", Detail: fmt.Sprintf("%d reachable", len(versions))}}
	out = append(out, checkTransactionVersion(reach, cfg, cl))
	return append(out, checkTimeouts(reach, cfg, cl)...)
}

func checkTransactionVersion(ctx context.Context, cfg *config, cl *kgo.Client) CheckResult {
	r := CheckResult{Name: "transaction.version"}
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, cl)
	if err != nil {
		r.Err = unreachable(cfg.brokers, err)
		return r
	}
	level := int16(0)
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			level = f.MaxVersionLevel
		}
	}
	r.Detail = strconv.Itoa(int(level))
	if level < transactionVersion && !cfg.allowOldBrokers {
		r.Err = &Error{What: fmt.Sprintf("transaction.version is %d, must be %d: a delayed end of one transaction could end the next", level, transactionVersion),
			Where: fmt.Sprintf("brokers %v", cfg.brokers), Err: ErrBroker,
			Fix: "upgrade to Kafka 4.0 and run kafka-features upgrade --feature transaction.version=2, or accept the risk with AllowOldBrokers"}
	}
	return r
}

// checkTimeouts compares with the brokers' limits where they let us see them.
func checkTimeouts(ctx context.Context, cfg *config, cl *kgo.Client) []CheckResult {
	r := CheckResult{Name: "timeouts"}
	adm := kadm.NewClient(cl)
	brokers, err := adm.ListBrokers(ctx)
	if err != nil {
		r.Err = unreachable(cfg.brokers, err)
		return []CheckResult{r}
	}
	configs, err := adm.DescribeBrokerConfigs(ctx, brokers.NodeIDs()...)
	if err != nil {
		r.Detail = "not allowed to see the brokers' settings: not checked"
		return []CheckResult{r}
	}
	limit := map[string]time.Duration{}
	for _, rc := range configs {
		for _, c := range rc.Configs {
			if c.Value == nil {
				continue
			}
			if ms, err := strconv.ParseInt(*c.Value, 10, 64); err == nil {
				limit[c.Key] = time.Duration(ms) * time.Millisecond
			}
		}
	}
	refuse := func(what, fix string) {
		r.Err = &Error{What: what, Where: fmt.Sprintf("brokers %v", cfg.brokers), Err: ErrBroker, Fix: fix}
	}
	if d, ok := limit["transaction.max.timeout.ms"]; ok && cfg.transactionTimeout > d {
		refuse(fmt.Sprintf("TransactionTimeout %s is above the brokers' transaction.max.timeout.ms %s", cfg.transactionTimeout, d), "lower TransactionTimeout")
	}
	if d, ok := limit["group.min.session.timeout.ms"]; ok && cfg.sessionTimeout < d {
		refuse(fmt.Sprintf("SessionTimeout %s is below the brokers' group.min.session.timeout.ms %s", cfg.sessionTimeout, d), "raise SessionTimeout")
	}
	if d, ok := limit["group.max.session.timeout.ms"]; ok && cfg.sessionTimeout > d {
		refuse(fmt.Sprintf("SessionTimeout %s is above the brokers' group.max.session.timeout.ms %s", cfg.sessionTimeout, d), "lower SessionTimeout")
	}
	r.Detail = fmt.Sprintf("session %s, transaction %s", cfg.sessionTimeout, cfg.transactionTimeout)
	return []CheckResult{r}
}
