// Package restart decides whether, and when, a task that failed is tried again. The
// strategies have the names, parameters and defaults that Flink gives them.
//
//	exponential-delay  pauses that grow, and shrink again after a quiet time
//	fixed-delay        so many times, after the same pause
//	failure-rate       as long as there are not too many failures in an interval
//	none               never
//
// A History sees the failures of what fails as one: of a task, or of all tasks. A failure
// opens a back-off window, at whose end the next try is. More failures before that are no
// new ones: they wait for the same end.
//
// The package is pure. Times are milliseconds since whatever the caller counts from, as
// long as that never goes back; chance comes in as a number.
package restart
