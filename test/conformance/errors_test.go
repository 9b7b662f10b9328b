package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// broken is a server that takes connections and treats each as f says.
func broken(t *testing.T, f func(nc net.Conn)) int {
	t.Helper()
	ln := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			f(nc)
			nc.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return portOf(ln)
}

// afterHead answers once a request's head is there.
func afterHead(answer string) func(net.Conn) {
	return func(nc net.Conn) {
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		br := bufio.NewReader(nc)
		for line := "."; line != "\r\n" && line != ""; {
			line, _ = br.ReadString('\n')
		}
		io.WriteString(nc, answer) //nolint:errcheck // the proxy's matter
	}
}

// TestErrorMapping: what the proxy answers when the server doesn't, as HTTP and as gRPC, by both protocols.
func TestErrorMapping(t *testing.T) {
	silent := make(chan struct{})
	t.Cleanup(func() { close(silent) })
	clusters := []cluster{
		{Name: "nobody", Port: freePort(t)},
		{Name: "hangs-up", Port: broken(t, afterHead(""))},
		{Name: "garbage", Port: broken(t, afterHead("SSH-2.0-OpenSSH\r\n\r\n"))},
		{Name: "two-lengths", Port: broken(t, afterHead("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"))},
		{Name: "both-framings", Port: broken(t, afterHead("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))},
		{Name: "no-http2", Port: broken(t, afterHead("HTTP/1.1 400 Bad Request\r\n\r\n")), HTTP2: true},
		{Name: "silent", Port: serve(t, func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-silent:
			case <-r.Context().Done():
			}
		})},
	}
	c := newConf(t, clusters...)
	for _, cl := range clusters {
		timeout := "0s"
		if cl.Name == "silent" {
			timeout = "0.2s"
		}
		c.Routes = append(c.Routes, fmt.Sprintf("{match: {prefix: /%s}, route: {cluster: %s, timeout: %s}}", cl.Name, cl.Name, timeout))
	}
	c.Routes = append(c.Routes, "{match: {prefix: /missing-cluster}, route: {cluster_header: x-cluster}}",
		"{match: {prefix: /direct-401}, direct_response: {status: 401}}", "{match: {prefix: /direct-403}, direct_response: {status: 403, body: {inline_string: no}}}",
		"{match: {prefix: /direct-429}, direct_response: {status: 429}}", "{match: {prefix: /direct-500}, direct_response: {status: 500}}")
	c.start(t)
	for path, want := range map[string]struct{ status, grpc int }{
		"/nobody": {503, 14}, "/hangs-up": {503, 14}, "/garbage": {502, 14}, "/two-lengths": {502, 14}, "/both-framings": {502, 14},
		"/no-http2": {502, 14}, "/silent": {504, 14}, "/no-route": {404, 12}, "/missing-cluster": {503, 14}, "/direct-401": {401, 16}, "/direct-403": {403, 7},
		"/direct-429": {429, 14}, "/direct-500": {500, 2},
	} {
		for _, two := range []bool{false, true} {
			t.Run(strings.TrimPrefix(path, "/")+" by "+protocolName(two), func(t *testing.T) {
				cl := client(t, two)
				url := "http://" + local(c.Plain) + path
				if resp, _ := do(t, cl, "GET", url, nil); resp.StatusCode != want.status {
					t.Errorf("status %d, want %d", resp.StatusCode, want.status)
				}
				resp, body := do(t, cl, "POST", url, strings.NewReader("\x00\x00\x00\x00\x00"), "Content-Type", "application/grpc", "TE", "trailers")
				if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/grpc" || body != "" ||
					resp.Header.Get("Grpc-Status") != fmt.Sprint(want.grpc) {
					t.Errorf("gRPC: %d %v %q, want grpc-status %d", resp.StatusCode, resp.Header, body, want.grpc)
				}
			})
		}
	}
}

// exchangeRaw sends bytes by HTTP/1 and returns all that comes until the connection ends.
func exchangeRaw(t *testing.T, port int, in string) string {
	t.Helper()
	nc, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(nc, in); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(nc)
	if err != nil {
		t.Fatalf("%q, then %v", out, err)
	}
	return string(out)
}

func TestHTTP1Connections(t *testing.T) {
	c := newConf(t, cluster{Name: "backend", Port: serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush() //nolint:errcheck // makes it chunked
		fmt.Fprintf(w, "[%s]", r.URL.Path)    //nolint:errcheck // seen by the client
	})})
	c.HCM = "          http_protocol_options: {accept_http_10: true}"
	c.start(t)
	out := exchangeRaw(t, c.Plain, "GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxyGET /c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	a, b, last := strings.Index(out, "[/a]"), strings.Index(out, "[/b]"), strings.Index(out, "[/c]")
	if a < 0 || b < a || last < b || strings.Count(out, "HTTP/1.1 200 OK\r\n") != 3 || strings.Count(strings.ToLower(out), "connection: close\r\n") != 1 {
		t.Errorf("pipelined: %q", out)
	}
	out = exchangeRaw(t, c.Plain, "GET /a HTTP/1.0\r\nHost: a\r\n\r\n")
	if strings.Contains(strings.ToLower(out), "transfer-encoding") || !strings.HasSuffix(out, "\r\n\r\n[/a]") {
		t.Errorf("HTTP/1.0 gets %q", out)
	}
	out = exchangeRaw(t, c.Plain, "GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
	if !strings.HasSuffix(out, "[/a]") {
		t.Errorf("HTTP/1.0 that would keep the connection gets %q", out)
	}
}

func TestWebSocket(t *testing.T) {
	port := broken(t, func(nc net.Conn) {
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		br := bufio.NewReader(nc)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.URL.Path == "/declined" {
			io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno") //nolint:errcheck // the proxy's matter
			return
		}
		fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", req.Header.Get("Upgrade")) //nolint:errcheck // as above
		io.Copy(nc, br)                                                                                                              //nolint:errcheck // until the client ends
		io.WriteString(nc, "bye")                                                                                                    //nolint:errcheck // as above
	})
	c := newConf(t, cluster{Name: "backend", Port: port})
	c.HCM = "          upgrade_configs: [{upgrade_type: websocket}]"
	c.start(t)
	const upgrade = "GET %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"
	nc, err := net.Dial("tcp", local(c.Plain))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(nc, upgrade+"early", "/", "websocket") //nolint:errcheck // seen below
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	for _, piece := range []string{"early", strings.Repeat("x", 100_000), "\x81\x02hi"} {
		if piece != "early" {
			io.WriteString(nc, piece) //nolint:errcheck // seen below
		}
		got := make([]byte, len(piece))
		if _, err := io.ReadFull(br, got); err != nil || string(got) != piece {
			t.Fatalf("echo of %d bytes: %v", len(piece), err)
		}
	}
	nc.(*net.TCPConn).CloseWrite() //nolint:errcheck // seen below
	if rest, err := io.ReadAll(br); err != nil || string(rest) != "bye" {
		t.Errorf("after the client's end: %q, %v", rest, err)
	}
	if out := exchangeRaw(t, c.Plain, strings.Replace(fmt.Sprintf(upgrade, "/", "other"), "Upgrade\r\n", "Upgrade, close\r\n", 1)); !strings.HasPrefix(out, "HTTP/1.1 403 ") {
		t.Errorf("an upgrade that is not allowed: %q", out)
	}
	// h2c is no upgrade that we know: the request is an ordinary one, to which 101 is no answer.
	if out := exchangeRaw(t, c.Plain, strings.Replace(fmt.Sprintf(upgrade, "/", "h2c"), "Upgrade\r\n", "Upgrade, close\r\n", 1)); !strings.HasPrefix(out, "HTTP/1.1 502 ") {
		t.Errorf("101 without having been asked: %q", out)
	}
	if out := exchangeRaw(t, c.Plain, strings.Replace(fmt.Sprintf(upgrade, "/declined", "websocket"), "Upgrade\r\n", "Upgrade, close\r\n", 1)); !strings.HasSuffix(out, "\r\n\r\nno") {
		t.Errorf("an upgrade that is declined: %q", out)
	}
}
