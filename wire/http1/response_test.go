package http1

import (
	"io"
	"testing"

	"lateen.dev/lateen/wire/header"
)

func TestResponses(t *testing.T) {
	tests := []struct {
		name    string
		method  Method
		in      string
		reason  Reason
		framing Framing
		forward string
		close   bool
	}{
		{name: "length", in: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", framing: FramingLength,
			forward: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"},
		{name: "length 0", in: "HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n",
			forward: "HTTP/1.1 200 Fine\r\ncontent-length: 0\r\n\r\n"},
		{name: "chunked", in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", framing: FramingChunked,
			forward: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"},
		{name: "close", in: "HTTP/1.1 200 OK\r\n\r\n", framing: FramingClose, close: true,
			forward: "HTTP/1.1 200 OK\r\n\r\n"},
		{name: "no phrase", in: "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n",
			forward: "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"},
		{name: "empty phrase", in: "HTTP/1.1 499 \r\nContent-Length: 0\r\n\r\n",
			forward: "HTTP/1.1 499 \r\ncontent-length: 0\r\n\r\n"},
		{name: "1.0 with length", in: "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", framing: FramingLength, close: true,
			forward: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"},
		{name: "1.0 keep-alive", in: "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 3\r\n\r\n",
			framing: FramingLength, forward: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"},
		{name: "to HEAD", method: MethodHead, in: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
			forward: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"},
		{name: "chunked to HEAD", method: MethodHead, in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
			forward: "HTTP/1.1 200 OK\r\n\r\n"},
		{name: "304 with length", in: "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
			forward: "HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n"},
		{name: "204", in: "HTTP/1.1 204 No Content\r\n\r\n", forward: "HTTP/1.1 204 No Content\r\n\r\n"},
		{name: "204 with length 0", in: "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
			forward: "HTTP/1.1 204 No Content\r\n\r\n"},
		{name: "204 with length", in: "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n", reason: BodyNotAllowed},
		{name: "204 chunked", in: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", reason: BodyNotAllowed},
		{name: "100", in: "HTTP/1.1 100 Continue\r\n\r\n", forward: "HTTP/1.1 100 Continue\r\n\r\n"},
		{name: "103 with length", in: "HTTP/1.1 103 Early Hints\r\nContent-Length: 1\r\n\r\n", reason: BodyNotAllowed},
		{name: "101", in: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
			framing: FramingTunnel,
			forward: "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"},
		{name: "CONNECT 200", method: MethodConnect, in: "HTTP/1.1 200 OK\r\n\r\n", framing: FramingTunnel,
			forward: "HTTP/1.1 200 OK\r\n\r\n"},
		{name: "CONNECT 200 with length", method: MethodConnect, in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
			reason: BodyNotAllowed},
		{name: "CONNECT 407", method: MethodConnect, in: "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\n",
			framing: FramingLength, forward: "HTTP/1.1 407 No\r\ncontent-length: 2\r\n\r\n"},
		{name: "length and chunked", in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
			reason: LengthAndEncoding},
		{name: "two lengths", in: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
			reason: DuplicateContentLength},
		{name: "gzip coding", in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", reason: BadTransferEncoding},
		{name: "chunked in 1.0", in: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", reason: TransferEncodingIn10},
		{name: "LF", in: "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", reason: BadStatusLine},
		{name: "status of two digits", in: "HTTP/1.1 20 OK\r\n\r\n", reason: BadStatusLine},
		{name: "status of four digits", in: "HTTP/1.1 2000 OK\r\n\r\n", reason: BadStatusLine},
		{name: "status 000", in: "HTTP/1.1 000 OK\r\n\r\n", reason: BadStatusLine},
		{name: "two spaces", in: "HTTP/1.1  200 OK\r\n\r\n", reason: BadStatusLine},
		{name: "HTTP/2", in: "HTTP/2.0 200 OK\r\n\r\n", reason: UnsupportedVersion},
		{name: "ICY", in: "ICY 200 OK\r\n\r\n", reason: BadVersion},
		{name: "folded", in: "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", reason: ObsFold},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h Head
			var n int
			var err error
			for i := 1; i <= len(tt.in) && n == 0 && err == nil; i++ { // byte by byte
				n, err = ParseResponse(&h, []byte(tt.in)[:i], tt.method, nil)
			}
			if tt.reason != 0 {
				if err != tt.reason {
					t.Errorf("%v, want %v", err, tt.reason)
				}
				return
			}
			if err != nil || n != len(tt.in) {
				t.Fatalf("%d of %d bytes, %v", n, len(tt.in), err)
			}
			if h.Framing != tt.framing || h.Close != tt.close {
				t.Errorf("framing %d, close %v; want %d, %v", h.Framing, h.Close, tt.framing, tt.close)
			}
			if got := string(AppendEnd(AppendResponse(nil, &h))); got != tt.forward {
				t.Errorf("forwarded %q\nwant      %q", got, tt.forward)
			}
		})
	}
}

func TestPayloadAndTrailers(t *testing.T) {
	in := []byte("5;x\r\nhello\r\n6\r\n world\r\n0\r\nGrpc-Status: 0\r\nX-Sum:  1 \r\n\r\nnext")
	for step := 1; step <= len(in); step++ {
		var body Body
		body.Reset(FramingChunked, 0, nil, true)
		var got []byte
		at := 0
		for end := step; !body.Done(); end = min(end+step, len(in)) {
			for at < min(end, len(in)) && !body.Done() {
				payload, n, err := body.Payload(in[at:min(end, len(in))])
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, payload...)
				at += n
			}
		}
		var l header.List
		body.Trailers(&l)
		if string(got) != "hello world" || string(in[at:]) != "next" || body.Received() != 11 || len(l.Fields) != 2 ||
			string(l.Get(header.GRPCStatus)) != "0" || string(l.Fields[1].Value) != "1" {
			t.Fatalf("step %d: payload %q, rest %q, %d trailers", step, got, in[at:], len(l.Fields))
		}
		if out := string(AppendTrailers(nil, &l)); out != "0\r\nGrpc-Status: 0\r\nX-Sum: 1\r\n\r\n" {
			t.Fatalf("trailers written as %q", out)
		}
	}
}

func TestBodyEnd(t *testing.T) {
	for _, tt := range []struct {
		framing Framing
		length  int64
		in      string
		done    bool
		err     error
	}{
		{FramingNone, 0, "", true, nil},
		{FramingLength, 3, "ab", false, UnexpectedEnd},
		{FramingLength, 3, "abc", true, nil},
		{FramingChunked, 0, "1\r\na\r\n", false, UnexpectedEnd},
		{FramingClose, 0, "abc", false, nil},
		{FramingTunnel, 0, "abc", false, nil},
	} {
		var b Body
		b.Reset(tt.framing, tt.length, nil, false)
		if n, done, err := b.Feed([]byte(tt.in)); n != len(tt.in) || done != tt.done || err != nil {
			t.Errorf("%v %q: %d, %v, %v", tt.framing, tt.in, n, done, err)
		}
		if err := b.End(); err != tt.err {
			t.Errorf("%v %q: end gives %v", tt.framing, tt.in, err)
		}
	}
}

func TestReasonsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for r := Reason(1); r < reasonCount; r++ {
		if r.Status() < 400 || r.Detail() == "" || seen[r.Detail()] || r.Error() == "" {
			t.Errorf("reason %d: %d, %q", r, r.Status(), r.Detail())
		}
		seen[r.Detail()] = true
	}
	var err error = BadTarget
	if err == io.EOF {
		t.Error("a reason is EOF")
	}
}

// TestAllocations holds the fast path to its budget: parse a request, write it on, parse the response, write it on,
// and follow both bodies, all without allocating.
func TestAllocations(t *testing.T) {
	var req, resp Head
	var body Body
	out := make([]byte, 0, 4096)
	name := header.NewName("end-user")
	in := append([]byte(nil), browserRequest...)
	chunks := []byte("5\r\nhello\r\n0\r\nX: y\r\n\r\n")
	allocs := testing.AllocsPerRun(1000, func() {
		if n, err := ParseRequest(&req, in, nil); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		req.Value(name)
		req.SetKnown(header.XForwardedProto, slash)
		req.Remove(header.UserAgent)
		body.ResetFor(&req, nil)
		out = AppendEnd(AppendRequest(out[:0], &req))
		if n, err := ParseResponse(&resp, response, req.Method, nil); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		out = AppendEnd(AppendResponse(out[:0], &resp))
		body.Reset(FramingChunked, 0, nil, true)
		if _, done, err := body.Feed(chunks); !done || err != nil {
			t.Fatal(done, err)
		}
		if _, err := ParseRequest(&req, in[:20], nil); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseRequest(&req, chunks, nil); err == nil {
			t.Fatal("no error")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations per request", allocs)
	}
}
