package app

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// child is a process of this same binary that a role has started. It ends with
// its parent, whatever ends that.
type child struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when the process has ended
	err  error         // how; read it after done
}

// startChild starts `lateen args…` with its output in a log file of its name.
func startChild(name, logDir string, args ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("%s: this program's file: %w", name, err)
	}
	c := &child{name: name, log: filepath.Join(logDir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: log: %w", name, err)
	}
	defer log.Close()
	c.cmd = exec.Command(exe, args...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	// A group of its own, so that a terminal's Ctrl-C reaches the parent alone,
	// which then stops its children in order.
	c.cmd.SysProcAttr = childAttributes()
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// stop asks the process to end and kills it after the grace.
func (c *child) stop(grace time.Duration) {
	c.signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(grace):
		c.kill()
	}
}

// kill ends the process at once, as kill -9 does.
func (c *child) kill() {
	c.signal(syscall.SIGKILL)
	<-c.done
}

func (c *child) signal(s os.Signal) {
	if err := c.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		fmt.Fprintf(os.Stderr, "signal to %s: %v\n", c.name, err)
	}
}

// ended says that the process has ended, and why, with the end of its log.
func (c *child) ended() error {
	select {
	case <-c.done:
	default:
		return nil
	}
	return fmt.Errorf("%s has ended: %w\n%s", c.name, orError(c.err, "exit code 0"), c.logTail())
}

func orError(err error, text string) error {
	if err == nil {
		return errors.New(text)
	}
	return err
}

// logTail is the end of the process's log.
func (c *child) logTail() string {
	const most = 2000
	b, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return string(b)
}
