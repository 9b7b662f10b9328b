package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The talk between caller and keeper: one datagram per message on a
// SOCK_SEQPACKET pair, a kind, one number, then text; file descriptors travel
// beside. A closed pair means that the other side is gone.
const (
	// From the caller.
	msgRelease = 'R' // start the program
	msgSignal  = 'K' // number: the signal for the program
	msgNeed    = 'N' // number: how many sockets; text: "4" or "6"

	// From the stub and the keeper.
	msgReady   = 'r' // fds: see the handed constants
	msgStarted = 'p' // number: the program's process id
	msgSockets = 's' // fds: sockets; text: "4" or "6"
	msgExited  = 'x' // number: wait status
	msgFailed  = 'e' // number: errno; text: stage, a zero byte, the cause
)

// The descriptors of msgReady, in order.
const (
	handedOutbound = iota
	handedDNSUDP4
	handedDNSTCP
	handedDiag
	handedDNSUDP6 // absent where the kernel has no IPv6
)

const (
	maxMessage = 4096
	// maxHanded bounds the descriptors of one message (the kernel's limit is
	// 253) and so what one request for sockets can cost.
	maxHanded = 64
)

// link is one end of the pair. Anybody may send; one goroutine receives.
type link struct {
	conn *net.UnixConn
}

// newLink takes over f.
func newLink(f *os.File) (*link, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("the keeper's socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("the keeper's socket is a %T", c)
	}
	return &link{conn: u}, nil
}

// message is what receive returns. The descriptors are the receiver's to close.
type message struct {
	kind   byte
	number int
	text   string
	fds    []int
}

func (m message) closeFDs() {
	for _, fd := range m.fds {
		unix.Close(fd)
	}
}

func (l *link) send(m message) error {
	b := make([]byte, 5, 5+len(m.text))
	b[0] = m.kind
	binary.BigEndian.PutUint32(b[1:], uint32(m.number))
	b = append(b, m.text[:min(len(m.text), maxMessage-5)]...)
	var oob []byte
	if len(m.fds) > 0 {
		oob = unix.UnixRights(m.fds...)
	}
	if _, _, err := l.conn.WriteMsgUnix(b, oob, nil); err != nil {
		return fmt.Errorf("send %q: %w", m.kind, err)
	}
	return nil
}

// receive waits for the next message; io.EOF when the other side is gone.
func (l *link) receive() (message, error) {
	b := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(maxHanded*4))
	n, oobn, _, _, err := l.conn.ReadMsgUnix(b, oob)
	switch {
	case errors.Is(err, unix.ECONNRESET):
		return message{}, io.EOF
	case err != nil:
		return message{}, err
	}
	var fds []int
	if oobn > 0 {
		if fds, err = parseRights(oob[:oobn]); err != nil {
			return message{}, err
		}
	}
	if n == 0 {
		return message{}, io.EOF
	}
	m := message{kind: b[0], fds: fds}
	if n < 5 {
		m.closeFDs()
		return message{}, fmt.Errorf("a message of %d bytes from the keeper", n)
	}
	m.number = int(int32(binary.BigEndian.Uint32(b[1:])))
	m.text = string(b[5:n])
	return m, nil
}

func parseRights(oob []byte) ([]int, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("descriptors from the keeper: %w", err)
	}
	var fds []int
	for i := range msgs {
		got, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			return nil, fmt.Errorf("descriptors from the keeper: %w", err)
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// stageError is a failure inside the namespace, carried over the link.
type stageError struct {
	stage string
	errno unix.Errno
	cause string
}

func (e *stageError) Error() string { return e.stage + ": " + e.cause }

func (e *stageError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}

func failedMessage(stage string, err error) message {
	var errno unix.Errno
	errors.As(err, &errno)
	return message{kind: msgFailed, number: int(errno), text: stage + "\x00" + err.Error()}
}

func (m message) failure() *stageError {
	stage, cause, _ := strings.Cut(m.text, "\x00")
	return &stageError{stage: stage, errno: unix.Errno(m.number), cause: cause}
}
