package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// link is a discovery stream on a connection of its own, with as much of HTTP/2
// and gRPC as that takes. The goroutine that uses it reads and writes by itself:
// gRPC's client has four goroutines for each and wakes two for each response,
// so that a thousand of them would use as much of the machine as the server that
// is measured. It belongs to one goroutine.
type link struct {
	conn net.Conn
	raw  syscall.RawConn
	out  bytes.Buffer // goes out before anything is waited for
	// frame writes into out, and reads from in the frames that are not DATA.
	frame   *http2.Framer
	in      bytes.Buffer
	buffers *buffers

	// head is what came of a frame's header. data is how much of a DATA frame's
	// content has not come yet, control of another frame's.
	head          [frameHeader]byte
	headed        int
	data, control int

	// body is what came and was not returned yet, but for what is before from.
	body []byte
	from int
	// mayConn and maySend are what the server has room for, on the connection and
	// on the stream; initial is what it gives to a new stream.
	mayConn, maySend, initial int64
	// taken is what came since the server was last told that there is room again.
	takenConn, takenStream uint32
	end                    error
	marshalled             []byte
}

// Windows like a current Envoy's.
const (
	streamWindow     = 16 << 20
	connectionWindow = 24 << 20
	defaultWindow    = 1<<16 - 1
	streamID         = 1
	frameSize        = 16 << 10
	frameHeader      = 9
	messagePrefix    = 5
	maxMessage       = 256 << 20
	// keptBody is what a link keeps when nothing is under way.
	keptBody = 16 << 10
	// chunkSize is how much is read at a time. It stays in the processor's cache on
	// its way into the message.
	chunkSize = 128 << 10
)

// buffers are not in use at the moment; all links share them.
type buffers struct {
	messages sync.Pool // of *[]byte, for messages that are being received
	chunks   sync.Pool // of *[]byte, of chunkSize
}

func (b *buffers) chunk() *[]byte {
	if c, ok := b.chunks.Get().(*[]byte); ok {
		return c
	}
	c := make([]byte, chunkSize)
	return &c
}

// dial opens a stream of the method.
func dial(ctx context.Context, address, method string, buffers *buffers) (*link, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	l := &link{conn: conn, buffers: buffers, mayConn: defaultWindow, maySend: defaultWindow, initial: defaultWindow}
	if l.raw, err = conn.(*net.TCPConn).SyscallConn(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l.out.WriteString(http2.ClientPreface)
	l.frame = http2.NewFramer(&l.out, &l.in)
	l.frame.SetReuseFrames()
	l.frame.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var head bytes.Buffer
	encoder := hpack.NewEncoder(&head)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", address},
		{"content-type", "application/grpc"}, {"te", "trailers"}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	err = errors.Join(
		l.frame.WriteSettings(http2.Setting{ID: http2.SettingEnablePush}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow}),
		l.frame.WriteWindowUpdate(0, connectionWindow-defaultWindow),
		l.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: streamID, BlockFragment: head.Bytes(), EndHeaders: true}))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return l, nil
}

func (l *link) close() error { return l.conn.Close() }

// send sends a message, at the latest when something is waited for.
func (l *link) send(m proto.Message) error {
	b, err := proto.MarshalOptions{}.MarshalAppend(append(l.marshalled[:0], make([]byte, messagePrefix)...), m)
	if err != nil {
		return err
	}
	l.marshalled = b[:0]
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-messagePrefix))
	for len(b) > 0 {
		n := min(int64(len(b)), frameSize, l.mayConn, l.maySend)
		if n <= 0 {
			if err := l.step(); err != nil {
				return err
			}
			continue
		}
		if err := l.frame.WriteData(streamID, false, b[:n]); err != nil {
			return err
		}
		b = b[n:]
		l.mayConn -= n
		l.maySend -= n
	}
	return nil
}

// receive waits for the next message, which is valid until the next call.
func (l *link) receive() ([]byte, error) {
	l.tidy()
	for {
		rest := l.body[l.from:]
		if len(rest) >= messagePrefix {
			size := int(binary.BigEndian.Uint32(rest[1:]))
			if rest[0] != 0 || size > maxMessage {
				return nil, fmt.Errorf("a message of %d bytes, compressed %v", size, rest[0] != 0)
			}
			if whole := messagePrefix + size; len(rest) >= whole {
				l.from += whole
				return rest[messagePrefix:whole], nil
			} else if cap(rest) < whole {
				l.grow(whole)
			}
		}
		if err := l.step(); err != nil {
			return nil, err
		}
	}
}

// tidy drops what was returned.
func (l *link) tidy() {
	n := copy(l.body, l.body[l.from:])
	l.body, l.from = l.body[:n], 0
	if n == 0 && cap(l.body) > keptBody {
		b := l.body
		l.buffers.messages.Put(&b)
		l.body = nil
	}
}

