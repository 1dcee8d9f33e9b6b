// Package scale is how weir's cost grows with what causes it: the curves that `make bench SCALE=1` measures, their JSON,
// their table and their drawing. One cause varies per curve, everything else stays.
package scale
