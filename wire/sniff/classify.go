package sniff

import "bytes"

// Kind is a protocol.
type Kind uint8

// The kinds. Raw is everything that isn't one of the others.
const (
	Raw Kind = iota
	TLS
	HTTP1
	HTTP2
)

var kindNames = [...]string{"raw", "tls", "http/1.1", "h2c"}

// String returns "raw", "tls", "http/1.1" or "h2c".
func (k Kind) String() string { return kindNames[k] }

// Preface is what an HTTP/2 client with prior knowledge sends first.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Bounds of what is looked at.
const (
	// MaxBytes is how many bytes are looked at; a ClientHello or request line that is longer is not waited for.
	MaxBytes = 16 << 10
	// maxMethod is the longest method that is taken for HTTP.
	maxMethod = 24
)

// Classify looks at the first bytes of a connection. decided is false if more bytes may change the answer. hello is
// filled for TLS only.
func Classify(b []byte, hello *Hello) (kind Kind, decided bool) {
	if len(b) == 0 {
		return Raw, false
	}
	if b[0] == recordHandshake {
		switch ParseHello(b, hello) {
		case HelloOK:
			return TLS, true
		case HelloShort:
			return Raw, len(b) >= MaxBytes
		}
		return Raw, true
	}
	if n := min(len(b), len(Preface)); string(b[:n]) == Preface[:n] {
		if n == len(Preface) {
			return HTTP2, true
		}
		return Raw, false
	}
	return classifyHTTP1(b)
}

// classifyHTTP1 wants a whole request line that ends in an HTTP version: "GET x\r\n" is Redis' and memcached's too.
func classifyHTTP1(b []byte) (Kind, bool) {
	b = bytes.TrimPrefix(b, []byte("\r\n"))
	if len(b) == 0 || len(b) == 1 && b[0] == '\r' {
		return Raw, false
	}
	i := 0
	for i < len(b) && i <= maxMethod && methodByte(b[i]) {
		i++
	}
	if i == len(b) {
		return Raw, i > maxMethod
	}
	if i == 0 || i > maxMethod || b[i] != ' ' {
		return Raw, true
	}
	line := b[i+1:]
	end := bytes.IndexAny(line, "\r\n\x00")
	if end < 0 {
		if len(b) >= MaxBytes {
			return HTTP1, true // a very long target: HTTP's own limits deal with it
		}
		return Raw, false
	}
	line = line[:end]
	const version = " HTTP/1."
	if n := len(line) - len(version) - 1; n > 0 && string(line[n:n+len(version)]) == version {
		return HTTP1, true
	}
	return Raw, true
}

// methodByte is narrower than a token: methods in use are upper-case letters and hyphens.
func methodByte(c byte) bool { return c >= 'A' && c <= 'Z' || c == '-' }
