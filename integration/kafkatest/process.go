package kafkatest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is a broker in a process group of its own, with a guard that kills the group when this program is gone.
type process struct {
	cmd   *exec.Cmd
	guard io.Closer
	done  chan struct{} // closed when the process has been waited for
}

// startProcess appends the output to the file out. If this program dies, the process and the directory data go too.
func startProcess(args []string, out, data string) (*process, error) {
	f, err := os.OpenFile(out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("log of the broker: %w", err)
	}
	defer f.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	p.guard, err = guard(fmt.Sprintf("{ kill -KILL -%d; rm -rf '%s'; }", cmd.Process.Pid, data), p.done)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, err
	}
	go func() {
		cmd.Wait() // how it ended is not ours to judge: tests kill brokers on purpose
		close(p.done)
	}()
	return p, nil
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) signal(sig brokerSignal) error {
	pid := p.cmd.Process.Pid
	switch sig {
	case sigStop:
		return syscall.Kill(-pid, syscall.SIGSTOP)
	case sigCont:
		return syscall.Kill(-pid, syscall.SIGCONT)
	case sigTerm:
		if err := syscall.Kill(-pid, syscall.SIGTERM); err != nil {
			return err
		}
		select {
		case <-p.done:
			return nil
		case <-time.After(time.Minute):
			return fmt.Errorf("broker process %d did not end within a minute of SIGTERM", pid)
		}
	}
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// guard runs a shell command when this program ends, in whatever way: the shell waits on a pipe whose other end only
// we hold. When done closes first, the guard is told to leave without running it (the process id may be another's by then).
func guard(command string, done <-chan struct{}) (io.Closer, error) {
	cmd := exec.Command("/bin/sh", "-c", `read word; [ "$word" = leave ] || `+command+` >/dev/null 2>&1`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal must not reach it first
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("guard of a broker: %w", err)
	}
	go func() {
		<-done
		io.WriteString(pipe, "leave\n")
		pipe.Close()
		cmd.Wait()
	}()
	return pipe, nil
}
