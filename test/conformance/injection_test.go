package conformance

import (
	"bytes"
	"net"
	"os"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// injection is an HTTP/2 request made of these fields, whatever they say.
type injection struct {
	name     string
	fields   []string // names and values in turns
	body     string
	end      bool // HEADERS end the stream
	trailers []string
}

// request is a harmless request with a field more, or, for pseudo fields, another value.
func request(name, value string) []string {
	f := []string{":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "/"}
	for i := 0; i < len(f); i += 2 {
		if f[i] == name {
			f[i+1] = value
			return f
		}
	}
	return append(f, name, value)
}

func without(name string) []string {
	f := request(name, "")
	var out []string
	for i := 0; i < len(f); i += 2 {
		if f[i] != name {
			out = append(out, f[i], f[i+1])
		}
	}
	return out
}

func post(fields ...string) []string { return append(request(":method", "POST"), fields...) }

// injections are the HTTP/2 corpus.
func injections() []injection {
	poisons := []struct{ name, text string }{
		{"CR LF and a field", "\r\nx-evil: 1"}, {"CR LF", "\r\n"}, {"LF", "\nx-evil: 1"}, {"CR", "\rx"}, {"NUL", "\x00"}, {"space", " x"},
		{"tab", "\tx"}, {"a second request", " HTTP/1.1\r\nHost: a.example\r\n\r\nGET /evil"}, {"DEL", "\x7f"}, {"a byte above 127", "\xe4"},
		{"colon", ":x"}, {"fragment", "#x"}, {"backslash", `\x`}, {"at sign", "@x"}, {"question mark", "?x"}, {"slash", "/x"}, {"quote", `"x`},
	}
	var all []injection
	for _, pseudo := range []struct{ name, value string }{{":method", "GET"}, {":path", "/a"}, {":authority", "a.example"}, {":scheme", "http"}, {"x-field", "v"}, {"cookie", "v=1"}} {
		for _, p := range poisons {
			all = append(all, injection{name: pseudo.name + " with " + p.name, fields: request(pseudo.name, pseudo.value+p.text), end: true})
		}
		all = append(all, injection{name: pseudo.name + " empty", fields: request(pseudo.name, ""), end: true})
	}
	for _, p := range poisons {
		all = append(all, injection{name: "field name with " + p.name, fields: request("x-name"+p.text, "v"), end: true})
		all = append(all, injection{name: ":protocol with " + p.name, fields: request(":protocol", "websocket"+p.text)[:], end: true})
		all = append(all, injection{name: "trailer value with " + p.name, fields: post(), body: "hello", trailers: []string{"x-trailer", "v" + p.text}})
		all = append(all, injection{name: "trailer name with " + p.name, fields: post(), body: "hello", trailers: []string{"x-trailer" + p.text, "v"}})
	}
	all = append(all, structural()...)
	return append(all, framing()...)
}

// structural are wrong sets of fields.
func structural() []injection {
	return []injection{
		{name: "harmless", fields: request("x-field", "v"), end: true},
		{name: "no :method", fields: without(":method"), end: true},
		{name: "no :path", fields: without(":path"), end: true},
		{name: "no :scheme", fields: without(":scheme"), end: true},
		{name: "no :authority", fields: without(":authority"), end: true},
		{name: "no :authority but host", fields: append(without(":authority"), "host", "b.example"), end: true},
		{name: "host equals :authority", fields: request("host", "a.example"), end: true},
		{name: "host against :authority", fields: request("host", "b.example"), end: true},
		{name: "two hosts", fields: append(request("host", "a.example"), "host", "b.example"), end: true},
		{name: "two :path", fields: append(request(":path", "/"), ":path", "/evil"), end: true},
		{name: "two :method", fields: append([]string{":method", "GET"}, request(":method", "POST")...), end: true},
		{name: "two :authority", fields: append([]string{":authority", "b.example"}, request(":method", "GET")...), end: true},
		{name: "pseudo field after others", fields: append([]string{"x-field", "v"}, request(":method", "GET")...), end: true},
		{name: "unknown pseudo field", fields: append([]string{":evil", "1"}, request(":method", "GET")...), end: true},
		{name: ":status in a request", fields: append([]string{":status", "200"}, request(":method", "GET")...), end: true},
		{name: "upper case name", fields: request("X-Field", "v"), end: true},
		{name: "empty name", fields: request("", "v"), end: true},
		{name: "name is a colon", fields: request(":", "v"), end: true},
		{name: "value with spaces around", fields: request("x-field", " v "), end: true},
		{name: "connection", fields: request("connection", "close"), end: true},
		{name: "connection names a field", fields: append(request("connection", "x-field"), "x-field", "v"), end: true},
		{name: "keep-alive", fields: request("keep-alive", "timeout=5"), end: true},
		{name: "proxy-connection", fields: request("proxy-connection", "keep-alive"), end: true},
		{name: "upgrade", fields: request("upgrade", "h2c"), end: true},
		{name: "te gzip", fields: request("te", "gzip"), end: true},
		{name: "te trailers", fields: request("te", "trailers"), end: true},
		{name: "absolute form in :path", fields: request(":path", "http://b.example/"), end: true},
		{name: ":path without slash", fields: request(":path", "evil"), end: true},
		{name: ":path with two slashes", fields: request(":path", "//b.example/"), end: true},
		{name: ":path is an asterisk", fields: request(":path", "*"), end: true},
		{name: "OPTIONS *", fields: []string{":method", "OPTIONS", ":scheme", "http", ":authority", "a.example", ":path", "*"}, end: true},
		{name: "CONNECT", fields: []string{":method", "CONNECT", ":authority", "a.example:80"}, end: true},
		{name: "CONNECT with a path", fields: []string{":method", "CONNECT", ":authority", "a.example:80", ":scheme", "http", ":path", "/"}, end: true},
		{name: "user info", fields: request(":authority", "user@a.example"), end: true},
		{name: "authority with a list", fields: request(":authority", "a.example, b.example"), end: true},
		{name: "authority with a large port", fields: request(":authority", "a.example:65536"), end: true},
		{name: "scheme https on a plain connection", fields: request(":scheme", "https"), end: true},
		{name: "scheme javascript", fields: request(":scheme", "javascript"), end: true},
		{name: "expect something else", fields: append(post(), "expect", "200-ok"), body: "x"},
		{name: "cookies in crumbs", fields: append(request("cookie", "a=1"), "cookie", "b=2"), end: true},
		{name: "websocket without extended CONNECT", fields: append(request("upgrade", "websocket"), "connection", "upgrade"), end: true},
	}
}

// framing are messages whose length has two meanings once they are HTTP/1.
func framing() []injection {
	return []injection{
		{name: "transfer-encoding", fields: post("transfer-encoding", "chunked"), body: "0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
		{name: "transfer-encoding identity", fields: post("transfer-encoding", "identity"), body: "x"},
		{name: "transfer-encoding without body", fields: post("transfer-encoding", "chunked"), end: true},
		{name: "content-length", fields: post("content-length", "5"), body: "hello"},
		{name: "content-length too short", fields: post("content-length", "0"), body: "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
		{name: "content-length short by one", fields: post("content-length", "4"), body: "hello"},
		{name: "content-length too long", fields: post("content-length", "6"), body: "hello"},
		{name: "content-length without body", fields: post("content-length", "5"), end: true},
		{name: "content-length twice", fields: post("content-length", "5", "content-length", "5"), body: "hello"},
		{name: "content-length twice, different", fields: post("content-length", "5", "content-length", "0"), body: "hello"},
		{name: "content-length list", fields: post("content-length", "5, 5"), body: "hello"},
		{name: "content-length signed", fields: post("content-length", "+5"), body: "hello"},
		{name: "content-length negative", fields: post("content-length", "-1"), body: "hello"},
		{name: "content-length hexadecimal", fields: post("content-length", "0x5"), body: "hello"},
		{name: "content-length overflows", fields: post("content-length", "18446744073709551621"), body: "hello"},
		{name: "content-length empty", fields: post("content-length", ""), body: "hello"},
		{name: "content-length with space", fields: post("content-length", " 5"), body: "hello"},
		{name: "body that looks like chunks", fields: post(), body: "0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
		{name: "GET with a body", fields: request("x-field", "v"), body: "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"},
		{name: "HEAD with a body", fields: request(":method", "HEAD"), body: "hello"},
		{name: "trailers", fields: post(), body: "hello", trailers: []string{"x-trailer", "v"}},
		{name: "trailer content-length", fields: post(), body: "hello", trailers: []string{"content-length", "5"}},
		{name: "trailer transfer-encoding", fields: post(), body: "hello", trailers: []string{"transfer-encoding", "chunked"}},
		{name: "trailer host", fields: post(), body: "hello", trailers: []string{"host", "b.example"}},
		{name: "trailer :path", fields: post(), body: "hello", trailers: []string{":path", "/evil"}},
		{name: "trailer connection", fields: post(), body: "hello", trailers: []string{"connection", "close"}},
		{name: "trailer x-forwarded-for", fields: post(), body: "hello", trailers: []string{"x-forwarded-for", "1.2.3.4"}},
		{name: "trailer authorization", fields: post(), body: "hello", trailers: []string{"authorization", "x"}},
		{name: "trailers after content-length", fields: post("content-length", "5"), body: "hello", trailers: []string{"x-trailer", "v"}},
	}
}

// sendHTTP2 sends a request and returns the answer's status, or how the stream or the connection ended.
func sendHTTP2(addr string, c *injection) string {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer nc.Close()
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&out, nc)
	fr.AllowIllegalWrites = true
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	err = writeInjection(fr, c)
	if err == nil {
		_, err = nc.Write(out.Bytes())
	}
	if err != nil {
		return err.Error()
	}
	nc.SetReadDeadline(time.Now().Add(answerTime))
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			if os.IsTimeout(err) {
				return "waits"
			}
			return "closed"
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return "reset " + f.ErrCode.String()
		case *http2.GoAwayFrame:
			return "goaway " + f.ErrCode.String()
		}
	}
}

func writeInjection(fr *http2.Framer, c *injection) error {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	head := func(fields []string, end bool) error {
		block.Reset()
		for i := 0; i < len(fields); i += 2 {
			if err := enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
				return err
			}
		}
		return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
	}
	if err := fr.WriteSettings(); err != nil {
		return err
	}
	if err := head(c.fields, c.end); err != nil || c.end {
		return err
	}
	if err := fr.WriteData(1, c.trailers == nil, []byte(c.body)); err != nil || c.trailers == nil {
		return err
	}
	return head(c.trailers, true)
}
