package h2

import (
	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/http2"
)

// What follows is for exchanges whose frames are passed on by the connections' readers. Nothing of it waits.

// Pass has the response's head and pieces sent through b from now on, without waiting: what the client's windows don't
// let through is kept. nil ends that.
func (d *Downstream) Pass(b *http2.Batch) { d.batch = b }

// Sent tells whether the response has been sent to its end; some of it may be kept still.
func (d *Downstream) Sent() bool { return d.sent }

// Leave is End for a stream whose frames are passed on.
func (d *Downstream) Leave(b *http2.Batch) {
	s, code := d.stream, http2.InternalError
	if d.sent {
		code = http2.NoError // the response is complete and nobody wants the rest of the request
	}
	d.body.release()
	d.stream, d.batch = nil, nil
	s.Leave(b, code)
}

// PassData sends a piece of the response; kept is how much of it waits.
func (d *Downstream) PassData(p []byte, end bool) (kept int, err error) {
	kept, err = d.stream.Send(d.batch, p, end)
	d.sent = d.sent || end && err == nil
	return kept, translate(err)
}

// passPiece is writePiece without waiting.
func (d *Downstream) passPiece(p exchange.Piece, trailers *header.List) error {
	if !p.End || trailers == nil || len(trailers.Fields) == 0 {
		_, err := d.stream.Send(d.batch, p.Data, p.End)
		return translate(err)
	}
	if len(p.Data) > 0 {
		if _, err := d.stream.Send(d.batch, p.Data, false); err != nil {
			return translate(err)
		}
	}
	trailerFields(&d.out, trailers)
	return translate(d.stream.SendHead(d.batch, &d.out, true))
}

// Sender sends requests of exchanges whose frames are passed on. Its zero value is ready; it keeps memory for the next.
type Sender struct{ out http2.Head }

// Open sends a request's head. exchange.ErrRefused says that the connection takes no more.
func (o *Sender) Open(b *http2.Batch, on Room, h *http1.Head, end bool, r http2.Receiver) (*http2.Stream, error) {
	requestFields(&o.out, h, on.Scheme)
	s, err := on.Conn.OpenReceived(b, &o.out, end, r)
	return s, translate(err)
}

// Trailers ends a request with trailers.
func (o *Sender) Trailers(b *http2.Batch, s *http2.Stream, l *header.List) error {
	trailerFields(&o.out, l)
	if len(o.out.Fields) == 0 {
		_, err := s.Send(b, nil, true)
		return translate(err)
	}
	return translate(s.SendHead(b, &o.out, true))
}

// ResponseHead fills h with a response's head, views and all.
func ResponseHead(h *http1.Head, in *http2.Head, ended bool) { responseHead(h, in, ended) }

// AddTrailers adds trailers to l, as views.
func AddTrailers(l *header.List, in *http2.Head) { addTrailers(l, in) }

// Fault turns an error of a stream into one of package exchange.
func Fault(err error) error { return translate(err) }
