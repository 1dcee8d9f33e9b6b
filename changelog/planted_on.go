//go:build failpoints

package changelog

import "os"

// planted is what it is in package processor: see there.
func planted(mistake string) bool { return mistake == os.Getenv("WEIR_PLANT") }
