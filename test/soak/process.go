package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// child is a process of this program that obeys lines and answers with lines.
type child struct {
	what  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Scanner
}

// startChild starts one. Its command line is a program's, and ends with arguments of this program's.
func startChild(what string, cmd *exec.Cmd) (*child, error) {
	c := &child{what: what, cmd: cmd}
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	var err error
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	c.out = bufio.NewScanner(stdout)
	c.out.Buffer(nil, 1<<20)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return c, nil
}

func (c *child) tell(line string) error {
	if _, err := fmt.Fprintln(c.stdin, line); err != nil {
		return fmt.Errorf("%s: %w", c.what, err)
	}
	return nil
}

// ask tells a line and reads the answer.
func (c *child) ask(line string, answer any) error {
	if err := c.tell(line); err != nil {
		return err
	}
	if !c.out.Scan() {
		return fmt.Errorf("%s: the process has ended: %w", c.what, errors.Join(c.out.Err(), io.EOF))
	}
	if err := json.Unmarshal(c.out.Bytes(), answer); err != nil {
		return fmt.Errorf("%s: %w", c.what, err)
	}
	return nil
}

// close ends the process, which obeys the end of its input.
func (c *child) close() error {
	if c == nil {
		return nil
	}
	c.stdin.Close()
	// One that doesn't end is the next one's trouble, too.
	kill := time.AfterFunc(restTime, func() { c.cmd.Process.Kill() }) //nolint:errcheck // it may have ended
	defer kill.Stop()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("%s did not end in order: %w", c.what, err)
	}
	return nil
}
