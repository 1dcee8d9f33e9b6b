package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/weir-stream/weir/processor"
	"github.com/weir-stream/weir/processor/cli"
)

// demoEvent is a line on the standard output of a worker of the demo.
type demoEvent struct {
	Event     string           `json:"event"` // started, restored, aborted, ended, failed, warning
	Task      string           `json:"task,omitempty"`
	Base      string           `json:"base,omitempty"`
	Records   int64            `json:"records,omitempty"`
	Positions map[string]int64 `json:"positions,omitempty"`
	Text      string           `json:"text,omitempty"`
}

// newDemoWorker is one of the demo's workers, a process of its own. It ends when its
// standard input does, so that it does not outlive the demo.
func newDemoWorker() *cobra.Command {
	var (
		conn            cli.Connection
		app, dir, named string
	)
	c := &cobra.Command{
		Use:    "demo-worker",
		Short:  "A worker of the demo",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: cli.Action(func(cmd *cobra.Command, _ []string) error {
			ctx, stop := cli.Signals(cmd.Context())
			defer stop()
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			go func() {
				io.Copy(io.Discard, cmd.InOrStdin()) //nolint:errcheck // that it ends is all that counts
				cancel()
			}()
			connected, err := conn.Options()
			if err != nil {
				return err
			}
			plan, err := demoPlan(app)
			if err != nil {
				return err
			}
			return processor.Run(ctx, plan, connected, processor.StateDir(dir), processor.InstanceID(named), processor.Lanes(1),
				processor.HeartbeatInterval(500*time.Millisecond), processor.SessionTimeout(6*time.Second),
				processor.Logger(zerolog.Nop()), processor.Events(demoListener(cmd.OutOrStdout())))
		}),
	}
	f := c.Flags()
	conn.Flags(f)
	f.StringVar(&app, "app", "", "application")
	f.StringVar(&dir, "state-dir", "", "state directory")
	f.StringVar(&named, "instance", "", "instance id")
	return c
}

// demoListener writes the events that the demo tells of. A demo that no longer reads gets
// none: the worker goes on until it is told to end.
func demoListener(w io.Writer) *processor.Listener {
	var mu sync.Mutex
	say := func(e demoEvent) {
		mu.Lock()
		defer mu.Unlock()
		printLine(w, e) //nolint:errcheck // see above
	}
	return &processor.Listener{
		WorkerStarted: func(i processor.WorkerInfo) { say(demoEvent{Event: "started"}) },
		TaskRestored: func(i processor.RestoredInfo) {
			say(demoEvent{Event: "restored", Task: i.Task.String(), Base: i.Base, Records: i.Records, Positions: i.Positions})
		},
		EpochAborted: func(i processor.AbortedInfo) {
			say(demoEvent{Event: "aborted", Records: i.Records + i.Internal, Text: i.Reason})
		},
		TransactionEnded: func(i processor.FencedInfo) { say(demoEvent{Event: "ended", Text: i.TransactionalID}) },
		TaskFailed: func(i processor.FailedInfo) {
			say(demoEvent{Event: "failed", Task: i.Task.String(), Text: i.Err.Error()})
		},
		Warning: func(i processor.WarningInfo) { say(demoEvent{Event: "warning", Text: i.String()}) },
	}
}

// demoProcess is a worker of the demo as its parent sees it.
type demoProcess struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr strings.Builder
	done   chan struct{} // closed when it has ended and all its lines are read
	err    error         // how it ended; after done
}

// startDemoProcess starts this very program as a worker. Events are given to f by a
// goroutine that ends before done is closed.
func startDemoProcess(name, app, dir string, conn []string, f func(name string, e demoEvent)) (*demoProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start worker %s: %w", name, err)
	}
	p := &demoProcess{name: name, done: make(chan struct{})}
	p.cmd = exec.Command(self, append([]string{"demo-worker", "--app", app, "--state-dir", dir, "--instance", name}, conn...)...)
	p.cmd.Stderr = &p.stderr
	// An interrupt from the keyboard is for the demo, which then ends its workers.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker %s: %w", name, err)
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker %s: %w", name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start worker %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e demoEvent
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				f(name, e)
			}
		}
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

func (p *demoProcess) signal(s os.Signal) error {
	err := p.cmd.Process.Signal(s)
	if err == nil {
		return nil
	}
	<-p.done // it has ended by itself, or there would be no error
	return errors.Join(fmt.Errorf("send %v to worker %s: %w", s, p.name, err), p.failure())
}

// kill is SIGKILL: the worker can do nothing about it.
func (p *demoProcess) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended by itself, which done tells
	<-p.done
}

// stop lets the worker commit and end.
func (p *demoProcess) stop(limit time.Duration) error {
	p.stdin.Close()
	select {
	case <-p.done:
	case <-time.After(limit):
		p.kill()
		return fmt.Errorf("worker %s did not end within %s", p.name, limit)
	}
	return p.failure()
}

// failure is why a worker ended that should not have, or not like this.
func (p *demoProcess) failure() error {
	if p.err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("worker %s: %w", p.name, p.err), errorText(p.stderr.String()))
}

func errorText(s string) error {
	if s = strings.TrimSpace(s); s == "" {
		return nil
	}
	return errors.New(s)
}
