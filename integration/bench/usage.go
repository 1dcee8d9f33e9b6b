package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// usage is what processes hold at a moment, or at most.
type usage struct{ anon, files int64 }

// watch looks at the processes ten times a second and keeps the most that they hold together.
func watch(ws []*worker, over <-chan struct{}) (most usage) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return most
		case <-tick.C:
		}
		var now usage
		for _, w := range ws {
			u := usageOf(w.cmd.Process.Pid)
			now.anon += u.anon
			now.files += u.files
		}
		most.anon, most.files = max(most.anon, now.anon), max(most.files, now.files)
	}
}

// usageOf is nothing when the process has ended.
func usageOf(pid int) (u usage) {
	dir := fmt.Sprintf("/proc/%d", pid)
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return u
	}
	if _, rest, ok := bytes.Cut(status, []byte("RssAnon:")); ok {
		if f := bytes.Fields(rest); len(f) > 0 {
			kib, _ := strconv.ParseInt(string(f[0]), 10, 64)
			u.anon = kib << 10
		}
	}
	open, _ := os.ReadDir(filepath.Join(dir, "fd"))
	u.files = int64(len(open))
	return u
}
