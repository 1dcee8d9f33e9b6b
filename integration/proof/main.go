// Command proof runs the tests that docs/fault-tolerance.md names behind its promises, and
// prints each promise with their results. It is run at the top of the repository. The exit code is 1 if
// a test fails or is missing; one that was skipped, for lack of a Kafka, is told as such.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

const page = "docs/fault-tolerance.md"

func main() {
	ok, err := run(os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "proof:", err)
		os.Exit(3)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(out, progress io.Writer) (ok bool, err error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return false, err
	}
	places, err := find(".")
	if err != nil {
		return false, err
	}
	all := promises(string(text))
	byPlace := map[place][]string{}
	results := map[string]string{}
	for _, p := range all {
		for _, t := range p.tests {
			for _, at := range places[t] {
				if !slices.Contains(byPlace[at], t) {
					byPlace[at] = append(byPlace[at], t)
				}
			}
			if len(places[t]) == 0 {
				results[t] = "missing"
			}
		}
	}
	var order []place
	for at := range byPlace {
		order = append(order, at)
	}
	slices.SortFunc(order, func(a, b place) int { return strings.Compare(a.pkg+a.tags, b.pkg+b.tags) })
	for _, at := range order {
		fmt.Fprintf(progress, "%s: %s\n", at.pkg, strings.Join(byPlace[at], " "))
		test(at, byPlace[at], results, progress)
	}
	return show(out, all, results), nil
}

// test runs some tests of one package.
func test(at place, names []string, results map[string]string, progress io.Writer) {
	args := []string{"test", "-json", "-count=1", "-timeout", "20m", "-run", "^(" + strings.Join(names, "|") + ")$"}
	if at.tags != "" {
		args = append(args, "-tags", at.tags)
	}
	var failed bytes.Buffer
	cmd := exec.Command("go", append(args, at.pkg)...)
	cmd.Stderr = &failed
	here := map[string]string{}
	said, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		read(said, here, progress)
		err = cmd.Wait() // a failed test is one, too
	}
	for _, name := range names {
		if here[name] == "" { // it does not compile, or was not come to
			here[name] = "fail"
			fmt.Fprintf(progress, "%s of %s gave no result: %v\n%s", name, at.pkg, err, failed.String())
		}
		results[name] = worse(results[name], here[name])
	}
}

// worse is the result of a name that tests of several packages have.
func worse(a, b string) string {
	for _, r := range []string{"fail", "skip"} {
		if a == r || b == r {
			return r
		}
	}
	return b
}

// read takes the results out of what go test -json says, and tells them as they come; of a test that fails also what it
// has said.
func read(said io.Reader, results map[string]string, progress io.Writer) {
	lines := bufio.NewScanner(said)
	lines.Buffer(nil, 16<<20)
	output := map[string][]byte{} // of the tests that run
	for lines.Scan() {
		var e struct {
			Action, Test, Output string
			Elapsed              float64 // seconds
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		if e.Test == "" {
			if e.Action == "build-output" { // it does not compile
				fmt.Fprint(progress, e.Output)
			}
			continue
		}
		name, _, sub := strings.Cut(e.Test, "/")
		switch e.Action {
		case "output":
			output[name] = append(output[name], e.Output...)
		case "pass", "fail", "skip":
			if sub {
				continue
			}
			results[name] = e.Action
			fmt.Fprintf(progress, "  %s %s, %.1f s\n", e.Action, name, e.Elapsed)
			if e.Action == "fail" {
				_, _ = progress.Write(output[name])
			}
			delete(output, name)
		}
	}
}

// show prints the table and says whether nothing failed.
func show(out io.Writer, all []promise, results map[string]string) bool {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true}
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 1, WidthMax: 90, WidthMaxEnforcer: text.WrapSoft}})
	t.AppendHeader(table.Row{"promise", "test", "result"})
	count, section := map[string]int{}, ""
	for _, p := range all {
		if p.section != section {
			section = p.section
			t.AppendRow(table.Row{"", "", ""})
			t.AppendRow(table.Row{strings.ToUpper(section), "", ""})
		}
		for i, name := range p.tests {
			sentence := p.sentence
			if i > 0 {
				sentence = ""
			}
			t.AppendRow(table.Row{sentence, name, results[name]})
			count[results[name]]++
		}
	}
	t.Render()
	fmt.Fprintf(out, "\n%d promises; results: %d pass, %d skip, %d fail, %d missing\n", len(all), count["pass"], count["skip"], count["fail"], count["missing"])
	return count["fail"]+count["missing"] == 0
}
