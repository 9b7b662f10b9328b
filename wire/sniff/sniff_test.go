package sniff

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lateen.dev/lateen/wire/sock"
)

// clientHello returns the first bytes that crypto/tls sends.
func clientHello(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	go tls.Client(far, c).Handshake()
	buf := make([]byte, MaxBytes)
	n, err := near.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func helloFixture(t testing.TB) []byte {
	return clientHello(t, &tls.Config{
		ServerName: "Outbound_.9080_._.Reviews.default.svc.cluster.local", NextProtos: []string{"istio-peer-exchange", "istio"},
		InsecureSkipVerify: true,
	})
}

func TestParseHello(t *testing.T) {
	b := helloFixture(t)
	var h Hello
	if s := ParseHello(b, &h); s != HelloOK {
		t.Fatalf("status %d", s)
	}
	if h.SNI != "outbound_.9080_._.reviews.default.svc.cluster.local" {
		t.Errorf("SNI is %q", h.SNI)
	}
	if !slices.Equal(h.ALPN, []string{"istio-peer-exchange", "istio"}) {
		t.Errorf("ALPN is %q", h.ALPN)
	}
	for i := range b {
		if s := ParseHello(b[:i], &h); s != HelloShort {
			t.Fatalf("status %d for the first %d of %d bytes", s, i, len(b))
		}
	}
}

func TestParseHelloInManyRecords(t *testing.T) {
	b := helloFixture(t)
	var split []byte
	for msg := b[recordHeaderSize:]; len(msg) > 0; {
		n := min(100, len(msg))
		split = append(split, recordHandshake, 3, 1, 0, byte(n))
		split = append(split, msg[:n]...)
		msg = msg[n:]
	}
	var h, want Hello
	ParseHello(b, &want)
	if s := ParseHello(split, &h); s != HelloOK || h.SNI != want.SNI || !slices.Equal(h.ALPN, want.ALPN) {
		t.Errorf("status %d, %+v", s, h)
	}
}

func TestClassify(t *testing.T) {
	tests := []struct {
		in      string
		kind    Kind
		decided bool
	}{
		{"", Raw, false},
		{"GET / HTTP/1.1\r\n", HTTP1, true},
		{"GET / HTTP/1.0\r\nHost: x\r\n\r\n", HTTP1, true},
		{"\r\nPOST http://a/b HTTP/1.1\r\n", HTTP1, true},
		{"PROPFIND /x HTTP/1.1\r", HTTP1, true},
		{"M-SEARCH * HTTP/1.1\r\n", HTTP1, true},
		{"GET / HTT", Raw, false},
		{"GE", Raw, false},
		{"get / HTTP/1.1\r\n", Raw, true},
		{"GET key\r\n", Raw, true},          // Redis, inline
		{"PING\r\n", Raw, true},             // Redis
		{"*1\r\n$4\r\nPING\r\n", Raw, true}, // Redis
		{"GET / HTTP/2.0\r\n", Raw, true},
		{"EHLO mail\r\n", Raw, true},
		{Preface, HTTP2, true},
		{Preface[:10], Raw, false},
		{"PRI * HTTP/2.0\r\n\r\nXX", Raw, true},
		{"PRI", Raw, false},
		{"\x16\x03\x01\x00", Raw, false},
		{"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", Raw, true}, // a ServerHello
		{"\x16\x02\x01\x00\x05", Raw, true},
		{"\x00\x00\x00\x17", Raw, true},
		{"SSH-2.0-OpenSSH_9.2\r\n", Raw, true},
		{strings.Repeat("A", 30), Raw, true},
		{"GET /" + strings.Repeat("a", MaxBytes), HTTP1, true},
	}
	for _, tt := range tests {
		kind, decided := Classify([]byte(tt.in), &Hello{})
		if kind != tt.kind || decided != tt.decided {
			t.Errorf("%.40q: %v, %v; want %v, %v", tt.in, kind, decided, tt.kind, tt.decided)
		}
	}
}

func TestDetectPutsEverythingBack(t *testing.T) {
	hello := helloFixture(t)
	for _, tt := range []struct {
		in   []byte
		kind Kind
	}{
		{[]byte("GET / HTTP/1.1\r\nhost: a\r\n\r\n"), HTTP1},
		{[]byte(Preface + "rest"), HTTP2},
		{hello, TLS},
		{[]byte("\x00\x01binary"), Raw},
	} {
		near, far := net.Pipe()
		go func() {
			for _, c := range tt.in { // byte by byte
				near.Write([]byte{c})
			}
			near.Close()
		}()
		c := sock.New(far)
		r, err := Detect(c, 0)
		if err != nil || r.Kind != tt.kind || r.TimedOut {
			t.Errorf("%.20q: %+v, %v; want %v", tt.in, r, err, tt.kind)
		}
		var got []byte
		buf := make([]byte, 100)
		for {
			n, err := c.Read(buf)
			got = append(got, buf[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, tt.in) {
			t.Errorf("%.20q: then read %.20q", tt.in, got)
		}
		far.Close()
	}
}

func TestDetectTimesOutToRaw(t *testing.T) {
	for _, said := range []string{"", "GE"} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			c := sock.New(far)
			if said != "" {
				go near.Write([]byte(said))
			}
			start := time.Now()
			r, err := Detect(c, 5*time.Second)
			if err != nil || r.Kind != Raw || !r.TimedOut {
				t.Errorf("%+v, %v", r, err)
			}
			if d := time.Since(start); d != 5*time.Second {
				t.Errorf("took %v", d)
			}
			if got := string(c.TakePrefix()); got != said {
				t.Errorf("put back %q, want %q", got, said)
			}
		})
	}
}

