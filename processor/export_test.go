package processor

import "time"

// RemindEvery shortens the time after which tasks say again how far they are.
func RemindEvery(d time.Duration) Option { return set(func(c *config) { c.remindEvery = d }) }