// grow makes room for so many bytes of what is not returned yet.
func (l *link) grow(whole int) {
	var b []byte
	if kept, ok := l.buffers.messages.Get().(*[]byte); ok && cap(*kept) >= whole {
		b = (*kept)[:0]
	} else {
		b = make([]byte, 0, whole)
	}
	l.body, l.from = append(b, l.body[l.from:]...), 0
}

// step takes in what has come, and waits for something if nothing has. Before that
// it sends what is left to send.
func (l *link) step() error {
	if l.end != nil {
		return l.end
	}
	if l.out.Len() > 0 {
		if _, err := l.out.WriteTo(l.conn); err != nil {
			l.out.Reset() // reading tells why
		}
	}
	var n int
	var failure error
	err := l.raw.Read(func(fd uintptr) bool {
		chunk := l.buffers.chunk()
		defer l.buffers.chunks.Put(chunk)
		for {
			n, failure = unix.Read(int(fd), *chunk)
			if failure != unix.EINTR {
				break
			}
		}
		if failure == unix.EAGAIN {
			return false
		}
		if failure == nil {
			failure = l.take((*chunk)[:max(n, 0)])
		}
		return true
	})
	switch {
	case err != nil:
		return err
	case failure != nil:
		return failure
	case n == 0:
		return io.ErrUnexpectedEOF
	}
	return nil
}

// take takes bytes of the connection apart into frames, of which DATA goes into the
// body at once.
func (l *link) take(b []byte) error {
	for len(b) > 0 {
		switch {
		case l.data > 0:
			n := min(l.data, len(b))
			if err := l.append(b[:n]); err != nil {
				return err
			}
			b, l.data = b[n:], l.data-n
		case l.control > 0:
			n := min(l.control, len(b))
			l.in.Write(b[:n])
			b = b[n:]
			if l.control -= n; l.control == 0 {
				if err := l.other(); err != nil {
					return err
				}
			}
		default:
			n := copy(l.head[l.headed:], b)
			b = b[n:]
			if l.headed += n; l.headed == frameHeader {
				l.headed = 0
				if err := l.began(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// began takes in a frame's header.
func (l *link) began() error {
	size := int(l.head[0])<<16 | int(l.head[1])<<8 | int(l.head[2])
	kind, flags := http2.FrameType(l.head[3]), http2.Flags(l.head[4])
	switch {
	case size > frameSize:
		return fmt.Errorf("a frame of %d bytes", size)
	case kind == http2.FrameData && flags.Has(http2.FlagDataPadded):
		return errors.New("padding, which no server of ours sends")
	case kind == http2.FrameData:
		l.data = size
		return nil
	}
	l.in.Write(l.head[:])
	if l.control = size; size == 0 {
		return l.other()
	}
	return nil
}

// append takes in content of DATA frames.
func (l *link) append(b []byte) error {
	rest := len(l.body) - l.from
	if cap(l.body)-len(l.body) < len(b) {
		whole := rest + len(b)
		if rest >= messagePrefix {
			size := binary.BigEndian.Uint32(l.body[l.from+1:])
			whole = max(whole, messagePrefix+int(min(size, maxMessage)))
		} else if rest == 0 && len(b) >= messagePrefix {
			whole = max(whole, messagePrefix+int(min(binary.BigEndian.Uint32(b[1:]), maxMessage)))
		}
		l.grow(whole)
	}
	l.body = append(l.body, b...)
	return l.account(uint32(len(b)))
}

// other takes in a frame that is not DATA.
func (l *link) other() error {
	f, err := l.frame.ReadFrame()
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		if f.StreamEnded() {
			l.ended(f)
		}
	case *http2.SettingsFrame:
		return l.settings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return l.frame.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			l.mayConn += int64(f.Increment)
		} else {
			l.maySend += int64(f.Increment)
		}
	case *http2.RSTStreamFrame:
		l.end = fmt.Errorf("stream reset: %v", f.ErrCode)
	}
	return nil
}

// account gives room back to the server when half of it is taken.
func (l *link) account(n uint32) error {
	l.takenConn += n
	l.takenStream += n
	var err error
	if l.takenStream > streamWindow/2 {
		err = l.frame.WriteWindowUpdate(streamID, l.takenStream)
		l.takenStream = 0
	}
	if l.takenConn > connectionWindow/2 {
		err = errors.Join(err, l.frame.WriteWindowUpdate(0, l.takenConn))
		l.takenConn = 0
	}
	return err
}

func (l *link) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
		l.maySend += int64(v) - l.initial
		l.initial = int64(v)
	}
	return l.frame.WriteSettingsAck()
}

// ended notes how the server ended the stream. What came before counts.
func (l *link) ended(f *http2.MetaHeadersFrame) {
	var status, message string
	for _, h := range f.Fields {
		switch h.Name {
		case "grpc-status":
			status = h.Value
		case "grpc-message":
			message = h.Value
		}
	}
	l.end = fmt.Errorf("the server ended the stream: status %s, %s", status, message)
}