func FuzzClassify(f *testing.F) {
	f.Add([]byte(Preface))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte("\x16\x03\x01\x00\x02\x01\x00\x16\x03\x01\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Hello
		kind, decided := Classify(b, &h)
		if !decided {
			if len(b) >= MaxBytes {
				t.Fatal("undecided on all the bytes there will be")
			}
			if kind != Raw {
				t.Fatalf("undecided, but %v", kind)
			}
			return
		}
		// More bytes don't change a decision.
		var h2 Hello
		if k2, d2 := Classify(append(bytes.Clone(b), "\r\n\x00more"...), &h2); !d2 || k2 != kind || h2.SNI != h.SNI {
			t.Fatalf("%v became %v, %v with more bytes", kind, k2, d2)
		}
		if len(h.SNI) > 255 || len(h.ALPN) > maxALPN || kind != TLS && (h.SNI != "" || h.ALPN != nil) {
			t.Fatalf("hello %+v of %v", h, kind)
		}
	})
}

// heard is a connection that says these bytes and nothing more.
type heard struct {
	net.Conn
	in *bytes.Reader
}

func (h heard) Read(p []byte) (int, error)      { return h.in.Read(p) }
func (h heard) Write(p []byte) (int, error)     { return len(p), nil }
func (h heard) Close() error                    { return nil }
func (h heard) SetDeadline(time.Time) error     { return nil }
func (h heard) SetReadDeadline(time.Time) error { return nil }

// FuzzParseHello compares with crypto/tls: a ClientHello that it takes must mean the same to us, or a filter chain would
// be chosen by another name than the one that the handshake is made with.
func FuzzParseHello(f *testing.F) {
	b := helloFixture(f)
	f.Add(b)
	f.Add(clientHello(f, &tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12}))
	f.Add(clientHello(f, &tls.Config{InsecureSkipVerify: true}))
	f.Add(append(append([]byte{22, 3, 1, 0, 1}, b[recordHeaderSize]), 22, 3, 1, 0, 3, b[6], b[7], b[8]))
	f.Fuzz(func(t *testing.T, b []byte) {
		var theirs *tls.ClientHelloInfo
		server := tls.Server(heard{in: bytes.NewReader(b)}, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			theirs = i
			return nil, io.EOF
		}})
		if err := server.Handshake(); err == nil {
			t.Fatal("a handshake without a peer")
		}
		var h Hello
		status := ParseHello(b, &h)
		if theirs == nil || len(b) > MaxBytes {
			return
		}
		if status == HelloBad && stricter(b, theirs) {
			return
		}
		if status != HelloOK {
			t.Fatalf("status %d, but crypto/tls hears %q", status, theirs.ServerName)
		}
		if h.SNI != strings.ToLower(theirs.ServerName) || !slices.Equal(h.ALPN, theirs.SupportedProtos) {
			t.Fatalf("%+v, but crypto/tls hears %q %q", h, theirs.ServerName, theirs.SupportedProtos)
		}
	})
}

// stricter says whether a hello that crypto/tls takes is one that ParseHello refuses on purpose: a name that no host
// can have, more protocols than anybody offers, or a record of no version of TLS.
func stricter(b []byte, theirs *tls.ClientHelloInfo) bool {
	return theirs.ServerName != "" && !validName([]byte(theirs.ServerName)) ||
		len(theirs.SupportedProtos) > maxALPN || b[1] != 3
}
