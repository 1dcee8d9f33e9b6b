package task

// TickDue says whether Tick(now) would have an effect, so that it needs an open epoch.
// When it is false, Tick only notes the time and may be called between epochs.
func (t *Task) TickDue(now int64) bool { return t.clock.tickDue(now) }

func (c *clock) tickDue(now int64) bool {
	if !c.ticked {
		return false
	}
	for i := range c.inputs {
		in := &c.inputs[i]
		if in.internal || in.idleAfter == 0 {
			continue
		}
		if ch := &in.channels[0]; !ch.heard && !ch.idle && now-ch.last >= in.idleAfter {
			return true
		}
	}
	return false
}
