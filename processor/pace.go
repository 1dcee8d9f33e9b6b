package processor

import "time"

// pace slows a lane down whose epochs fail again and again: the records of one may take
// longer than the transaction's timeout, or the brokers may be in trouble. It is pure.
//
// After the second failure in a row an epoch may have half as many records as the one that
// failed, down to one; each that commits doubles that. From the third on the lane rests
// before it tries again.
type pace struct {
	failures int   // in a row
	quota    int64 // records of one epoch; 0: no limit
	until    time.Time
}

const (
	restMin  = 50 * time.Millisecond
	restMax  = 2 * time.Second
	anyQuota = 1 << 20 // more than an epoch has: as good as no limit
)

// failed notes that an epoch of so many records was taken back.
func (p *pace) failed(records int64, now time.Time) {
	p.failures++
	if p.failures < 2 {
		return
	}
	if records > 0 {
		p.quota = max(1, records/2)
	}
	if p.failures > 2 {
		p.until = now.Add(min(restMin<<min(p.failures-3, 10), restMax))
	}
}

// committed notes that an epoch was.
func (p *pace) committed() {
	p.failures = 0
	if p.quota *= 2; p.quota >= anyQuota {
		p.quota = 0
	}
}

// spent says whether an epoch with so many records must end.
func (p *pace) spent(records int64) bool { return p.quota > 0 && records >= p.quota }

// rest is how long the lane still waits before it begins an epoch.
func (p *pace) rest(now time.Time) time.Duration { return p.until.Sub(now) }

// workTime is what a lane knows of the time that its epochs take. It is pure.
type workTime struct {
	start        time.Time     // of the open epoch
	more, had    bool          // the log had more than a fetch brought, in the open epoch and in the one before
	busy, before time.Duration // spent on records in the open epoch and in the one before
	length       time.Duration // of the one before, without its end; 0: there was none
	ending       time.Duration // from the last record of an epoch to its commit, smoothed
}

func (w *workTime) began(now time.Time) {
	w.start, w.before, w.busy, w.had, w.more = now, w.busy, 0, w.more, false
}
func (w *workTime) add(d time.Duration) { w.busy += d }

// left: a fetch brought n records of a partition and left about so many behind. A few are
// markers of transactions.
func (w *workTime) left(behind, n int64) { w.more = w.more || behind > n/8+16 }

// ended: the epoch took no more records from then on.
func (w *workTime) ended(then, now time.Time) {
	w.length = max(then.Sub(w.start), 1)
	w.ending = (3*w.ending + now.Sub(then)) / 4
}

// light says whether the lane has little to do: whatever gathers while it sleeps for half
// of an epoch, it can process in the other half. One that is behind has not, even if it mostly
// waits for fetches. An epoch that ends early, as its memory is full, is measured by its own
// length.
func (w *workTime) light(interval time.Duration) bool {
	if w.length > 0 {
		interval = min(interval, w.length)
	}
	return !w.more && !w.had && max(w.busy, w.before) < interval/4
}

// span is how long an epoch takes records, so that commits are one interval apart. A lane
// with much to do uses the whole interval for records: its epochs should be few.
func (w *workTime) span(interval time.Duration) time.Duration {
	if !w.light(interval) {
		return interval
	}
	return interval - min(w.ending, interval/4)
}
