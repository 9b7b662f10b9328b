package http2

import (
	"bytes"
	"crypto/rand"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
)

// reluctant is a transport that now and then takes only a part of what it could.
type reluctant struct {
	net.Conn
	mu     sync.Mutex // guards what follows
	random *mathrand.Rand
	lent   int // bytes of loans
}

func newReluctant(c net.Conn, seed uint64) *reluctant {
	return &reluctant{Conn: c, random: mathrand.New(mathrand.NewPCG(seed, 1))}
}

func (r *reluctant) Gathers() bool { return true }

func (r *reluctant) TryWrite(p []byte) (int, bool, error) { return r.TryWriteVector([][]byte{p}) }

func (r *reluctant) TryWriteVector(v [][]byte) (int, bool, error) {
	all := 0
	for _, p := range v {
		all += len(p)
	}
	r.mu.Lock()
	take := all
	if r.random.IntN(4) == 0 {
		take = r.random.IntN(all + 1)
	}
	if len(v) > 1 || all > minLoan {
		r.lent += take
	}
	r.mu.Unlock()
	left := take
	for _, p := range v {
		n := min(left, len(p))
		if _, err := r.Write(p[:n]); err != nil {
			return 0, false, err
		}
		left -= n
	}
	return take, take < all, nil
}

// passage relays one stream, by the readers of its two connections.
type passage struct {
	mu       sync.Mutex // guards what follows
	down, up *Stream    // nil when it is over
	answered bool
	complete bool
	t        *testing.T
}

type (
	passageDown passage
	passageUp   passage
)

// lock returns the passage locked, or nil if the stream that calls isn't one of it any more.
func (p *passage) lock(s *Stream) *passage {
	p.mu.Lock()
	if s != p.down && s != p.up {
		p.mu.Unlock()
		return nil
	}
	return p
}

// unlock ends the passage once all of the response has gone out.
func (p *passage) unlock(b *Batch) {
	if p.complete && p.down.Kept() == 0 {
		p.up.Leave(b, Cancel)
		p.down.Leave(b, NoError)
		p.down, p.up = nil, nil
	}
	p.mu.Unlock()
}

func (p *passage) sendHead(b *Batch, to *Stream, h *Head, end bool) {
	out := Head{List: h.List, Status: h.Status, ContentLength: -1}
	if err := to.SendHead(b, &out, end); err != nil {
		p.t.Error(err)
	}
}

func (p *passage) sendData(b *Batch, from, to *Stream, d []byte, end bool) {
	kept, err := to.Send(b, d, end)
	if err != nil {
		p.t.Error(err)
	}
	from.Consumed(b, len(d)-kept)
}

func (d *passageDown) ReceiveHead(b *Batch, s *Stream, h *Head, _ bool) bool {
	if p := (*passage)(d).lock(s); p != nil {
		p.sendHead(b, p.up, h, true)
		p.unlock(b)
	}
	return true
}

func (d *passageDown) ReceiveData(b *Batch, s *Stream, data []byte, end bool) bool {
	if p := (*passage)(d).lock(s); p != nil {
		p.sendData(b, p.down, p.up, data, end)
		p.unlock(b)
	}
	return true
}

func (d *passageDown) ReceiveReset(_ *Batch, _ *Stream, err error) { d.t.Error(err) }

func (d *passageDown) Sent(b *Batch, s *Stream, n int) {
	if p := (*passage)(d).lock(s); p != nil {
		p.up.Consumed(b, n)
		p.unlock(b)
	}
}

func (u *passageUp) ReceiveHead(b *Batch, s *Stream, h *Head, end bool) bool {
	if p := (*passage)(u).lock(s); p != nil {
		p.complete = end || p.answered
		p.answered = true
		p.sendHead(b, p.down, h, p.complete)
		p.unlock(b)
	}
	return true
}

