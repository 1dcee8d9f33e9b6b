package offsets

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseEpochID reads what EpochID.String gives.
func ParseEpochID(s string) (EpochID, error) {
	var e EpochID
	if s == e.String() {
		return e, nil
	}
	counter, rest, _ := strings.Cut(strings.TrimPrefix(s, "c"), ".p")
	producer, producerEpoch, _ := strings.Cut(rest, ".e")
	var err1, err2, err3 error
	e.Counter, err1 = strconv.ParseUint(counter, 10, 64)
	e.ProducerID, err2 = strconv.ParseInt(producer, 10, 64)
	short, err3 := strconv.ParseInt(producerEpoch, 10, 16)
	e.ProducerEpoch = int16(short)
	if err1 != nil || err2 != nil || err3 != nil || e.String() != s {
		return EpochID{}, fmt.Errorf("parse epoch id %q: want c<counter>.p<producer>.e<producer epoch>, for example c7.p1001.e3, or birth", s)
	}
	return e, nil
}

// MarshalText gives String: an epoch id is "c7.p1001.e3" in JSON.
func (e EpochID) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads what MarshalText gives.
func (e *EpochID) UnmarshalText(b []byte) (err error) {
	*e, err = ParseEpochID(string(b))
	return err
}

// MarshalText gives String: a task is "0-3" in JSON.
func (t Task) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText gives.
func (t *Task) UnmarshalText(b []byte) (err error) {
	*t, err = ParseTask(string(b))
	return err
}
