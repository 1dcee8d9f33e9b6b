package main

import (
	"encoding/csv"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-stream/weir/processor/cli"
	"github.com/weir-stream/weir/processor/state"
)

// What lies in savepoints and checkpoints, by the command, without a broker.
func TestState(t *testing.T) {
	ctx := testContext(t)
	const kept = "../../processor/testdata/savepoint-v1/"
	manifests, err := filepath.Glob(kept + "checkpoint/manifests/*")
	if err != nil || len(manifests) != 1 {
		t.Fatal(manifests, err)
	}
	native, portable, checkpoint := kept+"native", kept+"portable", manifests[0]
	run := func(want int, says string, args ...string) string {
		t.Helper()
		code, stdout, stderr := weir(ctx, "", append([]string{"state"}, args...)...)
		if code != want || !strings.Contains(stdout+stderr, says) {
			t.Fatalf("weir state %s: exit code %d, want %d and %q\n%s%s", strings.Join(args, " "), code, want, says, stdout, stderr)
		}
		return stdout
	}
	lines := func(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }

	all := lines(run(cli.ExitDone, `{"store":"accounts","task":"0-0","key":"customer-03","value":{"owner":"customer-03","cents":1668,"last":"1000"}}`, "export", native))
	for _, l := range all {
		var r state.Row
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			t.Errorf("%v: %s", err, l)
		}
	}
	table, err := csv.NewReader(strings.NewReader(run(cli.ExitDone, "", "export", native, "--format", "csv"))).ReadAll()
	if err != nil || len(table) != len(all)+1 {
		t.Errorf("%v, %d lines of CSV, %d of JSON", err, len(table), len(all))
	}
	if one := lines(run(cli.ExitDone, "customer-09", "export", native, "--store", "accounts", "--task", "0-1")); len(one) >= len(all) {
		t.Errorf("%d of %d rows are of one store and task", len(one), len(all))
	}
	run(cli.ExitDone, `"repartition":"by-bucket"`, "export", portable, "--in-flight")
	run(cli.ExitDone, "repartition,partition,task", "export", portable, "--in-flight", "--format", "csv")

	run(cli.ExitDone, "0-0   customer-03  {", "get", native, "customer-03", "--store", "accounts")
	run(cli.ExitDone, "[2026-01-01T00:00:00Z, 2026-01-01T00:00:01Z)  bucket-1", "get", native, "bucket-1", "--store", "windows")
	run(cli.ExitDone, `"value": 600`, "get", checkpoint, "6275636b65742d31", "--hex", "--store", "buckets", "--json")
	if none := run(cli.ExitFound, "no row of key bucket-9", "get", checkpoint, "bucket-9", "--store", "buckets", "--json"); strings.TrimSpace(none) != "[]" {
		t.Errorf("%s", none)
	}

	run(cli.ExitDone, "accounts      0        0        0    12", "diff", native, native)
	run(cli.ExitFound, "~ buckets 1-1 bucket-1: 8 -> 600", "diff", native, checkpoint)
	if brief := run(cli.ExitFound, "accounts", "diff", native, portable, "--brief"); strings.Contains(brief, "~") {
		t.Errorf("%s", brief)
	}
	last := lines(run(cli.ExitFound, `{"op":"changed","store":"buckets","task":"1-0","key":"bucket-0","before":7,"after":17}`, "diff", native, portable, "--store", "buckets", "--json"))
	var sum struct{ Summary []state.Summary }
	if err := json.Unmarshal([]byte(last[len(last)-1]), &sum); err != nil || len(sum.Summary) != 1 || sum.Summary[0].Changed != 5 {
		t.Errorf("%v: %s", err, last)
	}

	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{cli.ExitCould, "one directory further down", []string{"export", kept}},
		{cli.ExitCould, "name one of accounts, buckets, windows", []string{"export", native, "--store", "nope"}},
		{cli.ExitCould, "name one of 0-0, 0-1", []string{"export", native, "--store", "accounts", "--task", "7-7"}},
		{cli.ExitCould, "name one of accounts, buckets, windows", []string{"get", native, "bucket-1"}},
		{cli.ExitCould, "hex digits", []string{"get", native, "zz", "--hex", "--store", "accounts"}},
		{cli.ExitCould, "take a savepoint", []string{"export", checkpoint, "--in-flight"}},
		{cli.ExitCould, "name one of by-bucket", []string{"export", portable, "--in-flight", "--store", "x"}},
		{cli.ExitCould, "name one of accounts, buckets, windows", []string{"diff", native, portable, "--store", "x"}},
		{cli.ExitUsage, "ndjson, csv", []string{"export", native, "--format", "xml"}},
		{cli.ExitUsage, "--task", []string{"export", native, "--in-flight", "--task", "0-0"}},
	} {
		run(c.code, c.says, c.args...)
	}
}
