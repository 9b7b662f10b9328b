package grpcweb

import (
	"bytes"
	"encoding/base64"
	"errors"
	"testing"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
)

// client is the side that a Bridge stands before.
type client struct {
	exchange.Downstream
	pieces []exchange.Piece
	head   *http1.Head
	got    []byte
	ended  bool
}

func (c *client) Next(bool, bool) (exchange.Piece, error) {
	if len(c.pieces) == 0 {
		return exchange.Piece{End: true}, nil
	}
	p := c.pieces[0]
	c.pieces = c.pieces[1:]
	return p, nil
}

func (c *client) Respond(h *http1.Head, p exchange.Piece) error {
	c.head = h
	return c.Write(p, nil)
}

func (c *client) Write(p exchange.Piece, _ *header.List) error {
	c.got, c.ended = append(c.got, p.Data...), p.End
	return nil
}

func head(contentType, accept string) *http1.Head {
	h := &http1.Head{}
	h.Reset()
	h.Method, h.Framing, h.ContentLength = http1.MethodPost, http1.FramingLength, 8
	h.AddKnown(header.ContentType, []byte(contentType))
	if accept != "" {
		h.AddKnown(header.Accept, []byte(accept))
	}
	return h
}

func answer(status int, contentType string) *http1.Head {
	h := &http1.Head{}
	h.Reset()
	h.Status, h.Framing = status, http1.FramingChunked
	h.AddKnown(header.ContentType, []byte(contentType))
	return h
}

func TestKinds(t *testing.T) {
	for ct, want := range map[string]Kind{
		"application/grpc-web": Binary, "application/grpc-web+proto": Binary, "application/grpc-web; charset=x": Binary,
		"application/grpc-web-text": Text, "Application/GRPC-Web-Text+Proto": Text,
		"application/grpc": No, "application/grpc-web+json": No, "application/json": No, "": No,
	} {
		if got := KindOf([]byte(ct)); got != want {
			t.Errorf("%q: %d, want %d", ct, got, want)
		}
	}
}

func TestRequestBecomesGRPC(t *testing.T) {
	h := head("application/grpc-web", "")
	New(&client{}, h, Binary)
	if string(h.Get(header.ContentType)) != "application/grpc" || !h.TrailersOK || h.Framing != http1.FramingChunked || h.ContentLength != -1 {
		t.Errorf("head %+v", h)
	}
}

func TestTrailersAreTheLastFrame(t *testing.T) {
	for _, tc := range []struct {
		name, asked, accept, wantType string
		text                          bool
	}{
		{"binary", "application/grpc-web+proto", "", "application/grpc-web+proto", false},
		{"text", "application/grpc-web-text", "application/grpc-web-text", "application/grpc-web-text+proto", true},
		{"text for binary", "application/grpc-web", "*/*, application/grpc-web-text", "application/grpc-web-text+proto", true},
		{"binary for text", "application/grpc-web-text", "application/grpc-web", "application/grpc-web+proto", false},
		{"text for who says nothing", "application/grpc-web-text", "*/*", "application/grpc-web-text+proto", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &client{}
			b := New(c, head(tc.asked, tc.accept), KindOf([]byte(tc.asked)))
			if err := b.Respond(answer(200, "application/grpc"), exchange.Piece{Data: []byte("\x00\x00\x00\x00\x01")}); err != nil {
				t.Fatal(err)
			}
			var l header.List
			l.Add([]byte("Grpc-Status"), []byte("0"))
			l.Add([]byte("grpc-message"), []byte("fine"))
			err := errors.Join(b.Write(exchange.Piece{Data: []byte("x")}, nil), b.Write(exchange.Piece{End: true}, &l))
			if err != nil || !c.ended || string(c.head.Get(header.ContentType)) != tc.wantType {
				t.Errorf("%v, ended %v, head %+v", err, c.ended, c.head)
			}
			got := c.got
			if tc.text {
				if got, err = (&decoder{}).append(nil, got, true); err != nil {
					t.Fatal(err)
				}
			}
			if want := "\x00\x00\x00\x00\x01x\x80\x00\x00\x00\x22grpc-status:0\r\ngrpc-message:fine\r\n"; string(got) != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestForeignAnswersBecomeStatuses(t *testing.T) {
	c := &client{}
	b := New(c, head("application/grpc-web", ""), Binary)
	err := errors.Join(b.Respond(answer(503, "text/html"), exchange.Piece{Data: []byte("100% ")}),
		b.Write(exchange.Piece{Data: bytes.Repeat([]byte("."), maxMessage)}, nil), b.Write(exchange.Piece{End: true}, nil))
	if err != nil || !c.ended || len(c.got) != 0 || c.head.Status != 503 || c.head.ContentLength != 0 ||
		string(c.head.Get(header.GRPCStatus)) != "14" || string(c.head.Get(header.ContentType)) != "application/grpc-web+proto" {
		t.Errorf("%v, head %+v, body %q", err, c.head, c.got)
	}
	if m := c.head.Value(nameMessage); !bytes.HasPrefix(m, []byte("100%25 ...")) || len(m) != maxMessage+2 {
		t.Errorf("message of %d bytes: %.20q", len(m), m)
	}
	c = &client{}
	b = New(c, head("application/grpc-web", ""), Binary)
	if err := b.Respond(answer(404, "text/plain"), exchange.Piece{End: true}); err != nil || string(c.head.Get(header.GRPCStatus)) != "12" {
		t.Errorf("%v, head %+v", err, c.head)
	}
}

func TestTextInPieces(t *testing.T) {
	whole := base64.StdEncoding.EncodeToString([]byte("hello")) + base64.StdEncoding.EncodeToString([]byte("world!!"))
	for size := 1; size <= len(whole); size++ {
		c := &client{}
		for rest := []byte(whole); len(rest) > 0; {
			n := min(size, len(rest))
			c.pieces = append(c.pieces, exchange.Piece{Data: rest[:n]})
			rest = rest[n:]
		}
		b := New(c, head("application/grpc-web-text", ""), Text)
		var got []byte
		for {
			p, err := b.Next(true, true)
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, p.Data...); p.End {
				break
			}
			if len(p.Data) == 0 {
				t.Fatal("an empty piece")
			}
		}
		if string(got) != "helloworld!!" {
			t.Errorf("pieces of %d: %q", size, got)
		}
	}
	for _, bad := range []string{"A", "AAAA=", "AA A", "A=AA", "AAA\n", "AAAAA==="} {
		b := New(&client{pieces: []exchange.Piece{{Data: []byte(bad), End: true}}}, head("application/grpc-web-text", ""), Text)
		if p, err := b.Next(true, false); !errors.Is(err, exchange.ErrProtocol) {
			t.Errorf("%q: %q, %v", bad, p.Data, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("aGVsbG8=d29ybGQ="), 3)
	f.Add([]byte("AAAAAAA="), 1)
	f.Add([]byte("===="), 2)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		whole, err := (&decoder{}).append(nil, in, true)
		var d decoder
		var cut []byte
		var cutErr error
		size = max(1, size)
		for rest := in; cutErr == nil; {
			n := min(size, len(rest))
			cut, cutErr = d.append(cut, rest[:n], n == len(rest))
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
		if (err == nil) != (cutErr == nil) || err == nil && !bytes.Equal(whole, cut) {
			t.Errorf("whole: %q %v; in pieces: %q %v", whole, err, cut, cutErr)
		}
	})
}
