package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// bridges starts a proxy whose clusters one and two lead to the same backend by HTTP/1 and HTTP/2, and runs f for every
// pair of protocols.
func bridges(t *testing.T, backend http.HandlerFunc, f func(t *testing.T, c *http.Client, url string)) {
	t.Helper()
	port := serve(t, backend)
	c := newConf(t, cluster{Name: "one", Port: port}, cluster{Name: "two", Port: port, HTTP2: true})
	c.Routes = []string{"{match: {prefix: /one}, route: {cluster: one, timeout: 0s}}", "{match: {prefix: /two}, route: {cluster: two, timeout: 0s}}"}
	c.start(t)
	for _, down := range []bool{false, true} {
		for _, up := range []bool{false, true} {
			path := map[bool]string{false: "/one", true: "/two"}[up]
			t.Run(protocolName(down)+" to "+protocolName(up), func(t *testing.T) {
				f(t, client(t, down), "http://"+local(c.Plain)+path)
			})
		}
	}
}

func do(t *testing.T, c *http.Client, method, url string, body io.Reader, fields ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: body: %v", method, url, err)
	}
	return resp, string(b)
}

func TestBridgeBodiless(t *testing.T) {
	bridges(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Method", r.Method)
		switch r.URL.Query().Get("status") {
		case "204":
			w.WriteHeader(204)
		case "304":
			w.Header().Set("ETag", `"a"`)
			w.WriteHeader(304)
		default:
			w.Header().Set("Content-Length", "5")
			if r.Method != "HEAD" {
				io.WriteString(w, "hello") //nolint:errcheck // seen by the client
			}
		}
	}, func(t *testing.T, c *http.Client, url string) {
		for range 2 { // the connections must have stayed in step
			resp, body := do(t, c, "HEAD", url, nil)
			if resp.StatusCode != 200 || resp.ContentLength != 5 || body != "" || resp.Header.Get("X-Method") != "HEAD" {
				t.Errorf("HEAD: %d, length %d, %q", resp.StatusCode, resp.ContentLength, body)
			}
			resp, body = do(t, c, "GET", url+"?status=204", nil)
			if resp.StatusCode != 204 || body != "" || resp.Header["Content-Length"] != nil || resp.Header["Transfer-Encoding"] != nil {
				t.Errorf("204: %d, %v, %q", resp.StatusCode, resp.Header, body)
			}
			resp, body = do(t, c, "GET", url+"?status=304", nil)
			if resp.StatusCode != 304 || body != "" || resp.Header.Get("ETag") != `"a"` {
				t.Errorf("304: %d, %v, %q", resp.StatusCode, resp.Header, body)
			}
			if resp, body = do(t, c, "GET", url, nil); resp.StatusCode != 200 || body != "hello" {
				t.Errorf("GET: %d %q", resp.StatusCode, body)
			}
		}
	})
}

func TestBridgeLargeBodies(t *testing.T) {
	const size = 3 << 20
	payload := bytes.Repeat([]byte("0123456789abcde\n"), size/16)
	want := sha256.Sum256(payload)
	bridges(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() //nolint:errcheck // HTTP/2 always has it
		w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
		w.WriteHeader(200)
		io.Copy(w, r.Body) //nolint:errcheck // seen by the client
	}, func(t *testing.T, c *http.Client, url string) {
		for _, known := range []bool{true, false} {
			var body io.Reader = bytes.NewReader(payload)
			length := fmt.Sprint(size)
			if !known {
				body, length = io.MultiReader(body), "-1"
			}
			resp, got := do(t, c, "POST", url, body)
			if sha256.Sum256([]byte(got)) != want || resp.Header.Get("X-Length") != length {
				t.Errorf("%d bytes came back, the server saw a length of %s, want %s", len(got), resp.Header.Get("X-Length"), length)
			}
		}
	})
}

