package main

import (
	"os/exec"
	"testing"
)

func TestRestored(t *testing.T) {
	for _, c := range []struct {
		name, printed string
		records       int64
		seconds       float64
		fails         bool
	}{
		{"two tasks at once", `{"restored":5,"began_ms":2000,"ended_ms":2500}
{"restored":7,"began_ms":1500,"ended_ms":2250}
`, 12, 1, false},
		{"with the line of the end", `{"restored":0,"began_ms":2000,"ended_ms":2010}
{"records":9,"seconds":1}
`, 0, 0.01, false},
		{"none told of", `{"records":9,"seconds":1}` + "\n", 0, 0, true},
		{"killed in a line", `{"restored":5,"began_ms":2000,"ended_ms":2500}` + "\n" + `{"restor`, 0, 0, true},
	} {
		w := worker{cmd: exec.Command("worker")}
		_, _ = w.out.Write([]byte(c.printed))
		records, seconds, err := w.restored()
		if records != c.records || seconds != c.seconds || (err != nil) != c.fails {
			t.Errorf("%s: %d records in %g s, %v", c.name, records, seconds, err)
		}
	}
}
