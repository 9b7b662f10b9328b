package h2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/http2"
)

// connect joins a client's connection to a server that runs handler for each
// exchange.
func connect(t *testing.T, handler func(d *Downstream, h *http1.Head)) *http2.Conn {
	t.Helper()
	a, b := net.Pipe()
	server := http2.NewServer(b, http2.Config{}, func(s *http2.Stream) {
		var d Downstream
		var h http1.Head
		d.Begin(s, &h)
		handler(&d, &h)
		d.End()
	})
	client := http2.NewClient(a, http2.Config{})
	done := make(chan error, 2)
	go func() { done <- server.Run() }()
	go func() { done <- client.Run() }()
	t.Cleanup(func() {
		client.Close()
		server.Close()
		<-done
		<-done
	})
	return client
}

func post(body string) *http1.Head {
	h := new(http1.Head)
	h.Reset()
	h.Method, h.MethodName = http1.MethodPost, []byte("POST")
	h.Path, h.Authority = []byte("/reviews/0"), []byte("reviews:9080")
	h.AddKnown(header.Host, h.Authority)
	h.Add([]byte("X-Test"), []byte(body))
	h.TrailersOK = true
	h.Framing, h.ContentLength = http1.FramingChunked, -1
	return h
}

// collect reads pieces to the end.
func collect(next func() (exchange.Piece, error), first exchange.Piece) (string, error) {
	var b bytes.Buffer
	for p := first; ; {
		b.Write(p.Data)
		if p.End {
			return b.String(), nil
		}
		var err error
		if p, err = next(); err != nil {
			return b.String(), err
		}
	}
}

func TestExchange(t *testing.T) {
	client := connect(t, func(d *Downstream, h *http1.Head) {
		if h.Method != http1.MethodPost || string(h.Path) != "/reviews/0" || string(h.Authority) != "reviews:9080" ||
			!h.TrailersOK || h.Has(header.Host) || h.Framing != http1.FramingChunked {
			t.Errorf("request head %+v", h)
		}
		body, err := collect(func() (exchange.Piece, error) { return d.Next(true, false) }, exchange.Piece{})
		if err != nil || body != "hello" {
			t.Errorf("request body %q, %v", body, err)
		}
		var trailers header.List
		d.Trailers(&trailers)
		if len(trailers.Fields) != 1 || string(trailers.Fields[0].Value) != "t" {
			t.Errorf("request trailers %v", trailers.Fields)
		}
		var r http1.Head
		r.Reset()
		r.Status = 103
		r.Add([]byte("link"), []byte("</a>"))
		d.Respond(&r, exchange.Piece{})
		r.Reset()
		r.Status = 200
		r.Add([]byte("Connection"), []byte("close"))
		r.Add([]byte("Server"), []byte("x"))
		if err := d.Respond(&r, exchange.Piece{Data: []byte("wor")}); err != nil {
			t.Error(err)
		}
		trailers.Reset()
		trailers.Add([]byte("grpc-status"), []byte("0"))
		if err := d.Write(exchange.Piece{Data: []byte("ld"), End: true}, &trailers); err != nil {
			t.Error(err)
		}
	})
	u := NewUpstream(client, Options{Scheme: "http"})
	defer u.Close()
	if err := u.Send(post("a"), exchange.Piece{Data: []byte("hel")}); err != nil {
		t.Fatal(err)
	}
	var trailers header.List
	trailers.Add([]byte("x-sum"), []byte("t"))
	if err := u.Write(exchange.Piece{Data: []byte("lo"), End: true}, &trailers); err != nil {
		t.Fatal(err)
	}
	var h http1.Head
	if _, err := u.Response(&h, false); err != nil || h.Status != 103 || len(h.Fields) != 1 {
		t.Fatalf("interim response %d %v, %v", h.Status, h.Fields, err)
	}
	p, err := u.Response(&h, false)
	if err != nil || h.Status != 200 || h.Has(header.Connection) || string(h.Get(header.Server)) != "x" {
		t.Fatalf("response %+v, %v", h, err)
	}
	body, err := collect(u.Next, p)
	if err != nil || body != "world" {
		t.Errorf("response body %q, %v", body, err)
	}
	var got header.List
	u.Trailers(&got)
	if string(got.Get(header.GRPCStatus)) != "0" {
		t.Errorf("response trailers %v", got.Fields)
	}
}

