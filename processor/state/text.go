package state

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-stream/weir/topology"
	"github.com/weir-stream/weir/topology/avro"
	"github.com/weir-stream/weir/topology/codec"
	"github.com/weir-stream/weir/topology/task"
)

// Row is one of a store. Key and Value are JSON.
type Row struct {
	Store  string          `json:"store"`
	Task   string          `json:"task"`
	Window *Window         `json:"window,omitempty"`
	Key    json.RawMessage `json:"key"`
	Value  json.RawMessage `json:"value"`
}

// Window is that of a row of a window store. End is exclusive, and zero where the plan does not say how long windows are.
type Window struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end,omitzero"`
}

// String is the interval.
func (w *Window) String() string {
	const form = "2006-01-02T15:04:05.999Z"
	if w.End.IsZero() {
		return "[" + w.Start.Format(form) + ", ...)"
	}
	return "[" + w.Start.Format(form) + ", " + w.End.Format(form) + ")"
}

// text turns what a codec wrote into JSON, and a word of a command line into what the codec writes.
type text struct {
	json  func([]byte) ([]byte, error)
	parse func(string) ([]byte, error)
}

var (
	errCodec = errors.New("its codec is the program's own")
	errUTF8  = errors.New("not UTF-8")
)

// textOf knows the codecs of packages codec, avro and topology.
func textOf(name, schema string) (text, error) {
	switch name {
	case "string":
		return text{quoted, func(s string) ([]byte, error) { return []byte(s), nil }}, nil
	case "int64":
		return decoded(codec.Int64, func(n int64) any { return n }, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }), nil
	case "float64":
		return decoded(codec.Float64, number, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }), nil
	case "bool":
		return decoded(codec.Bool, func(b bool) any { return b }, strconv.ParseBool), nil
	case "time":
		return decoded(codec.Time, func(t time.Time) any { return t }, func(s string) (time.Time, error) { return time.Parse(time.RFC3339, s) }), nil
	case "uuid":
		return decoded(codec.UUID, func(u [16]byte) any { return uuid(u) }, parseUUID), nil
	case "none":
		return text{func([]byte) ([]byte, error) { return []byte("null"), nil }, nil}, nil
	case "json":
		return text{compact, func(s string) ([]byte, error) { return compact([]byte(s)) }}, nil
	case "avro":
		if schema == "" {
			break // written before schemas were
		}
		t, err := avro.NewText(schema)
		if err != nil {
			return text{}, err
		}
		return text{t.JSON, func(s string) ([]byte, error) {
			if b, err := t.Binary([]byte(s)); err == nil || strings.HasPrefix(s, `"`) {
				return b, err
			}
			return t.Binary([]byte(strconv.Quote(s)))
		}}, nil
	}
	if inner, ok := strings.CutPrefix(name, "nullable "); ok {
		return textOf(inner, schema)
	}
	if inner, ok := strings.CutPrefix(name, "windowed "); ok {
		t, err := textOf(inner, schema)
		return text{windowed(t), nil}, err
	}
	return text{func([]byte) ([]byte, error) { return nil, errCodec }, nil}, nil
}

// decoded is for codecs whose values JSON has a form for.
func decoded[T any](c codec.Codec[T], show func(T) any, parse func(string) (T, error)) text {
	return text{
		func(b []byte) ([]byte, error) {
			v, err := c.Decode(b)
			if err != nil {
				return nil, err
			}
			return json.Marshal(show(v))
		},
		func(s string) ([]byte, error) {
			v, err := parse(s)
			if err != nil {
				return nil, err
			}
			return c.Append(nil, v)
		},
	}
}

// show gives JSON in any case.
func (t text) show(b []byte) json.RawMessage {
	if b == nil {
		return json.RawMessage("null")
	}
	out, err := t.json(b)
	if err != nil {
		return json.RawMessage(`{"hex":"` + hex.EncodeToString(b) + `"}`)
	}
	return out
}

func quoted(b []byte) ([]byte, error) {
	if !utf8.Valid(b) {
		return nil, errUTF8
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(string(b))
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

func compact(b []byte) ([]byte, error) {
	var out bytes.Buffer
	err := json.Compact(&out, b)
	return out.Bytes(), err
}

// number is a float64, those that JSON does not have as strings.
func number(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return f
}

func uuid(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func parseUUID(s string) (u [16]byte, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(u) {
		return u, errors.New("no uuid")
	}
	return [16]byte(b), nil
}

// windowed is the key of a windowed result.
func windowed(key text) func([]byte) ([]byte, error) {
	c := topology.WindowedKey(codec.Bytes)
	return func(b []byte) ([]byte, error) {
		w, err := c.Decode(b)
		if err != nil {
			return nil, err
		}
		return json.Marshal(struct {
			Key json.RawMessage `json:"key"`
			Window
		}{key.show(w.Key), Window{w.Start, w.End}})
	}
}

// rowText reads the rows of a store.
type rowText struct {
	kind       string
	size       time.Duration
	key, value text
	codec      string // of keys
}

func newRowText(of Store) (rowText, error) {
	t := rowText{kind: of.Kind, size: time.Duration(of.WindowMS) * time.Millisecond, codec: of.Key}
	var err error
	if t.key, err = textOf(of.Key, of.KeySchema); err != nil {
		return t, fmt.Errorf("keys: %w", err)
	}
	if t.value, err = textOf(of.Value, of.ValueSchema); err != nil {
		return t, fmt.Errorf("values: %w", err)
	}
	return t, nil
}

// split takes the key of a row apart. It is false for rows that are the task's own.
func (t rowText) split(row []byte) (start int64, key []byte, mine bool) {
	if t.kind == task.StoreWindow {
		return task.ParseWindowRow(row)
	}
	key, mine = task.ParseKeyedRow(row)
	return 0, key, mine
}

func (t rowText) row(row, value []byte) (r Row, mine bool) {
	start, key, mine := t.split(row)
	if !mine {
		return r, false
	}
	if t.kind == task.StoreWindow {
		r.Window = &Window{Start: time.UnixMilli(start).UTC()}
		if t.size > 0 {
			r.Window.End = r.Window.Start.Add(t.size)
		}
	}
	r.Key, r.Value = t.key.show(key), t.value.show(value)
	return r, true
}

func (t rowText) parseKey(s string, digits bool) ([]byte, error) {
	if digits {
		return hex.DecodeString(s)
	}
	if t.key.parse == nil {
		return nil, fmt.Errorf("the codec of keys, %s, is not known here", t.codec)
	}
	b, err := t.key.parse(s)
	if err != nil {
		return nil, fmt.Errorf("it is none of codec %s: %w", t.codec, err)
	}
	return b, nil
}
