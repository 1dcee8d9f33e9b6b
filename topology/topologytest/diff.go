package topologytest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// item is a record of an output as it is compared and shown.
type item struct {
	text       string
	decoded    [2]any // key and value
	key, value []byte
}

// equal holds for what has the same bytes, and for what decodes to the same: a codec may
// write one value in several ways, as those of maps do.
func (a item) equal(b item) bool {
	return bytes.Equal(a.key, b.key) && bytes.Equal(a.value, b.value) && (a.value == nil) == (b.value == nil) ||
		reflect.DeepEqual(a.decoded, b.decoded)
}

func byText(a, b item) int {
	return cmp.Or(strings.Compare(a.text, b.text), bytes.Compare(a.value, b.value))
}

func line(key, value any) string { return show(key) + " = " + show(value) }

// show is a value for people: nothing in it is an address.
func show(v any) string {
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer && !r.IsNil() {
		r = r.Elem()
	}
	if !r.IsValid() || r.Kind() == reflect.Pointer {
		return "null"
	}
	v = r.Interface()
	switch v := v.(type) {
	case []byte:
		return fmt.Sprintf("%q", v)
	case fmt.Stringer:
		return v.String()
	}
	switch r.Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Array:
		if b, err := json.Marshal(v); err == nil {
			return string(b)
		}
	}
	return fmt.Sprintf("%+v", v)
}

// maxPairs bounds what compare remembers to find the fewest changes; beyond, it goes line
// by line.
const maxPairs = 1 << 22

// compare shows both sides line by line, with as few changes as there can be: "-" is
// missing, "+" is too much.
func compare(t testing.TB, topic string, got, want []item) {
	t.Helper()
	if slices.EqualFunc(got, want, item.equal) {
		return
	}
	var l listing
	for len(got) > 0 && len(want) > 0 && got[0].equal(want[0]) {
		l.add("  ", got[0])
		got, want = got[1:], want[1:]
	}
	var tail []item
	for len(got) > 0 && len(want) > 0 && got[len(got)-1].equal(want[len(want)-1]) {
		tail = append(tail, got[len(got)-1])
		got, want = got[:len(got)-1], want[:len(want)-1]
	}
	slices.Reverse(tail)
	if len(got)*len(want) > maxPairs {
		l.byLine(got, want)
	} else {
		l.byFewest(got, want)
	}
	for _, i := range tail {
		l.add("  ", i)
	}
	t.Errorf("topologytest: output of %s (- wanted, + got):%s", topic, l)
}

// listing is what compare shows: lines that begin with "- ", "+ " or two spaces.
type listing []string

func (l *listing) add(sign string, i item) { *l = append(*l, sign+i.text) }

func (l *listing) byLine(got, want []item) {
	for i := range max(len(got), len(want)) {
		if i < len(got) && i < len(want) && got[i].equal(want[i]) {
			l.add("  ", got[i])
			continue
		}
		if i < len(want) {
			l.add("- ", want[i])
		}
		if i < len(got) {
			l.add("+ ", got[i])
		}
	}
}

func (l *listing) byFewest(got, want []item) {
	// same[i][j] is how many lines of got[i:] and want[j:] can be kept.
	same := make([][]int, len(got)+1)
	for i := range same {
		same[i] = make([]int, len(want)+1)
	}
	for i := len(got) - 1; i >= 0; i-- {
		for j := len(want) - 1; j >= 0; j-- {
			if same[i][j] = max(same[i+1][j], same[i][j+1]); got[i].equal(want[j]) {
				same[i][j] = same[i+1][j+1] + 1
			}
		}
	}
	for i, j := 0, 0; i < len(got) || j < len(want); {
		switch {
		case i < len(got) && j < len(want) && got[i].equal(want[j]):
			l.add("  ", got[i])
			i, j = i+1, j+1
		case j < len(want) && (i == len(got) || same[i][j+1] >= same[i+1][j]):
			l.add("- ", want[j])
			j++
		default:
			l.add("+ ", got[i])
			i++
		}
	}
}

// around is how many equal lines are shown beside a change.
const around = 3

// String is the lines, with long runs of equal ones left out.
func (l listing) String() string {
	var b strings.Builder
	for i := 0; i < len(l); {
		n := 0 // equal lines from here
		for i+n < len(l) && l[i+n][0] == ' ' {
			n++
		}
		head, tail := around, around // after the change before, before the change behind
		if i == 0 {
			head = 0
		}
		if i+n == len(l) {
			tail = 0
		}
		if n > head+tail+1 {
			b.WriteString(lines(l[i : i+head]))
			fmt.Fprintf(&b, "\n  ... %d equal", n-head-tail)
			b.WriteString(lines(l[i+n-tail : i+n]))
		} else {
			b.WriteString(lines(l[i : i+n]))
		}
		if i += n; i < len(l) {
			b.WriteString(lines(l[i : i+1]))
			i++
		}
	}
	return b.String()
}

func lines(ls []string) string {
	if len(ls) == 0 {
		return ""
	}
	return "\n" + strings.Join(ls, "\n")
}
