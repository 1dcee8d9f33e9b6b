package changelog

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A standby noted how far it had followed, then became the owner with nothing more to read, and
// was stopped. The mark of a restore under way was all that its directory had: its end was the
// committed one, and so it was taken for done.
func TestOwnerThatHadNothingToRead(t *testing.T) {
	clock := time.Unix(1e9, 0)
	opt := DBOptions{Dir: t.TempDir(), Application: "app", MinFree: 1, Now: func() time.Time { return clock }}
	for _, way := range []string{"its mark is written", "its mark is under way", "it begins from its mark"} {
		db, err := Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		s, m, found, err := db.OpenStore(context.Background(), storeID(0))
		if err != nil {
			t.Fatal(err)
		}
		if way == "it begins from its mark" && (!found || !m.Restoring || m.End != 3) {
			t.Fatalf("the mark of a standby that ended: %+v %v", m, found)
		}
		if !found {
			s.Follow()
			s.Reaches(3)
			err := s.Restored([]byte("k"), []byte("v"))
			clock = clock.Add(progressAfter)
			if err = errors.Join(err, s.FollowedTo(3, clock)); err != nil {
				t.Fatal(err)
			}
			if way == "its mark is written" {
				settle(t, s)
			}
		}
		if err := errors.Join(s.Finish(epochID(1), 3), s.Close(context.Background(), true), db.Close()); err != nil {
			t.Fatal(err)
		}
		db = openTest(t, opt)
		s, m, found, err = db.OpenStore(context.Background(), storeID(0))
		if err != nil || !found || m.Restoring || m.End != 3 || m.Epoch != epochID(1) {
			t.Errorf("%s: after a clean end the marker is %+v %v, %v", way, m, found, err)
		}
		// What the last case begins with: a standby that followed and was ended.
		err = s.Reset()
		if way == "its mark is under way" {
			s.Follow()
			s.Reaches(3)
			err = errors.Join(err, s.Restored([]byte("k"), []byte("v")))
			clock = clock.Add(progressAfter)
			err = errors.Join(err, s.FollowedTo(3, clock))
			settle(t, s)
		}
		if err = errors.Join(err, s.Close(context.Background(), false), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
