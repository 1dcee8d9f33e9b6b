package tally

import (
	"os/exec"
	"strings"
)

// Commit names the checkout that a failed random run was made with, so that its seed can be played again. A test runs
// in the directory of its package.
func Commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown (not a git checkout)"
	}
	return strings.TrimSpace(string(out))
}
