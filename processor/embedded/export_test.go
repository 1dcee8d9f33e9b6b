package embedded

import "fmt"

// LastAddr is where the broker on a directory listens, or listened last.
func LastAddr(dir string) string { return fmt.Sprintf("127.0.0.1:%d", lastPort(dir)) }
