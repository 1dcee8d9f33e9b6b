// Package rescale decides where state goes when a sub-topology gets another number of tasks: rows
// and records by their key, as the engine places what it sends from then on, and time to the
// earliest that any of the old tasks may still need. It is pure.
package rescale
