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

// compare shows both sides line by line, with as few changes as there can be: "-" is
// missing, "+" is too much.
func compare(t testing.TB, topic string, got, want []item) {
	t.Helper()
	if slices.EqualFunc(got, want, item.equal) {
		return
	}
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
	var b strings.Builder
	for i, j := 0, 0; i < len(got) || j < len(want); {
		switch {
		case i < len(got) && j < len(want) && got[i].equal(want[j]):
			fmt.Fprintf(&b, "\n  %s", got[i].text)
			i, j = i+1, j+1
		case j < len(want) && (i == len(got) || same[i][j+1] >= same[i+1][j]):
			fmt.Fprintf(&b, "\n- %s", want[j].text)
			j++
		default:
			fmt.Fprintf(&b, "\n+ %s", got[i].text)
			i++
		}
	}
	t.Errorf("topologytest: output of %s (- wanted, + got):%s", topic, b.String())
}
