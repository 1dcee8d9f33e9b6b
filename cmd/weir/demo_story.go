package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/weir-stream/weir/processor/cli"
)

// story tells what happens while it happens. On a terminal it has colours and one line
// that changes; elsewhere it is plain lines.
type story struct {
	w     io.Writer
	began time.Time
	live  bool // a terminal
	open  bool // the last line is one that changes
}

func newStory(w io.Writer) *story {
	return &story{w: w, began: time.Now(), live: cli.IsTerminal(w)}
}

func (s *story) paint(text string, code string) string {
	if !s.live || os.Getenv("NO_COLOR") != "" {
		return text
	}
	return "\033[" + code + "m" + text + "\033[0m"
}

const (
	bold  = "1"
	dim   = "2"
	red   = "1;31"
	green = "1;32"
)

func (s *story) title(format string, args ...any) {
	fmt.Fprintf(s.w, "%s\n\n", s.paint(fmt.Sprintf(format, args...), bold))
}

// say adds a line.
func (s *story) say(code, format string, args ...any) {
	if s.open {
		fmt.Fprint(s.w, "\r\033[K")
		s.open = false
	}
	fmt.Fprintf(s.w, "%s  %s\n", s.clock(), s.paint(fmt.Sprintf(format, args...), code))
}

// now shows a line that the next one replaces; on a terminal only.
func (s *story) now(format string, args ...any) {
	if s.live {
		fmt.Fprintf(s.w, "\r\033[K%s  %s", s.clock(), fmt.Sprintf(format, args...))
		s.open = true
	}
}

func (s *story) clock() string {
	return s.paint(fmt.Sprintf("%6.1f s", time.Since(s.began).Seconds()), dim)
}

// result is the table and the verdict.
func (s *story) result(o orders, v demoVerdict, r demoResult, wantHourly int64) {
	var cents int64
	for place := range o.customers {
		_, t := o.total(place)
		cents += t.Cents
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.Style().Options.DrawBorder = false
	t.Style().Options.SeparateColumns = false
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight, AlignHeader: text.AlignRight}, {Number: 3, Align: text.AlignRight, AlignHeader: text.AlignRight}})
	t.AppendHeader(table.Row{"", "expected", "committed"})
	t.AppendRows([]table.Row{
		{"orders counted", grouped(o.n), grouped(v.Counted)},
		{"customers with the right total", grouped(o.customers), grouped(v.Customers)},
		{"hours with the right sum", grouped(wantHourly), grouped(v.Hourly)},
		{"revenue", money(cents), money(v.Cents)},
	})
	fmt.Fprintf(s.w, "\n%s\n\n", t.Render())
	fmt.Fprintf(s.w, "%s orders in %.1f s: %s/s, %d kill, %d tasks restored after it\n", grouped(o.n), r.Seconds, grouped(int64(r.RecordsPerSecond)), r.Kills, r.Restores)
	line := fmt.Sprintf("exactly once: %s in, %s counted, %s lost, %s duplicated", grouped(o.n), grouped(v.Counted), grouped(v.Lost), grouped(v.Duplicated))
	if v.OK() {
		fmt.Fprintln(s.w, s.paint(line, green))
		return
	}
	fmt.Fprintln(s.w, s.paint("NOT "+line, red))
	fmt.Fprintln(s.w, "first:", v.First)
}

// grouped writes a number as 1,234,567.
func grouped(n int64) string {
	if n < 0 {
		return "-" + grouped(-n)
	}
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

func money(cents int64) string { return fmt.Sprintf("%s.%02d", grouped(cents/100), cents%100) }
