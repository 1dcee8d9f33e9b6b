// Package window describes event-time windows as plain values.
//
//	window.Tumbling(time.Hour).Grace(5 * time.Minute).EmitFinal()
//
// Windows are half open, [start, end), in whole milliseconds, and aligned to 1970-01-01
// 00:00 UTC. A window closes when the watermark reaches its end plus grace; a record that
// comes later is late: it is counted, and goes to the side output if there is one.
package window