func (u *passageUp) ReceiveData(b *Batch, s *Stream, data []byte, end bool) bool {
	if p := (*passage)(u).lock(s); p != nil {
		p.complete = end
		p.sendData(b, p.up, p.down, data, end)
		p.unlock(b)
	}
	return true
}

func (u *passageUp) ReceiveReset(_ *Batch, _ *Stream, err error) { u.t.Error(err) }

func (u *passageUp) Sent(b *Batch, s *Stream, n int) {
	if p := (*passage)(u).lock(s); p != nil {
		p.down.Consumed(b, n)
		p.unlock(b)
	}
}

// begin opens the upstream side of a stream.
func (p *passage) begin(b *Batch, up *Conn, s *Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Attach((*passageDown)(p))
	h := s.Head()
	out := Head{List: h.List, Method: h.Method, Scheme: h.Scheme, Authority: h.Authority, Path: h.Path, ContentLength: -1}
	opened, err := up.OpenReceived(b, &out, false, (*passageUp)(p))
	if err != nil {
		p.t.Error(err)
		s.Leave(b, RefusedStream)
		return
	}
	p.down, p.up = s, opened
}

// TestLoans relays bodies between several clients' connections and one server's, in both directions at the same time,
// over transports that don't always take what they are given: what one reader lends to many, and many to one, comes out
// as it was sent.
func TestLoans(t *testing.T) {
	near, far := pipe(t)
	server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Trailer")
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Trailer", "end")
	})}
	server.Protocols.SetUnencryptedHTTP2(true)
	var ended sync.WaitGroup
	ended.Go(func() { _ = server.Serve(&single{conn: far}) })
	out := newReluctant(near, 1)
	up := NewClient(out, Config{})
	ended.Go(func() { _ = up.Run() })
	body := make([]byte, 512<<10)
	if _, err := rand.Read(body); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	var clients []net.Conn
	var ins []*reluctant
	var conns []*Conn
	for i := range 3 {
		client, proxy := pipe(t)
		in := newReluctant(proxy, uint64(i+2))
		clients, ins = append(clients, client), append(ins, in)
		c := NewServer(in, Config{}, nil)
		conns = append(conns, c)
		c.OnStream(func(b *Batch, s *Stream) { (&passage{t: t}).begin(b, up, s) })
		ended.Go(func() { _ = c.Run() })
		cc := theirClient(t, client)
		for range 4 {
			calls.Go(func() { echoed(t, cc, body) })
		}
	}
	calls.Wait()
	for i, c := range clients {
		c.Close()
		if ins[i].lent == 0 {
			t.Error("nothing was lent to a client's connection")
		}
	}
	if out.lent == 0 {
		t.Error("nothing was lent to the server's connection")
	}
	near.Close()
	server.Close()
	ended.Wait()
	for _, c := range append(conns, up) {
		if c.held != 0 || c.withheld != 0 || len(c.loans) != 0 {
			t.Errorf("%d bytes are still held, %d withheld, %d loans left", c.held, c.withheld, len(c.loans))
		}
	}
}

// echoed sends a body and expects it back, with a trailer behind it.
func echoed(t *testing.T, cc http.RoundTripper, body []byte) {
	req, err := http.NewRequest("POST", "http://reviews/", bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	resp, err := cc.RoundTrip(req)
	if err != nil {
		t.Error(err)
		return
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, body) || resp.Trailer.Get("X-Trailer") != "end" {
		t.Errorf("%d bytes, %v, %v", len(got), resp.Trailer, err)
	}
}

// single is a listener that gives one connection.
type single struct {
	conn net.Conn
	once sync.Once
	over chan struct{}
}

func (l *single) Accept() (net.Conn, error) {
	first := false
	l.once.Do(func() { first, l.over = true, make(chan struct{}) })
	if first {
		return l.conn, nil
	}
	<-l.over
	return nil, net.ErrClosed
}

func (l *single) Close() error {
	close(l.over)
	return nil
}

func (l *single) Addr() net.Addr { return l.conn.LocalAddr() }
