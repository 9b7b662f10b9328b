package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"lateen.dev/lateen/wire/header"
)

// readAll parses a request and takes the payload out of its body. more is true if the message isn't complete.
func readAll(in []byte, lim *Limits) (h *Head, payload []byte, consumed int, more bool, err error) {
	h = &Head{}
	n, err := ParseRequest(h, in, lim)
	if err != nil || n == 0 {
		return h, nil, 0, n == 0, err
	}
	payload, k, more, err := readBody(h, in[n:], lim)
	return h, payload, n + k, more, err
}

func readBody(h *Head, in []byte, lim *Limits) (payload []byte, consumed int, more bool, err error) {
	var body Body
	body.Reset(h.Framing, h.ContentLength, lim, true)
	for !body.Done() && consumed < len(in) {
		p, n, err := body.Payload(in[consumed:])
		if err != nil {
			return nil, consumed, false, err
		}
		payload = append(payload, p...)
		consumed += n
	}
	return payload, consumed, !body.Done(), nil
}

func addRequestSeeds(f *testing.F) {
	for _, tt := range requestCorpus {
		if len(tt.in) < 1000 {
			f.Add([]byte(tt.in))
		}
	}
	f.Add(browserRequest)
}

// FuzzRequest checks that what is forwarded means the same as what came, to us and in any pieces.
func FuzzRequest(f *testing.F) {
	addRequestSeeds(f)
	lim := &Limits{AcceptHTTP10: true, MaxHeadBytes: 2000, MaxFields: 20, MaxExtensionBytes: 100}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, consumed, err := forwardAll(in, max(len(in), 1), lim)
		out1, consumed1, err1 := forwardAll(in, 1, lim)
		// In pieces, a bad byte may be noticed only when its line ends.
		if err == nil && (err1 != nil || consumed1 != consumed) || err == UnexpectedEnd && err1 != UnexpectedEnd ||
			err != nil && err1 == nil || !bytes.Equal(out, out1) {
			t.Fatalf("whole: %q, %d, %v; byte by byte: %q, %d, %v", out, consumed, err, out1, consumed1, err1)
		}
		if err != nil {
			var r Reason
			if !errors.As(err, &r) || r.Status() < 400 {
				t.Fatalf("error is %v", err)
			}
			return
		}
		big := &Limits{AcceptHTTP10: true}
		h, payload, _, more, err := readAll(in, lim)
		if err != nil || more {
			t.Fatalf("passed on by Feed, but by Payload: more %v, %v", more, err)
		}
		if h.Authority == nil {
			return // HTTP/1.0 without Host: the engine has to supply one
		}
		h2, payload2, consumed2, more, err := readAll(out, big)
		if err != nil || more || consumed2 != len(out) {
			t.Fatalf("%q became %q: %d of %d, more %v, %v", in, out, consumed2, len(out), more, err)
		}
		if !bytes.Equal(payload, payload2) || h2.Framing != h.Framing || !bytes.Equal(h2.Authority, h.Authority) ||
			!bytes.Equal(h2.Path, h.Path) || h2.Method != h.Method {
			t.Fatalf("%q became %q", in, out)
		}
	})
}

// framingError says whether net/http's error is about where a message ends, rather than about what its URL or host
// look like.
func framingError(err error) bool {
	s := err.Error()
	return !strings.Contains(s, "parse ") && !strings.Contains(s, "malformed Host header") &&
		!strings.Contains(s, "invalid URI") && !strings.Contains(s, "invalid method")
}

// FuzzDifferentialRequest checks that net/http frames every request that we accept as we do, both as it came and as we
// forward it.
func FuzzDifferentialRequest(f *testing.F) {
	addRequestSeeds(f)
	lim := &Limits{AcceptHTTP10: true}
	f.Fuzz(func(t *testing.T, in []byte) {
		if bytes.HasPrefix(in, []byte("\r\n")) {
			return // net/http doesn't skip an empty line, as RFC 9112 section 2.2 would have it
		}
		h, payload, consumed, more, err := readAll(in, lim)
		if err != nil || more || h.Method == MethodConnect {
			return
		}
		compareRequest(t, in, in[consumed:], payload, h)
		if h.Authority != nil {
			out, _, err := forwardAll(in, len(in), lim)
			if err != nil {
				t.Fatal(err)
			}
			compareRequest(t, append(out, "rest"...), []byte("rest"), payload, h)
		}
	})
}

