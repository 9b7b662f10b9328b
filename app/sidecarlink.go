package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lateen.dev/lateen/lib/handover"
)

// What `lateen run` and a sidecar in a process of its own tell each other, over a socket pair whose end is the end of
// both. The first message is what the sidecar is to do, and brings it the sockets that belong to the program.
type (
	// sidecarTask is what the sidecar is to do.
	sidecarTask struct {
		Joined    joinResponse  `json:"joined"`
		Away      AwayOptions   `json:"away"`
		AdminPort uint16        `json:"adminPort,omitempty"`
		Dir       string        `json:"dir"`
		LogFile   string        `json:"logFile"`
		Log       LogOptions    `json:"log"`
		Explicit  bool          `json:"explicit,omitempty"`
		Post      string        `json:"post"`
		DrainTime time.Duration `json:"drainTime"`
		Shutdown  time.Duration `json:"shutdown"`
		// Inbound are the original destinations of the sockets that come first; those of the namespace follow: outbound, DNS
		// over TCP, and DNS over UDP.
		Inbound []netip.AddrPort `json:"inbound,omitempty"`
	}
	// sidecarAsks is what the sidecar wants.
	sidecarAsks struct {
		// Dial is a connection's number, to a Port of the program.
		Dial uint64 `json:"dial,omitempty"`
		Port uint16 `json:"port,omitempty"`
		// Serving says that it has taken over.
		Serving bool `json:"serving,omitempty"`
	}
	// sidecarIsTold is an answer, with the connection if there is one, or an order.
	sidecarIsTold struct {
		Dial  uint64        `json:"dial,omitempty"`
		Errno syscall.Errno `json:"errno,omitempty"`
		Error string        `json:"error,omitempty"`
		Drain bool          `json:"drain,omitempty"`
	}
)

// newSidecarPair makes the connection and what the other process gets of it.
func newSidecarPair() (*net.UnixConn, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "sidecar")
	ours, err := sidecarConn(os.NewFile(uintptr(pair[0]), "run"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// sidecarConn takes over one end of the pair.
func sidecarConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("socket pair: it is something else")
	}
	return u, nil
}

// programDialer has `lateen run` dial the program, into whose namespace this process doesn't reach.
type programDialer struct {
	conn *net.UnixConn

	mu      sync.Mutex // guards what follows
	last    uint64
	waiting map[uint64]chan dialled
}

type dialled struct {
	file *os.File
	err  error
}

func (d *programDialer) dial(ctx context.Context, port uint16) (net.Conn, error) {
	answer := make(chan dialled, 1)
	d.mu.Lock()
	d.last++
	number := d.last
	d.waiting[number] = answer
	d.mu.Unlock()
	if err := handover.Send(d.conn, sidecarAsks{Dial: number, Port: port}); err != nil {
		d.forget(number)
		return nil, fmt.Errorf("the program's port %d: %w", port, err)
	}
	select {
	case a := <-answer:
		if a.err != nil {
			return nil, fmt.Errorf("the program's port %d: %w", port, a.err)
		}
		defer a.file.Close()
		c, err := net.FileConn(a.file)
		if err != nil {
			return nil, fmt.Errorf("the program's port %d: %w", port, err)
		}
		return c, nil
	case <-ctx.Done():
		if !d.forget(number) { // the answer has come meanwhile
			if a := <-answer; a.file != nil {
				a.file.Close()
			}
		}
		return nil, fmt.Errorf("the program's port %d: %w", port, ctx.Err())
	}
}

func (d *programDialer) forget(number uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, there := d.waiting[number]
	delete(d.waiting, number)
	return there
}

// answered hands an answer to who waits for it.
func (d *programDialer) answered(m sidecarIsTold, files []*os.File) {
	d.mu.Lock()
	answer := d.waiting[m.Dial]
	delete(d.waiting, m.Dial)
	d.mu.Unlock()
	a := dialled{err: errors.New("no connection came")}
	switch {
	case m.Errno != 0:
		a.err = m.Errno
	case m.Error != "":
		a.err = errors.New(m.Error)
	case len(files) > 0:
		a, files = dialled{file: files[0]}, files[1:]
	}
	for _, f := range files {
		f.Close()
	}
	switch {
	case answer != nil:
		answer <- a
	case a.file != nil:
		a.file.Close()
	}
}
