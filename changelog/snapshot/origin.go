package snapshot

import (
	"encoding/json"
	"fmt"

	"github.com/weir-stream/weir/offsets"
)

// Format says how objects are written.
type Format string

const (
	// Native is compact and fast to write and read.
	Native Format = "native"
	// Portable is lines of JSON, for programs that are not weir. It takes about four times as long.
	Portable Format = "portable"
)

// Compression of objects.
type Compression string

const (
	Zstd Compression = "zstd"
	None Compression = "none"
)

// Content says what an object or a layer holds.
type Content string

const (
	// Full is all rows of a store at an epoch.
	Full Content = "full"
	// Increment is the rows that changed since the layer below, deleted ones included.
	Increment Content = "increment"
	// Records is copied records of a repartition topic.
	Records Content = "records"
)

// Origin says what the rows or records of an object are. Readers compare it with what the manifest says.
type Origin struct {
	Format      Format          `json:"format"` // "" means Native
	Content     Content         `json:"content"`
	Application string          `json:"application"`
	Timeline    uint32          `json:"timeline"`
	Cut         uint64          `json:"cut"`
	Task        offsets.Task    `json:"task"` // owner of the store, or reader of the topic's partition
	UID         string          `json:"uid"`  // of the store or the repartition
	Epoch       offsets.EpochID `json:"epoch"`
	// Since and End are changelog ends: the rows are those of exactly End, an increment has what changed in
	// [Since, End). Since is 0 for Full. Of Records they are the range of offsets.
	Since  int64   `json:"since"`
	End    int64   `json:"end"`
	Codecs *Codecs `json:"codecs,omitempty"`
}

// Codecs says what keys and values are, for readers that are not weir. The strings are the caller's.
type Codecs struct {
	Store       string `json:"store,omitempty"` // kind of the store: what row keys look like
	Key         string `json:"key"`
	Value       string `json:"value"`
	KeySchema   string `json:"keySchema,omitempty"`
	ValueSchema string `json:"valueSchema,omitempty"`
}

func (o Origin) check() error {
	if err := offsets.CheckName(o.Application); err != nil {
		return fmt.Errorf("application: %w", err)
	}
	if err := offsets.CheckName(o.UID); err != nil {
		return fmt.Errorf("uid: %w", err)
	}
	switch {
	case o.Format != Native && o.Format != Portable:
		return fmt.Errorf("format %q is unknown", o.Format)
	case o.Content != Full && o.Content != Increment && o.Content != Records:
		return fmt.Errorf("content %q is unknown", o.Content)
	case o.Timeline == 0 || o.Cut == 0:
		return fmt.Errorf("timeline %d, cut %d: both count from 1", o.Timeline, o.Cut)
	case o.Task.Sub < 0 || o.Task.Partition < 0:
		return fmt.Errorf("task %s is negative", o.Task)
	case o.Since < 0 || o.End < o.Since:
		return fmt.Errorf("range [%d, %d) is none", o.Since, o.End)
	case o.Content == Full && o.Since != 0:
		return fmt.Errorf("a full layer since %d", o.Since)
	}
	return nil
}

// differs says in what o is not what the manifest wants, or "".
func (o Origin) differs(want Origin) string {
	var mine, wanted Codecs
	if o.Codecs != nil {
		mine = *o.Codecs
	}
	if want.Codecs != nil {
		wanted = *want.Codecs
	}
	switch {
	case o.Application != want.Application:
		return fmt.Sprintf("it is of application %q, not %q", o.Application, want.Application)
	case o.Timeline != want.Timeline || o.Cut != want.Cut || o.Epoch != want.Epoch:
		return fmt.Sprintf("it is of timeline %d, cut %d, epoch %s, not of %d, %d, %s", o.Timeline, o.Cut, o.Epoch, want.Timeline, want.Cut, want.Epoch)
	case o.Task != want.Task || o.UID != want.UID:
		return fmt.Sprintf("it is of task %s, %s, not of %s, %s", o.Task, o.UID, want.Task, want.UID)
	case o.Content != want.Content || o.Since != want.Since || o.End != want.End || o.Format != want.Format:
		return fmt.Sprintf("it is %s %s of [%d, %d), not %s %s of [%d, %d)", o.Format, o.Content, o.Since, o.End, want.Format, want.Content, want.Since, want.End)
	case mine != wanted:
		return fmt.Sprintf("it has codecs %+v, not %+v", mine, wanted)
	}
	return ""
}

// objectVersion is the version of both formats of objects.
const objectVersion = 1

// header is the JSON at the beginning of each object.
type header struct {
	Version     int         `json:"version"`
	Compression Compression `json:"compression"`
	Origin
	Part int `json:"part"` // which object of its layer, from 0
}

func decodeHeader(text []byte) (header, error) {
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return header{}, damaged("header: %v", err)
	}
	if v.Version > objectVersion {
		return header{}, fmt.Errorf("version %d, known are versions up to %d: %w", v.Version, objectVersion, ErrNewer)
	}
	var h header
	if err := json.Unmarshal(text, &h); err != nil {
		return header{}, damaged("header: %v", err)
	}
	if err := h.check(); err != nil {
		return header{}, damaged("header: %v", err)
	}
	if h.Version != objectVersion || h.Part < 0 || (h.Compression != Zstd && h.Compression != None) {
		return header{}, damaged("header: version %d, part %d, compression %q", h.Version, h.Part, h.Compression)
	}
	return h, nil
}

// Counts is what a footer counts.
type Counts struct {
	Entries int64 `json:"entries"` // rows or records
	Deletes int64 `json:"deletes"` // rows that are deleted
	Bytes   int64 `json:"bytes"`   // of keys, values and headers
}

// Object is one file of a layer.
type Object struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // of the file
	Counts
}

// Layer is the rows of a store at an epoch, or what changed since the layer below.
type Layer struct {
	Content Content         `json:"content"`
	Cut     uint64          `json:"cut"`
	Epoch   offsets.EpochID `json:"epoch"`
	Since   int64           `json:"since"`
	End     int64           `json:"end"`
	Objects []Object        `json:"objects"` // in key order; none if there are no rows
}

// Record is a copied record of a repartition topic. A nil Key or Value is Kafka's null.
type Record struct {
	Offset    int64 // in the topic it was copied from
	Timestamp int64
	Key       []byte
	Value     []byte
	Headers   []RecordHeader
}

// RecordHeader is one of a record's headers. A nil Value is Kafka's null.
type RecordHeader struct {
	Key   string
	Value []byte
}
