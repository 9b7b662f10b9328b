package tlsconn

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"lateen.dev/lateen/wire/sock"
)

// memory is the connection that crypto/tls sees. During the handshake it passes through to the socket; afterwards it
// reads what was fed and gathers what is written.
type memory struct {
	c    *sock.Conn
	open bool // the handshake is over

	// first is what has come first, if it is recorded, of which taken bytes have been read.
	first *firstBytes
	taken int
	seen  bool // nobody wants to know more

	in []byte

	mu  sync.Mutex
	out []byte
}

// starved is the error that crypto/tls takes for a reason to try again later.
type starved struct{}

func (starved) Error() string   { return "need more ciphertext" }
func (starved) Timeout() bool   { return true }
func (starved) Temporary() bool { return true }

// firstBytes is room for a ClientHello with a ticket in it that carries a chain of certificates. A larger one is not looked
// at.
type firstBytes struct {
	b [8 << 10]byte
	n int
}

var firstPool = sync.Pool{New: func() any { return new(firstBytes) }}

// record has what comes first kept until forget, and read with few system calls.
func (m *memory) record() {
	f, ok := firstPool.Get().(*firstBytes)
	if !ok {
		f = new(firstBytes)
	}
	f.n = 0
	m.first = f
}

// recorded is what has come so far, if that was recorded, and the end of recording.
func (m *memory) recorded() []byte {
	if m.first == nil {
		return nil
	}
	m.seen = true
	return m.first.b[:m.first.n]
}

// forget gives the room back. What came with the hello and nobody has read yet stays.
func (m *memory) forget() {
	if rest := m.first.b[m.taken:m.first.n]; len(rest) > 0 {
		m.in = append([]byte(nil), rest...)
	}
	firstPool.Put(m.first)
	m.first = nil
}

// readFirst reads while there is something recorded, or room to record.
func (m *memory) readFirst(p []byte) (int, error) {
	f := m.first
	if m.taken == f.n {
		if m.seen || f.n == len(f.b) {
			return m.c.Read(p)
		}
		n, err := m.c.Read(f.b[f.n:])
		f.n += n
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, f.b[m.taken:f.n])
	m.taken += n
	return n, nil
}

// Read implements net.Conn.
func (m *memory) Read(p []byte) (int, error) {
	if m.first != nil {
		return m.readFirst(p)
	}
	if !m.open {
		return m.c.Read(p)
	}
	if len(m.in) == 0 {
		return 0, starved{}
	}
	n := copy(p, m.in)
	m.in = m.in[n:]
	return n, nil
}

// Write implements net.Conn. It never fails after the handshake.
func (m *memory) Write(p []byte) (int, error) {
	if !m.open {
		return m.c.Write(p)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = append(m.out, p...)
	return len(p), nil
}

// The rest of net.Conn. The owner of the sock.Conn closes it and sets deadlines.

func (m *memory) Close() error                     { return nil }
func (m *memory) LocalAddr() net.Addr              { return m.c.LocalAddr() }
func (m *memory) RemoteAddr() net.Addr             { return m.c.RemoteAddr() }
func (m *memory) SetDeadline(time.Time) error      { return nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

// layer is sock.Layer by crypto/tls over memory.
type layer struct {
	t *tls.Conn
	m *memory
}

var _ sock.Layer = (*layer)(nil)

func (l *layer) Feed(cipher []byte) {
	if len(l.m.in) > 0 { // it came with the handshake
		cipher = append(l.m.in, cipher...)
	}
	l.m.in = cipher
}

func (l *layer) Open(p []byte) (int, error) {
	n, err := l.t.Read(p)
	if n > 0 {
		return n, nil
	}
	if _, ok := err.(starved); ok {
		return 0, sock.ErrMore
	}
	return 0, err
}

func (l *layer) Seal(dst, p []byte) ([]byte, error) {
	l.take(dst)
	_, err := l.t.Write(p)
	return l.give(), err
}

func (l *layer) Pending() bool {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return len(l.m.out) > 0
}

func (l *layer) Flush(dst []byte) []byte {
	l.take(dst)
	return l.give()
}

func (l *layer) Goodbye(dst []byte) []byte {
	l.take(dst)
	_ = l.t.CloseWrite() // over memory it fails only if the goodbye has been said before
	return l.give()
}

// take makes dst the memory that is written to, behind it what was written before.
func (l *layer) take(dst []byte) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.out = append(dst, l.m.out...)
}

func (l *layer) give() []byte {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	out := l.m.out
	l.m.out = nil
	return out
}

// apart makes the handshake in a goroutine of its own, whose stack goes when it ends. It needs 16 KiB or more, which the
// connection's goroutine would keep for as long as the connection lives. The stack grows to that at once: growing step by
// step copies it each time.
func apart(t *tls.Conn) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("tls handshake: panic: %v\n%s", p, debug.Stack())
			}
		}()
		growStack(0)
		done <- t.Handshake()
	}()
	return <-done
}

// stackRoom is what a handshake needs of its stack.
const stackRoom = 20 << 10

// growStack has the stack grow by the room that it asks for, which it does by its size alone: nothing is written there unless
// touch says so.
//
//go:noinline
func growStack(touch int) byte {
	if touch == 0 {
		return 0
	}
	var room [stackRoom]byte
	room[touch] = 1
	return room[len(room)-touch]
}

// handshake runs a handshake and installs the layer.
func handshake(c *sock.Conn, m *memory, t *tls.Conn, timeout time.Duration) (Result, error) {
	c.SetReadDeadline(sock.Now().Add(timeout))
	err := apart(t)
	c.SetReadDeadline(0)
	if err != nil {
		return Result{}, err
	}
	m.open = true
	c.SetLayer(&layer{t: t, m: m})
	cs := t.ConnectionState()
	r := Result{
		Version: cs.Version, CipherSuite: cs.CipherSuite, Curve: cs.CurveID, ALPN: cs.NegotiatedProtocol, SNI: cs.ServerName,
		Resumed: cs.DidResume,
	}
	if len(cs.PeerCertificates) > 0 {
		r.Peer = peerOf(cs.PeerCertificates[0])
	}
	return r, nil
}
