// Package report is what a run of the benchmark found: its JSON, and the tables that README.md shows. A row, a latency and a
// recovery are what was measured of one system; figures of several rounds are medians, with the smallest and the largest.
package report
