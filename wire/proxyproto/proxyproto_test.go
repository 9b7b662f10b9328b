package proxyproto

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"

	"lateen.dev/lateen/wire/sock"
)

var (
	src4 = netip.MustParseAddrPort("192.0.2.1:56324")
	dst4 = netip.MustParseAddrPort("198.51.100.7:443")
	src6 = netip.MustParseAddrPort("[2001:db8::1]:56324")
	dst6 = netip.MustParseAddrPort("[2001:db8::2]:443")
	map4 = netip.MustParseAddrPort("[::ffff:192.0.2.1]:56324")
)

func TestV1(t *testing.T) {
	tests := []struct {
		in       string
		src, dst netip.AddrPort
		err      error
	}{
		{in: "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", src: src4, dst: dst4},
		{in: "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", src: src6, dst: dst6},
		{in: "PROXY UNKNOWN\r\n"},
		{in: "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\n", err: ErrInvalid},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.7 056324 443\r\n", err: ErrInvalid},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.7 65536 443\r\n", err: ErrInvalid},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.7 +1 443\r\n", err: ErrInvalid},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n", err: ErrInvalid},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n", err: ErrInvalid},
		{in: "PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n", err: ErrInvalid},
		{in: "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", err: ErrInvalid},
		{in: "PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n", err: ErrInvalid},
		{in: "PROXY TCP6 fe80::1%lo fe80::2%lo 1 2\r\n", err: ErrInvalid},
		{in: "PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n", err: ErrInvalid},
		{in: "PROXY \r\n", err: ErrInvalid},
		{in: "PROXY TCP4 " + strings.Repeat("1", 120), err: ErrTooLong},
		{in: "GET / HTTP/1.1\r\n", err: ErrMissing},
		{in: "proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n", err: ErrMissing},
	}
	for _, tt := range tests {
		h, n, err := Parse([]byte(tt.in + "after"))
		if !errors.Is(err, tt.err) || err == nil && (n != len(tt.in) || h.Source != tt.src || h.Destination != tt.dst) {
			t.Errorf("%.50q: %+v, %d, %v", tt.in, h, n, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	tlvs := AppendTLV(AppendTLV(nil, TLVAuthority, []byte("a.example")), TLVUniqueID, []byte{1, 2, 3})
	for _, tt := range []struct{ src, dst, wantSrc, wantDst netip.AddrPort }{
		{src4, dst4, src4, dst4},
		{src6, dst6, src6, dst6},
		{map4, dst4, src4, dst4},
		{src4, dst6, src4, dst6},
		{netip.AddrPort{}, dst6, netip.AddrPort{}, netip.AddrPort{}},
	} {
		for version, b := range map[int][]byte{
			1: AppendV1(nil, tt.src, tt.dst), 2: AppendV2(nil, tt.src, tt.dst, tlvs),
		} {
			h, n, err := Parse(b)
			if err != nil || n != len(b) || h.Version != version || h.Source != tt.wantSrc || h.Destination != tt.wantDst {
				t.Errorf("version %d of %v, %v: %+v, %d of %d, %v", version, tt.src, tt.dst, h, n, len(b), err)
			}
			if version == 2 && (string(h.TLV(TLVAuthority)) != "a.example" || h.TLV(TLVALPN) != nil) {
				t.Errorf("extensions of %v: %q", tt.src, h.TLVs)
			}
			for i := range b {
				if _, n, err := Parse(b[:i]); n != 0 || err != nil {
					t.Fatalf("version %d, first %d bytes: %d, %v", version, i, n, err)
				}
			}
		}
	}
}

func TestV2Rejections(t *testing.T) {
	good := AppendV2(nil, src4, dst4, nil)
	edit := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), good...)) }
	for name, tt := range map[string]struct {
		b   []byte
		err error
	}{
		"version 3":           {edit(func(b []byte) []byte { b[12] = 0x31; return b }), ErrInvalid},
		"command 2":           {edit(func(b []byte) []byte { b[12] = 0x22; return b }), ErrInvalid},
		"family 4":            {edit(func(b []byte) []byte { b[13] = 0x41; return b }), ErrInvalid},
		"transport 3":         {edit(func(b []byte) []byte { b[13] = 0x13; return b }), ErrInvalid},
		"addresses cut short": {edit(func(b []byte) []byte { b[15] = 11; return b }), ErrInvalid},
		"extension cut short": {AppendV2(nil, src4, dst4, []byte{1, 0, 5, 1}), ErrInvalid},
		"too long":            {edit(func(b []byte) []byte { b[14] = 0xff; return b }), ErrTooLong},
		"checksum":            {AppendV2(nil, src4, dst4, AppendTLV(nil, TLVCRC32C, []byte{1, 2, 3, 4})), ErrCRC},
		"signature":           {[]byte("\r\n\r\n\x00\r\nQUIX\n"), ErrMissing},
	} {
		if _, _, err := Parse(tt.b); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", name, err, tt.err)
		}
	}
}

func TestChecksum(t *testing.T) {
	b := AppendV2(nil, src4, dst4, AppendTLV(nil, TLVCRC32C, make([]byte, 4)))
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, castagnoli))
	if _, n, err := Parse(b); n != len(b) || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestRead(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	go func() {
		for _, c := range append(AppendV2(nil, src6, dst6, make([]byte, 0)), "payload"...) {
			near.Write([]byte{c})
		}
	}()
	c := sock.New(far)
	h, err := Read(c, 0)
	if err != nil || h.Source != src6 {
		t.Fatalf("%+v, %v", h, err)
	}
	buf := make([]byte, 7)
	if n, err := c.Read(buf[:1]); n != 1 || err != nil || buf[0] != 'p' {
		t.Errorf("then %q, %v", buf[:n], err)
	}
}

func TestReadPutsBackWhatIsNoHeader(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	go near.Write([]byte("GET / HTTP/1.1\r\n"))
	c := sock.New(far)
	if _, err := Read(c, 0); !errors.Is(err, ErrMissing) {
		t.Fatal(err)
	}
	if got := string(c.TakePrefix()); got != "GET / HTTP/1.1\r\n" {
		t.Errorf("put back %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"))
	f.Add(AppendV2(nil, src4, dst4, AppendTLV(nil, TLVALPN, []byte("h2"))))
	f.Add(AppendV2(nil, src6, dst6, AppendTLV(nil, TLVCRC32C, make([]byte, 4))))
	f.Add(AppendV2(nil, netip.AddrPort{}, dst6, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		switch {
		case err != nil:
			return
		case n == 0:
			if len(b) >= MaxSize {
				t.Fatal("still waiting")
			}
			return
		case n > len(b) || n > MaxSize:
			t.Fatalf("%d bytes of %d", n, len(b))
		}
		h.TLV(TLVSSL)
		if !h.Source.IsValid() {
			return
		}
		out := AppendV1(nil, h.Source, h.Destination)
		if h.Version == 2 {
			out = AppendV2(nil, h.Source, h.Destination, h.TLVs)
		}
		h2, n2, err := Parse(out)
		if err != nil && !errors.Is(err, ErrCRC) {
			t.Fatalf("%q of ours: %v", out, err)
		}
		if err == nil && (n2 != len(out) || h2.Source != h.Source || h2.Destination != h.Destination) {
			t.Fatalf("%+v became %+v", h, h2)
		}
	})
}
