package offsets

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	n := Names{Application: "word-count", Timeline: 3}
	for _, tt := range [][2]string{
		{n.Changelog("counts"), "word-count.3.counts.changelog"},
		{n.Repartition("by-word"), "word-count.3.by-word.repartition"},
		{n.Control(), "word-count.control"},
		{n.Acks(), "word-count.3.acks"},
		{n.Epochs(), "word-count.3.epochs"},
		{n.Group(), "word-count.3"},
		{n.TransactionalID("pod-0", 12), "word-count.3.pod-0.12"},
		{n.TxnPrefix(), "word-count.3."},
		{n.BirthTransactionalID(), "word-count.birth"},
		{n.GroupInstance("pod-0", 12), "pod-0.12"},
	} {
		if tt[0] != tt[1] {
			t.Errorf("got %s, want %s", tt[0], tt[1])
		}
	}
	longest := strings.Repeat("x", MaxName)
	if l := len(Names{longest, 1<<32 - 1}.Repartition(longest)); l > 249 {
		t.Errorf("the longest topic name has %d characters, Kafka takes 249", l)
	}
}

func TestParseTransactionalID(t *testing.T) {
	n := Names{Application: "app", Timeline: 3}
	for _, id := range []string{"", "app", "app.birth", "app.3", "app.3.", "app.3.pod", "app.3.pod.", "app.3.pod.x", "app.3.pod.01", "app.3.pod.0.1", "app.03.pod.1",
		"app.4294967296.pod.1", "app-2.3.pod.1", "app.3..1", "app.3.Pod.1", "app.3.pod.-1", "app.3.pod.+1"} {
		if timeline, instance, lane, ok := n.ParseTransactionalID(id); ok {
			t.Errorf("%q is read as %d %s %d", id, timeline, instance, lane)
		}
	}
	for _, other := range []Names{n, {"app", 0}, {"app", 1<<32 - 1}} {
		timeline, instance, lane, ok := n.ParseTransactionalID(other.TransactionalID("pod-1", 7))
		if timeline != other.Timeline || instance != "pod-1" || lane != 7 || !ok {
			t.Errorf("%s is read as %d %s %d %v", other.TransactionalID("pod-1", 7), timeline, instance, lane, ok)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "0", "word-count", "-", strings.Repeat("z", MaxName)} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a.b", "A", "a_b", "ä", "a b", "a\x00", strings.Repeat("z", MaxName+1)} {
		if err := CheckName(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestParseTask(t *testing.T) {
	for _, task := range []Task{{}, {0, 3}, {12, 1<<31 - 1}} {
		if got, err := ParseTask(task.String()); err != nil || got != task {
			t.Errorf("%s is read as %s, %v", task, got, err)
		}
	}
	for _, bad := range []string{"", "-", "1", "1-", "-1", "1-2-3", "01-2", "1-+2", "1-2147483648", "--1"} {
		if got, err := ParseTask(bad); err == nil {
			t.Errorf("%q is read as %s", bad, got)
		}
	}
	if (Task{1, 5}).Compare(Task{2, 0}) >= 0 || (Task{1, 5}).Compare(Task{1, 4}) <= 0 || (Task{1, 5}).Compare(Task{1, 5}) != 0 {
		t.Error("tasks are ordered by sub-topology, then partition")
	}
}

func TestEpochIDString(t *testing.T) {
	if got := (EpochID{7, 1001, 3}).String(); got != "c7.p1001.e3" {
		t.Error(got)
	}
	if got := (EpochID{}).String(); got != "birth" {
		t.Error(got)
	}
}
