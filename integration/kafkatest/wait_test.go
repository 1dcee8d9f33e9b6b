package kafkatest_test

import (
	"net"
	"testing"
	"time"
)

// waitClosed returns when nothing listens at the address any more.
func waitClosed(t *testing.T, addr string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatalf("%s still listens a minute after its starter was killed", addr)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
