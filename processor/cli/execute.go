package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/topology"
)

// The exit codes.
const (
	ExitDone  = 0
	ExitFound = 1
	ExitUsage = 2
	ExitCould = 3
)

// Finding is an error of exit code 1: a command did its work, and what it looked at is
// wrong. With a nil Err the command has said so itself.
type Finding struct{ Err error }

func (e *Finding) Error() string {
	if e.Err == nil {
		return "not as it should be"
	}
	return e.Err.Error()
}

func (e *Finding) Unwrap() error { return e.Err }

// UsageError is an error of exit code 2: the command line cannot be meant.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// ranError marks an error of a command's work. All others are cobra's, about the line.
type ranError struct{ error }

func (e ranError) Unwrap() error { return e.error }

// Action makes a function the work of a command. Commands for Execute have all of their
// work made by it.
func Action(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd, args); err != nil {
			return ranError{err}
		}
		return nil
	}
}

// Execute runs a command, says on its standard error what went wrong, and returns the exit
// code.
func Execute(root *cobra.Command) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.HiddenDefaultCmd = true
	cmd, err := root.ExecuteC()
	if err == nil {
		return ExitDone
	}
	w := root.ErrOrStderr()
	var ran ranError
	if errors.As(err, &ran) {
		err = ran.error
	} else {
		err = &UsageError{err}
	}
	var usage *UsageError
	var finding *Finding
	switch {
	case errors.As(err, &usage):
		Report(w, root.Name(), err)
		fmt.Fprintf(w, "  see: %s --help\n", cmd.CommandPath())
		return ExitUsage
	case errors.As(err, &finding):
		if finding.Err != nil {
			Report(w, root.Name(), err)
		}
		return ExitFound
	}
	Report(w, root.Name(), err)
	return ExitCould
}

// Report writes an error for a person: one line for each thing that is wrong, and below it
// what to do about it.
func Report(w io.Writer, name string, err error) {
	for _, s := range statements("", err) {
		fmt.Fprintf(w, "%s: %s\n", name, s.what)
		if s.fix != "" {
			fmt.Fprintf(w, "  do: %s\n", s.fix)
		}
	}
}

type statement struct{ what, fix string }

// statements takes an error apart: joined errors one by one, and the fix from those that
// have one. What an error in between says goes before each.
func statements(prefix string, err error) []statement {
	text := err.Error()
	switch e := err.(type) { //nolint:errorlint // it walks the chain itself
	case *processor.Error:
		return []statement{split(prefix+text, e.Fix)}
	case *topology.BuildError:
		return []statement{split(prefix+text, e.Fix)}
	case *Hinted:
		return []statement{{prefix + e.Err.Error(), e.Hint}}
	case interface{ Unwrap() []error }:
		var out []statement
		var parts []string
		for _, one := range e.Unwrap() {
			out = append(out, statements(prefix, one)...)
			parts = append(parts, one.Error())
		}
		if strings.Join(parts, "\n") == text {
			return out
		}
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			if before, ok := strings.CutSuffix(text, inner.Error()); ok {
				return statements(prefix+before, inner)
			}
		}
	}
	return []statement{{what: prefix + text}}
}

func split(text, fix string) statement {
	if fix != "" {
		text = strings.TrimSuffix(text, "; "+fix)
	}
	return statement{text, fix}
}

// Hinted is an error with what to do about it.
type Hinted struct {
	Err  error
	Hint string
}

func (e *Hinted) Error() string { return e.Err.Error() + "; " + e.Hint }
func (e *Hinted) Unwrap() error { return e.Err }

// Hint adds to an error what to do about it.
func Hint(err error, format string, args ...any) error {
	return &Hinted{err, fmt.Sprintf(format, args...)}
}
