package main

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestPromises(t *testing.T) {
	got := promises("# Page\n\nNo promise (`x`).\n\n## One\n\nA thing. It holds,\nalways (`TestA`). More (`TestB`,\n`TestC`).\n\n## Two\n\n- **First** thing (`TestA`).\n- Second; third (`TestD`).\n")
	want := []promise{
		{"One", "It holds, always", []string{"TestA"}}, {"One", "More", []string{"TestB", "TestC"}},
		{"Two", "First thing", []string{"TestA"}}, {"Two", "Second; third", []string{"TestD"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Every promise of the page names tests that exist; a section without a promise explains.
func TestThePageNamesTests(t *testing.T) {
	text, err := os.ReadFile("../../" + page)
	if err != nil {
		t.Fatal(err)
	}
	all := promises(string(text))
	places, err := find("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, tags := range map[string]string{"TestPlantedMistakesOfCuts": "synctests,failpoints", "TestVirtualFaults": "synctests,failpoints", "TestModel": ""} {
		if at := places[name]; len(at) != 1 || at[0].tags != tags {
			t.Errorf("%s is at %v, want it with tags %q", name, at, tags)
		}
	}
	if names := missing(all, places); len(names) > 0 {
		t.Errorf("%s names tests that are nowhere: %v", page, names)
	}
	named := len(testName.FindAllString(string(text), -1))
	counted, sections := 0, map[string]bool{}
	for _, p := range all {
		counted += len(p.tests)
		sections[p.section] = true
		if len(p.sentence) < 20 {
			t.Errorf("%q is no sentence, of %v", p.sentence, p.tests)
		}
	}
	if counted != named {
		t.Errorf("%d tests are named, %d of them behind a promise", named, counted)
	}
	for _, s := range []string{"Distributed snapshots", "Checkpoints", "Configuration", "Unaligned checkpoints", "State storage", "Savepoints", "Going back", "Operator ids", "Restart strategies", "Failover strategies"} {
		if !sections[s] {
			t.Errorf("section %q promises nothing", s)
		}
	}
}

func TestResults(t *testing.T) {
	results, told := map[string]string{}, &bytes.Buffer{}
	read(strings.NewReader(`{"Action":"run","Test":"TestA"}
not JSON
{"Action":"output","Test":"TestA","Output":"all is well\n"}
{"Action":"fail","Test":"TestA/sub"}
{"Action":"pass","Test":"TestA","Elapsed":1.25}
{"Action":"skip","Test":"TestB"}
{"Action":"output","Test":"TestC/sub","Output":"it is wrong\n"}
{"Action":"fail","Test":"TestC"}
{"Action":"fail"}
{"Action":"build-output","Output":"undefined: x\n"}
`), results, told)
	if want := "  pass TestA, 1.2 s\n  skip TestB, 0.0 s\n  fail TestC, 0.0 s\nit is wrong\nundefined: x\n"; told.String() != want {
		t.Errorf("told is %q, want %q", told, want)
	}
	if want := map[string]string{"TestA": "pass", "TestB": "skip", "TestC": "fail"}; !reflect.DeepEqual(results, want) {
		t.Errorf("%v, want %v", results, want)
	}
	if worse("", "pass") != "pass" || worse("skip", "pass") != "skip" || worse("pass", "fail") != "fail" || worse("fail", "skip") != "fail" {
		t.Error("of several results the worst counts")
	}
	var out bytes.Buffer
	all := []promise{{"One", "It holds", []string{"TestA", "TestB"}}}
	if !show(&out, all, results) || !strings.Contains(out.String(), "1 promises; results: 1 pass, 1 skip, 0 fail, 0 missing") {
		t.Errorf("%s", out.String())
	}
	if show(&out, append(all, promise{"Two", "It does not", []string{"TestC"}}), results) {
		t.Error("a failure is none")
	}
	results["TestD"] = "missing"
	if show(&out, append(all, promise{"Two", "Nobody knows", []string{"TestD"}}), results) {
		t.Error("a missing test is none")
	}
}
