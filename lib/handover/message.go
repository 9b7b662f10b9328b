package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Limits of a message. The kernel takes 253 descriptors with one.
const (
	maxMessage = 64 << 10
	maxFiles   = 64
	maxSockets = 4096
)

// version is that of the messages. Another one is refused.
const version = 1

// message is what the two processes tell each other.
type message struct {
	Version int `json:"version"`
	// Want is what the new process asks for: wantSockets or wantRelief.
	Want string `json:"want,omitempty"`
	// Epoch is the old process's.
	Epoch int `json:"epoch,omitempty"`
	// Keys name the sockets that come with the message; More says that others follow.
	Keys []string `json:"keys,omitempty"`
	More bool     `json:"more,omitempty"`
}

// What a new process asks for.
const (
	wantSockets = "sockets"
	wantRelief  = "relief"
)

// ErrGone means that the other process has closed its end.
var ErrGone = errors.New("message: the other process has gone")

// parse reads a message.
func parse(b []byte, files int) (message, error) {
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("message: %w", err)
	}
	switch {
	case m.Version != version:
		return m, fmt.Errorf("message: the other process speaks version %d, this one %d", m.Version, version)
	case len(m.Keys) != files:
		return m, fmt.Errorf("message: %d sockets came under %d names", files, len(m.Keys))
	case m.Epoch < 0:
		return m, errors.New("message: the epoch is negative")
	}
	return m, nil
}

// send writes a message with descriptors.
func send(c *net.UnixConn, m message, fds []int) error {
	m.Version = version
	return Send(c, m, fds...)
}

// Send writes a message, as JSON, with descriptors, which stay the caller's. Several goroutines may send at a time.
func Send(c *net.UnixConn, m any, fds ...int) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("message: %w", err)
	}
	if len(b) > maxMessage {
		return fmt.Errorf("message: %d bytes are too many", len(b))
	}
	if len(fds) > maxFiles+1 {
		return fmt.Errorf("message: %d descriptors are too many", len(fds))
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := c.WriteMsgUnix(b, rights, nil); err != nil {
		return fmt.Errorf("message: %w", err)
	}
	return nil
}

// receive reads a message of ours and its descriptors, which are closed if it can't be understood.
func receive(c *net.UnixConn) (message, []*os.File, error) {
	b, files, err := read(c)
	if err != nil {
		return message{}, nil, err
	}
	m, err := parse(b, len(files))
	if err != nil {
		closeFiles(files)
		return message{}, nil, err
	}
	return m, files, nil
}

// Receive reads a message that Send wrote, and its descriptors, which are closed if it can't be understood.
func Receive(c *net.UnixConn, into any) ([]*os.File, error) {
	b, files, err := read(c)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		closeFiles(files)
		return nil, fmt.Errorf("message: %w", err)
	}
	return files, nil
}

// read reads one message.
func read(c *net.UnixConn) ([]byte, []*os.File, error) {
	b, oob := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(4*(maxFiles+1)))
	n, oobn, flags, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, nil, fmt.Errorf("message: %w", err)
	}
	files, err := filesOf(oob[:oobn])
	switch {
	case err != nil:
	case n == 0:
		err = ErrGone
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errors.New("message: too long")
	}
	if err != nil {
		closeFiles(files)
		return nil, nil, err
	}
	return b[:n], files, nil
}

func filesOf(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	controls, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	var files []*os.File
	for i := range controls {
		fds, err := unix.ParseUnixRights(&controls[i])
		if err != nil {
			continue // no descriptors, which is for parse to complain about
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "handover"))
		}
	}
	return files, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing was written
	}
}
