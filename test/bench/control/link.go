package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
)

// link is a discovery stream on a connection of its own, with as much of HTTP/2
// and gRPC as that takes. The goroutine that uses it reads and writes by itself:
// gRPC's client has four goroutines for each and wakes two for each response,
// so that a thousand of them would use as much of the machine as the server that
// is measured. It belongs to one goroutine.
type link struct {
	conn  net.Conn
	in    *bufio.Reader
	out   bytes.Buffer // goes out before anything is waited for
	frame *http2.Framer
	// buffers are of no message at the moment; all links share them.
	buffers *sync.Pool

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
	messagePrefix    = 5
	maxMessage       = 256 << 20
	// keptBody is what a link keeps when nothing is under way.
	keptBody = 16 << 10
)

// dial opens a stream of the method.
func dial(ctx context.Context, address, method string, buffers *sync.Pool) (*link, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	l := &link{conn: conn, in: bufio.NewReader(conn), buffers: buffers, mayConn: defaultWindow, maySend: defaultWindow, initial: defaultWindow}
	l.out.WriteString(http2.ClientPreface)
	l.frame = http2.NewFramer(&l.out, l.in)
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
		l.buffers.Put(&b)
		l.body = nil
	}
}

// grow makes room for a message of so many bytes.
func (l *link) grow(whole int) {
	var b []byte
	if kept, ok := l.buffers.Get().(*[]byte); ok && cap(*kept) >= whole {
		b = (*kept)[:0]
	} else {
		b = make([]byte, 0, whole)
	}
	l.body, l.from = append(b, l.body[l.from:]...), 0
}

// step takes in one frame, before which it sends what is left to send if it has
// to wait.
func (l *link) step() error {
	if l.end != nil {
		return l.end
	}
	const frameHeader = 9
	if l.out.Len() > 0 && l.in.Buffered() < frameHeader {
		if _, err := l.out.WriteTo(l.conn); err != nil && l.in.Buffered() == 0 {
			l.out.Reset() // reading tells why
		}
	}
	f, err := l.frame.ReadFrame()
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *http2.DataFrame:
		l.body = append(l.body, f.Data()...)
		return l.account(f.Length)
	case *http2.MetaHeadersFrame:
		if f.StreamEnded() {
			return l.ended(f)
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
		return l.end
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

// ended is how the server ended the stream.
func (l *link) ended(f *http2.MetaHeadersFrame) error {
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
	return l.end
}
