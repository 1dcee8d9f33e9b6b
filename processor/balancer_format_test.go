package processor

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The examples in FORMAT.md are decoded and encoded again.
func TestFormatOfGroupMessages(t *testing.T) {
	page, err := os.ReadFile("../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	example := func(name string) []byte {
		block := regexp.MustCompile("(?ms)^```hex " + name + "\n(.*?)^```").FindSubmatch(page)
		if block == nil {
			t.Fatalf("FORMAT.md has no example %q", name)
		}
		b, err := hex.DecodeString(regexp.MustCompile(`#.*|\s`).ReplaceAllString(string(block[1]), ""))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return b
	}
	meta := kmsg.NewConsumerMemberMetadata()
	meta.UserData = example("group-member")
	m, err := DecodeGroupMember(meta.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	if again := m.append(nil); !bytes.Equal(again, meta.UserData) || m.Rack != "zone-a" {
		t.Errorf("%+v encodes to %x, not %x", m, again, meta.UserData)
	}
	out := kmsg.NewConsumerMemberAssignment()
	out.UserData = example("group-assignment")
	a, err := DecodeGroupAssignment(out.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	if again := a.append(nil); !bytes.Equal(again, out.UserData) || a.Withheld != 3 {
		t.Errorf("%+v encodes to %x, not %x", a, again, out.UserData)
	}
	if a.seen != planHash(m.Fingerprint, m.parts) {
		t.Errorf("seen %x is not the plan of the member above", a.seen)
	}
	told := example("restore-progress")
	p, err := DecodeRestoreProgress(told)
	if err != nil || p.Worker != "pod-0.1" || p.Store != "counts" || p.Records != 952 || p.Done != 2000 || p.Total != 5000 ||
		p.From != 1000 || p.Next != 2000 || p.End != 4000 || p.Told.Sub(p.Began) != 2*time.Second || p.Began.UnixMilli() != 1700000000000 {
		t.Errorf("the comments say something else: %+v, %v", p, err)
	}
	if again := p.Append(nil); !bytes.Equal(again, told) {
		t.Errorf("%+v encodes to %x, not %x", p, again, told)
	}
	for n := range told {
		if _, err := DecodeRestoreProgress(told[:n]); err == nil {
			t.Errorf("%x is read as progress", told[:n])
		}
	}
	waits := example("retry-note")
	n, err := DecodeRetryNote(waits)
	if err != nil || n.Worker != "pod-0.1" || n.Attempt != 3 || n.Strategy != "fixed-delay" || n.Cause != "no such tariff" ||
		n.Since.UnixMilli() != 1700000000000 || n.Told.Sub(n.Since) != 3*time.Second || n.Next.Sub(n.Since) != 10*time.Second {
		t.Errorf("the comments say something else: %+v, %v", n, err)
	}
	if again := n.Append(nil); !bytes.Equal(again, waits) {
		t.Errorf("%+v encodes to %x, not %x", n, again, waits)
	}
	for end := range waits {
		if _, err := DecodeRetryNote(waits[:end]); err == nil {
			t.Errorf("%x is read as a note", waits[:end])
		}
	}
	n.Cause = strings.Repeat("ä", noteCause)
	if cut, err := DecodeRetryNote(n.Append(nil)); err != nil || cut.Cause != strings.Repeat("ä", noteCause/2) {
		t.Errorf("a long cause becomes %q, %v", cut.Cause, err)
	}
	if witness := example("witness-record"); !bytes.Equal(witness, []byte{1}) {
		t.Errorf("witness record %x", witness)
	}
}