func TestBridgeFields(t *testing.T) {
	bridges(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Host", r.Host)
		w.Header().Set("X-Cookies", fmt.Sprintf("%q", r.Header["Cookie"]))
		w.Header().Set("X-Hop", r.Header.Get("X-Hop")+r.Header.Get("Keep-Alive")+r.Header.Get("Connection"))
		w.Header().Set("X-Many", fmt.Sprintf("%q", r.Header["X-Repeated"]))
		w.Header().Set("X-Uri", r.RequestURI)
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		if r.ProtoMajor == 1 {
			w.Header().Set("Keep-Alive", "timeout=5")
		}
	}, func(t *testing.T, c *http.Client, url string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/a%2Fb//c?x=1&y=%20", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "b.example:8080"
		req.Header["Cookie"] = []string{"a=1; b=2; c=3"}
		req.Header["X-Repeated"] = []string{"1", "2"}
		if c.Transport.(*http.Transport).Protocols.HTTP1() {
			req.Header.Set("X-Hop", "1")
			req.Header.Set("Connection", "X-Hop")
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		for name, want := range map[string]string{
			"X-Host": "b.example:8080", "X-Cookies": `["a=1; b=2; c=3"]`, "X-Hop": "", "X-Many": `["1" "2"]`, "Keep-Alive": "",
			"X-Uri": req.URL.RequestURI(),
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		if got := resp.Header["Set-Cookie"]; len(got) != 2 || got[0] != "a=1" || got[1] != "b=2" {
			t.Errorf("set-cookie: %q", got)
		}
	})
}

func TestBridgeTrailers(t *testing.T) {
	bridges(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(200)
		http.NewResponseController(w).Flush()                                   //nolint:errcheck // seen by the client
		fmt.Fprintf(w, "%s, then %s", body, r.Trailer.Get("X-Request-Trailer")) //nolint:errcheck // seen by the client
		w.Header().Set("X-Sum", "42")
	}, func(t *testing.T, c *http.Client, url string) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", url, io.MultiReader(strings.NewReader("hello")))
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Request-Trailer": {"t"}}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "hello, then t" || resp.Trailer.Get("X-Sum") != "42" {
			t.Errorf("%q, %v, trailers %v", body, err, resp.Trailer)
		}
	})
}

// TestBridgeCutOff: a response that breaks off must not look complete.
func TestBridgeCutOff(t *testing.T) {
	bridges(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("length") != "" {
			w.Header().Set("Content-Length", "100")
		}
		io.WriteString(w, "half")             //nolint:errcheck // seen by the client
		http.NewResponseController(w).Flush() //nolint:errcheck // seen by the client
		panic(http.ErrAbortHandler)
	}, func(t *testing.T, c *http.Client, url string) {
		for _, query := range []string{"?length=1", ""} {
			resp, err := c.Get(url + query)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != "half" || err == nil {
				t.Errorf("%s: a response that breaks off reads as %q, %v", query, body, err)
			}
		}
	})
}

// TestBridgeGivingUp: a client that gives up ends the request at the server.
func TestBridgeGivingUp(t *testing.T) {
	arrived, ended := make(chan struct{}), make(chan error)
	bridges(t, func(_ http.ResponseWriter, r *http.Request) {
		io.CopyN(io.Discard, r.Body, 5) //nolint:errcheck // the client sends as much
		arrived <- struct{}{}
		if r.URL.Query().Get("sending") != "" {
			_, err := io.Copy(io.Discard, r.Body)
			ended <- err
			return
		}
		<-r.Context().Done()
		ended <- r.Context().Err()
	}, func(t *testing.T, c *http.Client, url string) {
		for _, query := range []string{"", "?sending=1"} {
			ctx, cancel := context.WithCancel(t.Context())
			body, w := io.Pipe()
			req, err := http.NewRequestWithContext(ctx, "POST", url+query, body)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				resp, err := c.Do(req)
				if err == nil {
					resp.Body.Close()
				}
				done <- err
			}()
			io.WriteString(w, "hello") //nolint:errcheck // seen by the server
			if query == "" {
				w.Close()
			}
			<-arrived
			cancel()
			w.CloseWithError(context.Canceled)
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("the client: %v", err)
			}
			select {
			case err := <-ended:
				if err == nil {
					t.Error("the server saw a complete request")
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("%q: the server doesn't hear that the client has gone", query)
			}
		}
	})
}

func TestBridgeInterim(t *testing.T) {
	bridges(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(103)
		w.Header().Del("Link")
		body, _ := io.ReadAll(r.Body) // sends 100 to a client that expects it
		w.Write(body)                 //nolint:errcheck // seen by the client
	}, func(t *testing.T, c *http.Client, url string) {
		var interim []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			interim = append(interim, fmt.Sprintf("%d %s", code, h.Get("Link")))
			return nil
		}})
		req, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Expect", "100-continue")
		c.Transport.(*http.Transport).ExpectContinueTimeout = 5 * time.Second
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" {
			t.Errorf("%q, %v", body, err)
		}
		if got := strings.Join(interim, ", "); !strings.Contains(got, "103 </style.css>; rel=preload") || !strings.Contains(got, "100 ") {
			t.Errorf("interim responses: %s", got)
		}
	})
}

// TestBridgeEarlyAnswer: a server that answers without reading a large body is heard.
func TestBridgeEarlyAnswer(t *testing.T) {
	bridges(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	}, func(t *testing.T, c *http.Client, url string) {
		for _, known := range []bool{true, false} {
			// The proxy may end a connection whose request wasn't read to its end.
			c.CloseIdleConnections()
			var body io.Reader = bytes.NewReader(make([]byte, 1<<20))
			if !known {
				body = io.MultiReader(body)
			}
			req, err := http.NewRequestWithContext(t.Context(), "POST", url, body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Errorf("known length %v: %v", known, err)
				continue
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 413 || string(text) != "too large\n" || err != nil {
				t.Errorf("known length %v: %d %q %v", known, resp.StatusCode, text, err)
			}
		}
	})
}