func TestHeadOnlyResponse(t *testing.T) {
	client := connect(t, func(d *Downstream, _ *http1.Head) {
		var r http1.Head
		r.Reset()
		r.Status = 204
		if err := d.Respond(&r, exchange.Piece{End: true}); err != nil {
			t.Error(err)
		}
	})
	u := NewUpstream(client, Options{})
	defer u.Close()
	h := post("a")
	if err := u.Send(h, exchange.Piece{End: true}); err != nil {
		t.Fatal(err)
	}
	p, err := u.Response(h, false)
	if err != nil || h.Status != 204 || !p.End || h.Framing != http1.FramingNone {
		t.Errorf("response %d, %+v, %v", h.Status, p, err)
	}
}

func TestCancelEndsAWait(t *testing.T) {
	reset := make(chan struct{})
	client := connect(t, func(d *Downstream, _ *http1.Head) {
		d.OnReset(func() { close(reset) })
		<-reset
	})
	u := NewUpstream(client, Options{})
	if err := u.Send(post("a"), exchange.Piece{End: true}); err != nil {
		t.Fatal(err)
	}
	go u.Cancel()
	var h http1.Head
	if _, err := u.Response(&h, false); !errors.Is(err, exchange.ErrCanceled) {
		t.Errorf("a canceled exchange ends with %v", err)
	}
	select {
	case <-reset:
	case <-time.After(10 * time.Second):
		t.Error("the server does not hear of it")
	}
	u.Close()
	u.Cancel() // after Close it must do nothing
}

func TestServerGivesUp(t *testing.T) {
	client := connect(t, func(*Downstream, *http1.Head) {})
	u := NewUpstream(client, Options{})
	defer u.Close()
	if err := u.Send(post("a"), exchange.Piece{End: true}); err != nil {
		t.Fatal(err)
	}
	var h http1.Head
	if _, err := u.Response(&h, false); !errors.Is(err, exchange.ErrReset) {
		t.Errorf("a reset exchange ends with %v", err)
	}
}

func TestClosedConnectionRefuses(t *testing.T) {
	client := connect(t, func(*Downstream, *http1.Head) {})
	client.Close()
	u := NewUpstream(client, Options{})
	if err := u.Send(post("a"), exchange.Piece{End: true}); !errors.Is(err, exchange.ErrRefused) {
		t.Errorf("Send on a closed connection: %v", err)
	}
	u.Close()
	if !errors.Is(translate(io.ErrUnexpectedEOF), exchange.ErrRemoteEnd) {
		t.Error("an unexpected end is not the peer's end")
	}
}

func TestStopLeavesTheResponse(t *testing.T) {
	client := connect(t, func(d *Downstream, _ *http1.Head) {
		stopped := make(chan error, 1)
		go func() {
			_, err := d.Next(true, false)
			stopped <- err
		}()
		d.Stop()
		if err := <-stopped; err == nil {
			t.Error("a stopped read gives a piece")
		}
		var r http1.Head
		r.Reset()
		r.Status = 503
		if err := d.Respond(&r, exchange.Piece{End: true}); err != nil {
			t.Error(err)
		}
	})
	u := NewUpstream(client, Options{})
	defer u.Close()
	if err := u.Send(post("a"), exchange.Piece{}); err != nil {
		t.Fatal(err)
	}
	var h http1.Head
	if p, err := u.Response(&h, false); err != nil || h.Status != 503 || !p.End {
		t.Errorf("response %d, %+v, %v", h.Status, p, err)
	}
}

// TestTrailersAloneComeLast has a request of a head and trailers, all of which is there at the beginning: the end comes with a
// later piece, with which trailers can be sent.
func TestTrailersAloneComeLast(t *testing.T) {
	first, last, got := make(chan exchange.Piece, 1), make(chan exchange.Piece, 1), make(chan string, 1)
	conn := connect(t, func(d *Downstream, _ *http1.Head) {
		p, err := d.Next(true, false) // until all is there
		if err == nil {
			p, err = d.Next(false, false)
		}
		first <- p
		if err == nil {
			p, err = d.Next(true, false)
		}
		if err != nil {
			t.Error(err)
		}
		last <- p
		var l header.List
		d.Trailers(&l)
		got <- string(l.Get(l.Fields[0].ID))
	})
	u := NewUpstream(conn, Options{Scheme: "http"})
	defer u.Close()
	if err := u.Send(post(""), exchange.Piece{}); err != nil {
		t.Fatal(err)
	}
	var l header.List
	l.Add([]byte("grpc-status"), []byte("7"))
	if err := u.Write(exchange.Piece{End: true}, &l); err != nil {
		t.Fatal(err)
	}
	if a, b, v := <-first, <-last, <-got; a.End || !b.End || v != "7" {
		t.Errorf("first %+v, last %+v, trailer %q", a, b, v)
	}
}
