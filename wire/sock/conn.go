package sock

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is one connection of the data path. See the package comment for which goroutine may call what.
type Conn struct {
	nc net.Conn
	t  transport

	// layer encrypts; nil on plain connections. closing is the same for Close, which may come from another goroutine
	// than the one that is making the handshake.
	layer   Layer
	closing atomic.Pointer[Layer]
	// cipher holds ciphertext between a read and its decryption.
	cipher *cipherBuf
	// sealing holds the ciphertext that WriteRead is writing.
	sealing *cipherBuf
	// sealMu makes the order of sealing the order of writing: the reader, too, may have to write (a key update).
	sealMu sync.Mutex
	// sealed is ciphertext that TryWrite couldn't write; sealMu guards it.
	sealed []byte

	// prefix holds bytes that were given back by Unread.
	prefix []byte
	// inline is true inside the serving callback.
	inline bool
	// answering is true inside Answer inside the serving callback.
	answering bool
	// held is true while Serve is inside the callback or waits for it, which keeps the descriptor from being closed;
	// closed says that Serve is to close the connection on its way out.
	held, closed atomic.Bool

	waiting      waiting
	writeTimeout time.Duration

	rx, tx         atomic.Int64
	rxMark, txMark int64
	exchanges      int
}

// transport moves bytes. Its reads return the net package's deadline errors as they are: Conn's lapsed decides what
// they mean.
type transport interface {
	// read waits for bytes and returns what is there.
	read(p []byte) (int, error)
	// write writes all of a and then all of b.
	write(a, b []byte) error
	// tryWrite writes what can be written without waiting.
	tryWrite(p []byte) (int, error)
	// tryWriteVector does so with several pieces, in one go.
	tryWriteVector(v [][]byte) (int, error)
	// writeRead checks that nothing came since the last exchange, writes w, waits and reads. When wrote is true, w
	// has been written and r been told, and after a deadline error only read is to be called again.
	writeRead(w []byte, r Reply) (n int, wrote bool, err error)
	// serve reads and calls the session until it is to be told something.
	serve(s Session) (Next, error)
	// check returns ErrStale if anything came since the last exchange, as far as that can be found out.
	check() error
	// gone says whether the peer is known to have closed.
	gone() bool
	// farewell writes p if there is room for it, while others may be in the other methods. The connection's end must follow
	// at once. Nobody is left to tell of an error.
	farewell(p []byte)
	// shutdown ends both directions and leaves the descriptor open.
	shutdown() error
}

// New makes a Conn of an open connection, which it then owns, and chooses the best way of moving bytes for it.
func New(nc net.Conn) *Conn {
	c := &Conn{nc: nc, writeTimeout: DefaultWriteTimeout}
	c.t = newTransport(c)
	return c
}

// NewPortable is New without the way that depends on the platform, for tests and comparisons.
func NewPortable(nc net.Conn) *Conn {
	c := &Conn{nc: nc, writeTimeout: DefaultWriteTimeout}
	c.t = &netTransport{c: c}
	return c
}

// NetConn returns the connection below, for relaying and for socket options. Bytes that are in the prefix or in the
// layer are not seen through it.
func (c *Conn) NetConn() net.Conn { return c.nc }

// LocalAddr returns the local address.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Encrypted says whether a layer is installed.
func (c *Conn) Encrypted() bool { return c.layer != nil }

// BytesRead counts the bytes that Read, WriteRead and Serve have delivered, after decryption.
func (c *Conn) BytesRead() int64 { return c.rx.Load() }

// BytesWritten counts the bytes that were given to Write, before encryption.
func (c *Conn) BytesWritten() int64 { return c.tx.Load() }

// Exchanges counts the calls of WriteRead and Fresh.
func (c *Conn) Exchanges() int { return c.exchanges }

// CanRead says whether Read and WriteRead may be called: not inside the serving callback.
func (c *Conn) CanRead() bool { return !c.inline }

// Unread puts bytes back in front of what Read and Serve will deliver. The Conn keeps the slice.
func (c *Conn) Unread(p []byte) {
	if len(c.prefix) > 0 {
		p = append(append(make([]byte, 0, len(p)+len(c.prefix)), p...), c.prefix...)
	}
	c.prefix = p
}

func (c *Conn) skipPrefix(n int) {
	if c.prefix = c.prefix[n:]; len(c.prefix) == 0 {
		c.prefix = nil
	}
	c.rx.Add(int64(n))
}

// TakePrefix returns the bytes that were put back and not yet read, and forgets them. The relay sends them first.
func (c *Conn) TakePrefix() []byte {
	p := c.prefix
	c.prefix = nil
	return p
}

// Gone says whether the peer is known to have closed the connection or its sending side. It costs a system call
// where that can be found out, and is false otherwise.
func (c *Conn) Gone() bool { return c.t.gone() }

// Close closes the connection; a layer says goodbye if that is possible without waiting. Whoever waits in another
// method returns with an error whose reason is ReasonClosed. It may be called more than once, and by a session inside
// the serving callback. It doesn't wait: the peer sees the end at once, but while a session is at work the descriptor
// stays open until that returns.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.sayGoodbye()
	if c.held.Load() {
		c.Abort()
		return c.t.shutdown()
	}
	return c.closeNet()
}

// closeNet closes the connection below.
func (c *Conn) closeNet() error {
	if s, ok := c.nc.(interface{ closeSoon() error }); ok {
		return s.closeSoon()
	}
	return c.nc.Close()
}

// hold marks the time in which closing is left to release. The order of the stores makes sure that one of Close and
// release closes.
func (c *Conn) hold() { c.held.Store(true) }

// release ends hold, and returns net.ErrClosed if Close has been called.
func (c *Conn) release() error {
	c.held.Store(false)
	if !c.closed.Load() {
		return nil
	}
	_ = c.closeNet() // Close has reported what there was to report, or has just done the same
	return net.ErrClosed
}

// halfCloser is what TCP and Unix connections can do besides net.Conn.
type halfCloser interface{ CloseWrite() error }

// CloseWrite tells the peer that nothing more will come, encrypted connections included.
func (c *Conn) CloseWrite() error {
	if c.layer != nil {
		if err := c.writeGoodbye(); err != nil {
			return err
		}
	}
	if h, ok := c.nc.(halfCloser); ok {
		return h.CloseWrite()
	}
	return nil
}
