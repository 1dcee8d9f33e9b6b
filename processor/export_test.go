package processor

import "time"

// InitProducerID is for tests that fence a lane as its successor would.
var InitProducerID = initProducerID

// RemindEvery shortens the time after which tasks say again how far they are.
func RemindEvery(d time.Duration) Option { return set(func(c *config) { c.remindEvery = d }) }
