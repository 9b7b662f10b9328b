package http1

import "testing"

var browserRequest = []byte("GET /api/v1/users?id=42 HTTP/1.1\r\n" +
	"Host: svc-a.default.svc.cluster.local\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Encoding: gzip, deflate\r\nAccept-Language: en-US,en;q=0.5\r\n" +
	"X-Request-Id: 3f0a2b1c-9d8e-4f7a-8b6c-5d4e3f2a1b0c\r\n" +
	"X-Forwarded-Proto: http\r\nCookie: session=abcdefghijklmnopqrstuvwxyz0123456789\r\n" +
	"Connection: keep-alive\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n")

var response = []byte("HTTP/1.1 200 OK\r\nDate: Mon, 27 Jul 2026 12:28:53 GMT\r\nServer: app\r\n" +
	"Content-Type: application/json\r\nContent-Length: 1024\r\nCache-Control: no-cache\r\n\r\n")

func BenchmarkForward(b *testing.B) {
	var req, resp Head
	out := make([]byte, 0, 4096)
	b.SetBytes(int64(len(browserRequest) + len(response)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := ParseRequest(&req, browserRequest, nil); n == 0 || err != nil {
			b.Fatal(n, err)
		}
		out = AppendEnd(AppendRequest(out[:0], &req))
		if n, err := ParseResponse(&resp, response, req.Method, nil); n == 0 || err != nil {
			b.Fatal(n, err)
		}
		out = AppendEnd(AppendResponse(out[:0], &resp))
	}
}

func BenchmarkParseRequest(b *testing.B) {
	var h Head
	b.SetBytes(int64(len(browserRequest)))
	for b.Loop() {
		if n, err := ParseRequest(&h, browserRequest, nil); n == 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	var h Head
	if _, err := ParseRequest(&h, browserRequest, nil); err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 0, 4096)
	for b.Loop() {
		out = AppendEnd(AppendRequest(out[:0], &h))
	}
}

func BenchmarkChunkedFeed(b *testing.B) {
	var body Body
	var p []byte
	for range 16 {
		p = AppendChunk(p, make([]byte, 1000))
	}
	p = AppendLastChunk(p)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		body.Reset(FramingChunked, 0, nil, false)
		if _, done, err := body.Feed(p); !done || err != nil {
			b.Fatal(done, err)
		}
	}
}
