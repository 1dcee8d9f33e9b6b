package snapshot

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
)

// portable builds an object of lines of JSON: a header, entries, a footer.
type portable struct {
	compression Compression
	text        []byte
	buffer      []byte
	Counts
}

// footer is the last line.
type footer struct {
	Last bool `json:"last"`
	Counts
}

func newPortable(h header, buffer []byte) *portable {
	text, err := json.Marshal(h)
	if err != nil {
		panic(err) // a struct of numbers and strings
	}
	return &portable{compression: h.Compression, text: append(text, '\n'), buffer: buffer}
}

func appendBase64(dst, b []byte) []byte {
	if b == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (p *portable) row(key, value []byte, deleted bool) {
	p.text = appendBase64(append(p.text, `{"key":`...), notNil(key))
	if deleted {
		p.text = append(p.text, `,"deleted":true}`+"\n"...)
		p.Deletes++
	} else {
		p.text = appendBase64(append(p.text, `,"value":`...), notNil(value))
		p.text = append(p.text, "}\n"...)
	}
	p.Entries++
	p.Bytes += int64(len(key) + len(value))
}

func (p *portable) record(r *Record) {
	p.text = strconv.AppendInt(append(p.text, `{"offset":`...), r.Offset, 10)
	p.text = strconv.AppendInt(append(p.text, `,"timestamp":`...), r.Timestamp, 10)
	p.text = appendBase64(append(p.text, `,"key":`...), r.Key)
	p.text = appendBase64(append(p.text, `,"value":`...), r.Value)
	p.text = append(p.text, `,"headers":[`...)
	for i, h := range r.Headers {
		if i > 0 {
			p.text = append(p.text, ',')
		}
		p.text = appendBase64(append(p.text, `{"key":`...), notNil([]byte(h.Key)))
		p.text = appendBase64(append(p.text, `,"value":`...), h.Value)
		p.text = append(p.text, '}')
	}
	p.text = append(p.text, "]}\n"...)
	p.Entries++
	p.Bytes += int64(r.bytes())
}

func (p *portable) size() int { return len(p.text) }

func (p *portable) finish(last bool) ([]byte, Counts) {
	text, err := json.Marshal(footer{last, p.Counts})
	if err != nil {
		panic(err)
	}
	p.text = append(append(p.text, text...), '\n')
	if p.compression == Zstd {
		return compressor().EncodeAll(p.text, p.buffer[:0]), p.Counts
	}
	return p.text, p.Counts
}

// portableRow and portableRecord are lines; a missing field is a nil pointer.
type portableRow struct {
	Key     []byte  `json:"key"`
	Value   *[]byte `json:"value"`
	Deleted bool    `json:"deleted"`
}

type portableRecord struct {
	Offset    *int64 `json:"offset"`
	Timestamp *int64 `json:"timestamp"`
	Key       []byte `json:"key"`
	Value     []byte `json:"value"`
	Headers   []struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	} `json:"headers"`
}

// decodePortable reads and verifies all of an object; its rows are then those of a native one.
func decodePortable(file []byte, compressed bool) (*object, error) {
	text := file
	if compressed {
		var err error
		if text, err = decompressor().DecodeAll(file, nil); err != nil {
			return nil, damaged("decompress: %v", err)
		}
	}
	line, rest, ok := bytes.Cut(text, []byte{'\n'})
	if !ok {
		return nil, damaged("it has no header")
	}
	h, err := decodeHeader(line)
	if err != nil {
		return nil, err
	}
	o := &object{header: h}
	block, entries := make([]byte, 0, len(rest)*3/4), int64(0)
	for {
		if line, rest, ok = bytes.Cut(rest, []byte{'\n'}); !ok {
			return nil, damaged("it has no footer")
		}
		if len(rest) == 0 {
			break
		}
		if o.Content == Records {
			block, err = appendPortableRecord(block, line)
		} else {
			block, err = appendPortableRow(block, line)
		}
		if err != nil {
			return nil, damaged("line %d: %v", entries+2, err)
		}
		entries++
	}
	if entries > 0 {
		if err := o.add(block, entries); err != nil {
			return nil, err
		}
	}
	var foot footer
	if err := json.Unmarshal(line, &foot); err != nil {
		return nil, damaged("footer: %v", err)
	}
	if foot.Counts != o.Counts {
		return nil, damaged("it has %+v, its footer says %+v", o.Counts, foot.Counts)
	}
	o.last = foot.Last
	return o, nil
}

func appendPortableRow(block, line []byte) ([]byte, error) {
	var r portableRow
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, err
	}
	if r.Key == nil || r.Deleted == (r.Value != nil) {
		return nil, damaged("a row has a key, and a value or deleted")
	}
	var value []byte
	if r.Value != nil {
		value = *r.Value
	}
	return appendRow(block, r.Key, value, r.Deleted), nil
}

func appendPortableRecord(block, line []byte) ([]byte, error) {
	var r portableRecord
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, err
	}
	if r.Offset == nil || r.Timestamp == nil || *r.Offset < 0 || *r.Offset == math.MaxInt64 {
		return nil, damaged("a record has an offset and a timestamp")
	}
	record := Record{Offset: *r.Offset, Timestamp: *r.Timestamp, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		record.Headers = append(record.Headers, RecordHeader{Key: string(h.Key), Value: h.Value})
	}
	return appendRecord(block, &record), nil
}
