package h2

import (
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/http2"
	"lateen.dev/lateen/wire/sock"
)

// Downstream is one stream of a client.
type Downstream struct {
	stream *http2.Stream
	body   body
	out    http2.Head
	sent   bool // the response is complete
	stall  time.Duration
	flush  time.Duration
	held   bool         // a tunnel was asked for and doesn't stand yet: nothing is read
	keyed  bool         // the client sent no Sec-WebSocket-Key, and expects no answer to it
	batch  *http2.Batch // not nil: what is sent goes there, see Pass
}

var _ exchange.Downstream = (*Downstream)(nil)

// Begin starts the exchange of a stream whose request has arrived, and fills
// h with its head. The Downstream may have served another before.
func (d *Downstream) Begin(s *http2.Stream, h *http1.Head) {
	d.stream, d.sent, d.stall, d.flush, d.batch = s, false, 0, 0, nil
	d.body = body{stream: s}
	requestHead(h, s.Head(), s.Ended())
	d.held = h.Upgrade || h.Method == http1.MethodConnect
	d.keyed = h.Upgrade && !h.Has(header.SecWebsocketKey) && header.EqualFold(h.Get(header.Upgrade), "websocket")
	if d.keyed {
		h.AddKnown(header.SecWebsocketKey, webSocketKey())
	}
}

// Whole says that all of the request has come, and that its body has been read.
func (d *Downstream) Whole() bool { return d.stream.Ended() }

// End gives back what the exchange held. The stream ends with its handler.
func (d *Downstream) End() {
	d.body.release()
	if !d.sent {
		d.stream.Reset(http2.InternalError)
	} else if !d.stream.Ended() {
		// The response is complete and nobody wants the rest of the request.
		d.stream.Reset(http2.NoError)
	}
	d.stream = nil
}

// OnReset has f called when the client gives up. It must not block, nor call
// into the stream.
func (d *Downstream) OnReset(f func()) {
	if f == nil {
		d.stream.OnReset(nil)
		return
	}
	d.stream.OnReset(func(error) { f() })
}

// LimitStalls bounds how long a piece of the response may wait for a client that
// opens no window; 0 is no limit. It holds for the exchange that has begun.
func (d *Downstream) LimitStalls(limit time.Duration) { d.stall, d.flush = limit, limit }

// LimitFlush is LimitStalls for the last piece alone.
func (d *Downstream) LimitFlush(limit time.Duration) { d.flush = limit }

// Next implements exchange.Downstream.
func (d *Downstream) Next(wait, _ bool) (exchange.Piece, error) {
	if d.held {
		return exchange.Piece{End: true}, nil
	}
	p, err := d.body.next(wait)
	if p.End && !wait && d.stream.Trailers() != nil {
		p.End = false // what there is at first is sent with the head, and trailers can't be
	}
	return p, err
}

// Trailers implements exchange.Downstream.
func (d *Downstream) Trailers(l *header.List) { addTrailers(l, d.stream.Trailers()) }

// Respond implements exchange.Downstream.
func (d *Downstream) Respond(h *http1.Head, first exchange.Piece) error {
	if h.Framing == http1.FramingTunnel {
		d.held = false
		if d.keyed {
			h.RemoveName(webSocketAccept)
		}
	}
	responseFields(&d.out, h)
	switch {
	case h.Status == 101:
		d.out.Status = 200 // RFC 8441 section 5
	case d.held && h.Status/100 == 2:
		d.out.Status = 502 // to HTTP/1 it means that there is no upgrade, here it would mean that there is one
	}
	end := first.End && len(first.Data) == 0
	var err error
	if d.batch != nil {
		err = d.stream.SendHead(d.batch, &d.out, end)
	} else {
		err = d.stream.WriteHead(&d.out, end)
	}
	if err != nil {
		return translate(err)
	}
	d.sent = end
	if end || len(first.Data) == 0 {
		return nil
	}
	return d.Write(first, nil)
}

// Write implements exchange.Downstream.
func (d *Downstream) Write(p exchange.Piece, trailers *header.List) error {
	var err error
	if d.batch != nil {
		err = d.passPiece(p, trailers)
	} else {
		limit := d.stall
		if p.End {
			limit = d.flush
		}
		at := time.Time{}
		if limit > 0 {
			at = time.Now().Add(limit)
		}
		d.stream.SetWriteDeadline(at)
		err = writePiece(d.stream, &d.out, p, trailers)
	}
	if err == nil && p.End {
		d.sent = true
	}
	return err
}

// writePiece sends a piece of a body, and what ends it.
func writePiece(s *http2.Stream, scratch *http2.Head, p exchange.Piece, trailers *header.List) error {
	switch {
	case !p.End:
		_, err := s.Write(p.Data)
		return translate(err)
	case trailers == nil || len(trailers.Fields) == 0:
		return translate(s.WriteEnd(p.Data))
	}
	if len(p.Data) > 0 {
		if _, err := s.Write(p.Data); err != nil {
			return translate(err)
		}
	}
	trailerFields(scratch, trailers)
	return translate(s.WriteHead(scratch, true))
}

// Stop implements exchange.Downstream.
func (d *Downstream) Stop() { d.stream.StopRead() }

// Deadline implements exchange.Downstream.
func (d *Downstream) Deadline(at sock.Instant) { d.stream.SetReadDeadline(deadline(at)) }

// Reset implements exchange.Downstream. Where frames are passed on, Leave does it.
func (d *Downstream) Reset() {
	if d.batch == nil {
		d.stream.Reset(http2.InternalError)
	}
}

// Framed implements exchange.Downstream: chunks are HTTP/1's.
func (d *Downstream) Framed() bool { return false }
