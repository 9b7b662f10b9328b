package sock

import (
	"errors"
	"io"
	"sync"
)

// ErrMore is what Layer.Open returns when it needs more ciphertext.
var ErrMore = errors.New("need more ciphertext")

// Layer transforms the bytes of a connection, in memory: TLS after its handshake. Open and Feed belong to the reader;
// Seal and Goodbye are called under a lock; Pending and Flush may be called beside either.
type Layer interface {
	// Feed hands over ciphertext. The layer may keep the slice until Open returns ErrMore.
	Feed(cipher []byte)
	// Open decrypts into p. It returns ErrMore if it needs to be fed first, and io.EOF after the peer's goodbye.
	Open(p []byte) (int, error)
	// Seal appends the encryption of p to dst, behind anything that Flush would return.
	Seal(dst, p []byte) ([]byte, error)
	// Pending says whether the layer has something of its own to send; Flush appends that to dst.
	Pending() bool
	Flush(dst []byte) []byte
	// Goodbye appends the message that ends the sending side.
	Goodbye(dst []byte) []byte
}

// SetLayer installs a layer. All that follows is encrypted, and bytes are counted anew, so that the handshake's don't
// count. The connection must not be in use.
func (c *Conn) SetLayer(l Layer) {
	c.layer = l
	c.closing.Store(&l)
	c.rx.Store(0)
	c.tx.Store(0)
}

// Layer returns the installed layer, or nil.
func (c *Conn) Layer() Layer { return c.layer }

// Sizes of the buffers for ciphertext: a whole record fits with its overhead, two when writing.
const (
	cipherSize = 16<<10 + 512
	sealSize   = 32 << 10
)

// cipherBuf is memory for ciphertext, taken from a pool while a connection is busy.
type cipherBuf struct{ b []byte }

var (
	cipherPool = sync.Pool{New: func() any { return &cipherBuf{b: make([]byte, cipherSize)} }}
	sealPool   = sync.Pool{New: func() any { return &cipherBuf{b: make([]byte, 0, sealSize+2048)} }}
)

func (c *Conn) cipherSpace() []byte {
	if c.cipher == nil {
		c.cipher = cipherPool.Get().(*cipherBuf)
	}
	return c.cipher.b
}

// releaseCipher gives the buffer back once the layer has taken everything out of it.
func (c *Conn) releaseCipher() {
	if c.cipher != nil {
		cipherPool.Put(c.cipher)
		c.cipher = nil
	}
}

// readLayer is Read with a layer.
func (c *Conn) readLayer(p []byte) (int, error) {
	for {
		n, err := c.layer.Open(p)
		if ferr := c.flushLayer(); ferr != nil {
			return 0, ferr
		}
		if n > 0 {
			return n, nil
		}
		if err != ErrMore {
			if err == nil {
				continue
			}
			c.releaseCipher()
			return 0, err
		}
		n, err = c.readWire(c.cipherSpace())
		if err != nil {
			c.releaseCipher()
			return 0, err
		}
		c.layer.Feed(c.cipher.b[:n])
	}
}

// writeLayer is Write with a layer, in pieces that fit the pooled buffer.
func (c *Conn) writeLayer(a, b []byte) error {
	buf := sealPool.Get().(*cipherBuf)
	defer sealPool.Put(buf)
	c.sealMu.Lock()
	defer c.sealMu.Unlock()
	if err := c.writeSealed(); err != nil {
		return err
	}
	out := buf.b[:0]
	var err error
	for _, p := range [2][]byte{a, b} {
		for len(p) > 0 {
			n := min(len(p), sealSize-len(out))
			if out, err = c.layer.Seal(out, p[:n]); err != nil {
				return err
			}
			p = p[n:]
			if len(out) >= sealSize {
				if err := c.t.write(out, nil); err != nil {
					return err
				}
				out = out[:0]
			}
		}
	}
	buf.b = out[:0]
	if len(out) == 0 {
		return nil
	}
	return c.t.write(out, nil)
}

// flushLayer sends what the layer made by itself while reading.
func (c *Conn) flushLayer() error {
	if !c.layer.Pending() {
		return nil
	}
	c.sealMu.Lock()
	defer c.sealMu.Unlock()
	if err := c.writeSealed(); err != nil {
		return err
	}
	return c.t.write(c.layer.Flush(nil), nil)
}

// writeGoodbye sends the layer's goodbye.
func (c *Conn) writeGoodbye() error {
	c.sealMu.Lock()
	defer c.sealMu.Unlock()
	if err := c.writeSealed(); err != nil {
		return err
	}
	return c.t.write(c.layer.Goodbye(nil), nil)
}

// sayGoodbye sends the layer's goodbye if nobody else is writing.
func (c *Conn) sayGoodbye() {
	layer := c.closing.Load()
	if layer == nil || !c.sealMu.TryLock() {
		return
	}
	defer c.sealMu.Unlock()
	if len(c.sealed) > 0 {
		return // in the middle of a record
	}
	if bye := (*layer).Goodbye(nil); len(bye) > 0 {
		c.t.farewell(bye)
	}
}

// unsolicited looks at ciphertext that came between two exchanges. TLS 1.3 sends session tickets there; anything else
// makes the connection stale.
func (c *Conn) unsolicited(cipher []byte) error {
	var p [1]byte
	c.layer.Feed(cipher)
	n, err := c.layer.Open(p[:])
	switch {
	case n > 0, errors.Is(err, io.EOF):
		return ErrStale
	case err == ErrMore:
		return nil
	}
	return err
}