func compareRequest(t *testing.T, in, rest, payload []byte, h *Head) {
	t.Helper()
	src := bytes.NewReader(in)
	br := bufio.NewReader(src)
	req, err := http.ReadRequest(br)
	if err != nil {
		if framingError(err) {
			t.Fatalf("net/http refuses the head of %q: %v", in, err)
		}
		return
	}
	got, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatalf("net/http refuses the body of %q: %v", in, err)
	}
	if !bytes.Equal(got, payload) {
		t.Fatalf("payload of %q is %q to net/http, %q to us", in, got, payload)
	}
	if left := br.Buffered() + src.Len(); left != len(rest) {
		t.Fatalf("net/http leaves %d bytes of %q, we leave %d", left, in, len(rest))
	}
	if req.Host != string(h.Authority) && h.Authority != nil {
		t.Fatalf("host of %q is %q to net/http, %q to us", in, req.Host, h.Authority)
	}
}

func addResponseSeeds(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nnext",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 204\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nuntil the end",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
}

// FuzzDifferentialResponse does the same for responses.
func FuzzDifferentialResponse(f *testing.F) {
	addResponseSeeds(f)
	f.Fuzz(func(t *testing.T, in []byte, toHead bool) {
		method, m := MethodGet, "GET"
		if toHead {
			method, m = MethodHead, "HEAD"
		}
		var h Head
		n, err := ParseResponse(&h, in, method, nil)
		if err != nil || n == 0 || h.Framing == FramingTunnel || h.Status < 200 {
			return
		}
		payload, k, more, err := readBody(&h, in[n:], nil)
		if err != nil || more && h.Framing != FramingClose {
			return
		}
		src := bytes.NewReader(in)
		br := bufio.NewReader(src)
		resp, err := http.ReadResponse(br, &http.Request{Method: m})
		if err != nil {
			t.Fatalf("net/http refuses the head of %q: %v", in, err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("payload of %q is %q, %v to net/http, %q to us", in, got, err, payload)
		}
		if left := br.Buffered() + src.Len(); left != len(in)-n-k {
			t.Fatalf("net/http leaves %d bytes of %q, we leave %d", left, in, len(in)-n-k)
		}
	})
}

// FuzzChunks compares Feed, Payload and net/http on a chunked body, in pieces.
func FuzzChunks(f *testing.F) {
	for _, s := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\nnext", "5;a=b\r\nhello\r\n00\r\nA: b\r\n\r\n", "a\r\n0123456789\r\n0\r\n\r\n",
		"5 \r\n", "0x5\r\n", "5\n", "ffffffffffffffff\r\n", "1\r\na\n0\r\n\r\n", "0\r\nHost: x\r\n\r\n", "0\r\n\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		h := &Head{Framing: FramingChunked}
		payload, consumed, more, err := readBody(h, in, nil)

		var feed Body
		feed.Reset(FramingChunked, 0, nil, false)
		fed := 0
		var ferr error
		for at := 0; at < len(in) && !feed.Done() && ferr == nil; {
			var n int
			piece := in[at:min(at+int(step)+1, len(in))]
			n, _, ferr = feed.Feed(piece)
			at += n
			fed += n
			if ferr == nil && !feed.Done() && n != len(piece) {
				t.Fatalf("Feed left %d bytes before the end", len(piece)-n)
			}
		}
		if (ferr != nil) != (err != nil) || ferr == nil && (fed != consumed || feed.Done() == more) {
			t.Fatalf("Feed: %d, %v; Payload: %d, %v", fed, ferr, consumed, err)
		}
		if ferr == nil && feed.Received() != int64(len(payload)) {
			t.Fatalf("Feed counted %d bytes of payload, there are %d", feed.Received(), len(payload))
		}
		if err != nil || more {
			return
		}
		head := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		compareRequest(t, append([]byte(head), in...), in[consumed:], payload, &Head{Authority: []byte("a")})
		var l header.List
		feed.Trailers(&l)
	})
}
