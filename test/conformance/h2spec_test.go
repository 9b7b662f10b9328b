package conformance

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	h2 "github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// TestH2Spec runs every case of h2spec, the strict ones too, against listeners for HTTP/2 alone, with and without TLS, and
// against one that finds out what its clients speak. A case that h2spec skips has not been shown, and fails.
func TestH2Spec(t *testing.T) {
	backend := cluster{Name: "backend", Port: serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("a body that is long enough for the windows of a few bytes")) //nolint:errcheck // h2spec hangs up often
	})}
	two, auto := newConf(t, backend), newConf(t, backend)
	two.Codec = "HTTP2"
	two.start(t)
	auto.start(t)
	for name, cfg := range map[string]*config.Config{
		"prior knowledge": {Port: two.Plain},
		"ALPN":            {Port: auto.TLS, TLS: true, Insecure: true},
		"detected":        {Port: auto.Plain},
	} {
		cfg.Host, cfg.Path, cfg.Timeout, cfg.MaxHeaderLen, cfg.Strict = "127.0.0.1", "/", 2*time.Second, 4000, true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ran := 0
			for _, g := range []*spec.TestGroup{generic.Spec(), h2.Spec(), hpack.Spec()} {
				ran += runGroup(t, cfg, g, name == "detected")
			}
			if ran != h2specCases {
				t.Errorf("h2spec has %d cases, not %d", ran, h2specCases)
			}
		})
	}
}

// h2specCases is how many cases there are, so that none gets lost.
const h2specCases = 146

// notHTTP2 is the case that sends something else than HTTP/2's preface. Where HTTP/1 is spoken too, that is a bad HTTP/1
// request and answered as such, which h2spec can't read.
const notHTTP2 = "http2/3.5/2"

func runGroup(t *testing.T, cfg *config.Config, g *spec.TestGroup, detected bool) (ran int) {
	for i, tc := range append(g.Tests[:len(g.Tests):len(g.Tests)], g.StrictTests...) {
		ran++
		id := fmt.Sprintf("%s/%d", g.ID(), i+1)
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			if detected && id == notHTTP2 {
				answeredAsHTTP1(t, cfg.Addr())
				return
			}
			conn, err := spec.Dial(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := tc.Run(cfg, conn); err != nil {
				t.Errorf("%s\n%s\n%v", tc.Desc, tc.Requirement, err)
			}
		})
	}
	for _, sub := range g.Groups {
		ran += runGroup(t, cfg, sub, detected)
	}
	return ran
}

func answeredAsHTTP1(t *testing.T, addr string) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(nc, "INVALID CONNECTION PREFACE\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(nc)
	if err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 400 ")) {
		t.Errorf("answered with %q, %v", b, err)
	}
}
