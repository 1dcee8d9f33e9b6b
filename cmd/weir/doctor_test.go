package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/cli"
)

// Brokers that check rights: doctor names what the user lacks, and where.
func TestDoctorNamesMissingRights(t *testing.T) {
	ctx := testContext(t)
	allow := func(r kmsg.ACLResourceType, name string, ops ...kmsg.ACLOperation) (acls []kfake.ACL) {
		for _, op := range ops {
			acls = append(acls, kfake.ACL{Resource: r, Name: name, Pattern: kmsg.ACLResourcePatternTypePrefixed, Operation: op, Allow: true})
		}
		return acls
	}
	const topic, group = kmsg.ACLResourceTypeTopic, kmsg.ACLResourceTypeGroup
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "r"),
		kfake.User("PLAIN", "reader", "x", slices.Concat(
			allow(topic, "", kmsg.ACLOperationRead, kmsg.ACLOperationDescribe),
			allow(topic, "bench.", kmsg.ACLOperationDescribeConfigs),
			allow(group, "bench.", kmsg.ACLOperationDescribe),
		)...))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := c.ListenAddrs()[0]
	root := plain.Auth{User: "root", Pass: "r"}.AsMechanism()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b), kgo.SASL(root))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopics(ctx, 1, 1, nil, "in", "out"); err != nil {
		t.Fatal(err)
	}
	plan, err := workloadPlan("count", "bench", "in", "out", minRowBytes)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	err = processor.Run(running, plan, processor.Brokers(b), processor.SASL(root), processor.StateDir(t.TempDir()), processor.Lanes(1),
		processor.Events(&processor.Listener{TaskRestored: func(processor.RestoredInfo) { stop() }}))
	stop()
	if err != nil {
		t.Fatal(err)
	}

	args := []string{"doctor", "-b", b, "--application", "bench", "--sasl", "plain", "--sasl-user"}
	t.Setenv("WEIR_SASL_PASSWORD", "r")
	if code, stdout, stderr := weir(ctx, "", append(args, "root")...); code != cli.ExitDone {
		t.Errorf("as root: exit code %d\n%s%s", code, stdout, stderr)
	}
	t.Setenv("WEIR_SASL_PASSWORD", "x")
	code, stdout, stderr := weir(ctx, "", append(args, "reader", "--json")...)
	var r struct {
		Checks []struct {
			Name   string
			OK     bool
			Errors []string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != cli.ExitFound {
		t.Fatalf("as reader: exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
	said := ""
	for _, c := range r.Checks {
		said += strings.Join(c.Errors, "\n") + "\n"
	}
	for _, s := range []string{
		"topic bench.1.counts.changelog: the user lacks WRITE, DELETE", "topic bench.control: the user lacks WRITE", "topic out: the user lacks WRITE",
		"group bench.1: the user lacks READ", "transactional ids bench.*: the user lacks WRITE, DESCRIBE",
	} {
		if !strings.Contains(said, s+"\n") {
			t.Errorf("not said: %s; but\n%s", s, said)
		}
	}
	if strings.Contains(said, "topic in") {
		t.Errorf("the source may be read:\n%s", said)
	}

	t.Setenv("WEIR_SASL_PASSWORD", "wrong")
	if code, stdout, _ := weir(ctx, "", append(args, "reader")...); code != cli.ExitCould || !strings.Contains(stdout, "do: check ") {
		t.Errorf("wrong password: exit code %d\n%s", code, stdout)
	}
}
