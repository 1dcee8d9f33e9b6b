package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/weir-stream/weir/processor/cli"
)

// format turns keys and values to text and back.
type format struct {
	show func([]byte) string
	read func(string) ([]byte, error)
}

const formatNames = "string, hex, int64, json or windowed"

// formats are what send and tail know. A windowed key is shown as key@start/length.
var formats = map[string]format{
	"string": {
		show: func(b []byte) string { return string(b) },
		read: func(s string) ([]byte, error) { return []byte(s), nil },
	},
	"hex": {show: hex.EncodeToString, read: hex.DecodeString},
	"int64": {
		show: func(b []byte) string {
			if len(b) != 8 {
				return "not int64: " + hex.EncodeToString(b)
			}
			return strconv.FormatInt(int64(binary.BigEndian.Uint64(b)), 10)
		},
		read: func(s string) ([]byte, error) {
			n, err := strconv.ParseInt(s, 10, 64)
			return binary.BigEndian.AppendUint64(nil, uint64(n)), err
		},
	},
	"json": {
		show: func(b []byte) string {
			var out bytes.Buffer
			if json.Compact(&out, b) != nil {
				return "not JSON: " + strconv.Quote(string(b))
			}
			return out.String()
		},
		read: func(s string) ([]byte, error) {
			if !json.Valid([]byte(s)) {
				return nil, fmt.Errorf("not JSON: %.80q", s)
			}
			return []byte(s), nil
		},
	},
	"windowed": {
		show: func(b []byte) string {
			n := len(b) - 16
			if n < 0 {
				return "not windowed: " + hex.EncodeToString(b)
			}
			start, end := int64(binary.BigEndian.Uint64(b[n:])), int64(binary.BigEndian.Uint64(b[n+8:]))
			return fmt.Sprintf("%s@%s/%s", b[:n], time.UnixMilli(start).UTC().Format("2006-01-02T15:04:05.999Z"), time.Duration(end-start)*time.Millisecond)
		},
	},
}

func formatOf(flag, name string) (format, error) {
	f, ok := formats[name]
	if !ok {
		return f, cli.Usagef("--%s %q: known are %s", flag, name, formatNames)
	}
	return f, nil
}

// text shows null as itself.
func (f format) text(b []byte) string {
	if b == nil {
		return "null"
	}
	return f.show(b)
}

// json gives what fits best into a JSON document.
func (f format) json(b []byte, name string) any {
	if b == nil {
		return nil
	}
	s := f.show(b)
	switch name {
	case "int64":
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n
		}
	case "json":
		if json.Valid(b) {
			return json.RawMessage(s)
		}
	}
	return s
}
