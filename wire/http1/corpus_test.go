package http1

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// outcome is what must become of the bytes: rejected for a reason, or forwarded as the given bytes. consumed is how
// many bytes the message takes of what arrives on the connection; what is behind them is the next request's.
type outcome struct {
	reason   Reason
	forward  string
	consumed int // 0 means all
}

func reject(r Reason) outcome     { return outcome{reason: r} }
func forward(text string) outcome { return outcome{forward: text} }

const hostLine = "Host: a.example\r\n"

// requestCorpus holds what is known to have desynchronised proxies and servers, and its harmless neighbours, each with
// its one outcome.
var requestCorpus = []struct {
	name string
	in   string
	want outcome
}{
	// Framing by two headers.
	{"CL.TE", "POST / HTTP/1.1\r\n" + hostLine + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
		reject(LengthAndEncoding)},
	{"TE.CL", "POST / HTTP/1.1\r\n" + hostLine + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n",
		reject(LengthAndEncoding)},
	{"CL 0 and TE", "POST / HTTP/1.1\r\n" + hostLine + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		reject(LengthAndEncoding)},
	{"TE.TE obfuscated second", "POST / HTTP/1.1\r\n" + hostLine +
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", reject(DuplicateTransferEncoding)},
	{"TE twice the same", "POST / HTTP/1.1\r\n" + hostLine +
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", reject(DuplicateTransferEncoding)},
	{"TE xchunked", te("xchunked"), reject(BadTransferEncoding)},
	{"TE list", te("gzip, chunked"), reject(BadTransferEncoding)},
	{"TE chunked, identity", te("chunked, identity"), reject(BadTransferEncoding)},
	{"TE identity", te("identity"), reject(BadTransferEncoding)},
	{"TE chunked twice in a list", te("chunked, chunked"), reject(BadTransferEncoding)},
	{"TE with parameter", te("chunked;q=1"), reject(BadTransferEncoding)},
	{"TE quoted", te(`"chunked"`), reject(BadTransferEncoding)},
	{"TE empty", te(""), reject(BadTransferEncoding)},
	{"TE trailing comma", te("chunked,"), reject(BadTransferEncoding)},
	{"TE after vertical tab", te("\x0bchunked"), reject(BadFieldValue)},
	{"TE with NUL", te("chunked\x00"), reject(BadFieldValue)},
	{"TE in capitals", te("CHUNKED"),
		forward("POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")},
	{"TE after tab", te("\tchunked"),
		forward("POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")},
	{"TE with space before colon", "POST / HTTP/1.1\r\n" + hostLine + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		reject(SpaceBeforeColon)},
	{"TE with tab before colon", "POST / HTTP/1.1\r\n" + hostLine + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
		reject(SpaceBeforeColon)},
	{"TE folded", "POST / HTTP/1.1\r\n" + hostLine + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", reject(ObsFold)},
	{"TE in HTTP/1.0", "POST / HTTP/1.0\r\n" + hostLine + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		reject(TransferEncodingIn10)},
	{"TE behind bare CR", "POST / HTTP/1.1\r\n" + hostLine + "X: y\rTransfer-Encoding: chunked\r\n\r\n",
		reject(BadLineEnd)},

	// Content-Length.
	{"CL twice, different", cl("5\r\nContent-Length: 6"), reject(DuplicateContentLength)},
	{"CL twice, same", cl("5\r\nContent-Length: 5"), reject(DuplicateContentLength)},
	{"CL list", cl("5, 5"), reject(BadContentLength)},
	{"CL plus", cl("+5"), reject(BadContentLength)},
	{"CL minus", cl("-5"), reject(BadContentLength)},
	{"CL hexadecimal", cl("0x5"), reject(BadContentLength)},
	{"CL empty", cl(""), reject(BadContentLength)},
	{"CL float", cl("5.0"), reject(BadContentLength)},
	{"CL exponent", cl("5e0"), reject(BadContentLength)},
	{"CL with space inside", cl("5 5"), reject(BadContentLength)},
	{"CL in another script", cl("\xd9\xa5"), reject(BadContentLength)},
	{"CL of 2^63", cl("9223372036854775808"), reject(BadContentLength)},
	{"CL of 2^64+5", cl("18446744073709551621"), reject(BadContentLength)},
	{"CL of 40 digits", cl(strings.Repeat("1", 40)), reject(BadContentLength)},
	{"CL with underscore", cl("1_0"), reject(BadContentLength)},
	{"CL leading zeros become canonical", "POST / HTTP/1.1\r\n" + hostLine + "Content-Length: 0005\r\n\r\nhello",
		forward("POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n\r\nhello")},
	{"CL and pipelined request", "POST / HTTP/1.1\r\n" + hostLine + "Content-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\n",
		outcome{
			forward:  "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n\r\nhello",
			consumed: len("POST / HTTP/1.1\r\n" + hostLine + "Content-Length: 5\r\n\r\nhello"),
		}},
	{"no length means no body", "POST / HTTP/1.1\r\n" + hostLine + "\r\nGET /2 HTTP/1.1\r\n", outcome{
		forward:  "POST / HTTP/1.1\r\nhost: a.example\r\n\r\n",
		consumed: len("POST / HTTP/1.1\r\n" + hostLine + "\r\n"),
	}},
	{"GET with a body", "GET / HTTP/1.1\r\n" + hostLine + "Content-Length: 2\r\n\r\nhi",
		forward("GET / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 2\r\n\r\nhi")},

	// Chunks.
	{"chunk size with sign", chunked("+5\r\nhello\r\n0\r\n\r\n"), reject(BadChunkSize)},
	{"chunk size with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), reject(BadChunkSize)},
	{"chunk size with leading space", chunked(" 5\r\nhello\r\n0\r\n\r\n"), reject(BadChunkSize)},
	{"chunk size with trailing space", chunked("5 \r\nhello\r\n0\r\n\r\n"), reject(BadChunkSize)},
	{"chunk size with space and extension", chunked("5 ;x\r\nhello\r\n0\r\n\r\n"), reject(BadChunkSize)},
	{"chunk size empty", chunked("\r\nhello\r\n0\r\n\r\n"), reject(BadChunkSize)},
	{"chunk size overflows", chunked("8000000000000000\r\n"), reject(BadChunkSize)},
	{"chunk size wraps", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), reject(BadChunkSize)},
	{"chunk size of many zeros", chunked("00000000000000005\r\nhello\r\n0\r\n\r\n"), reject(BadChunkSize)},
	{"chunk size with underscore", chunked("5_0\r\n"), reject(BadChunkSize)},
	{"chunk line ends in LF", chunked("5\nhello\r\n0\r\n\r\n"), reject(BadChunkSize)},
	{"chunk extension ends in LF", chunked("5;a\nhello\r\n0\r\n\r\n"), reject(BadLineEnd)},
	{"chunk extension with bare CR", chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"), reject(BadLineEnd)},
	{"chunk extension with NUL", chunked("5;a\x00\r\nhello\r\n0\r\n\r\n"), reject(BadChunkExtension)},
	{"chunk extensions without end", chunked("5;" + strings.Repeat("a", DefaultMaxExtensionBytes+1)),
		reject(ChunkExtensionsTooLarge)},
	{"chunk data too long", chunked("5\r\nhelloX\r\n0\r\n\r\n"), reject(BadChunkEnd)},
	{"chunk data ends in LF", chunked("5\r\nhello\n0\r\n\r\n"), reject(BadChunkEnd)},
	{"chunk data ends in CR X", chunked("5\r\nhello\rX"), reject(BadChunkEnd)},
	{"last chunk ends in LF", chunked("0\n\n"), reject(BadChunkSize)},
	{"end of trailers is LF", chunked("0\r\n\n"), reject(BadLineEnd)},
	{"end of trailers is CR X", chunked("0\r\n\rX\n"), reject(BadTrailer)},
	{"trailer Content-Length", chunked("0\r\nContent-Length: 5\r\n\r\n"), reject(ForbiddenTrailer)},
	{"trailer Transfer-Encoding", chunked("0\r\ntransfer-encoding: chunked\r\n\r\n"), reject(ForbiddenTrailer)},
	{"trailer Host", chunked("0\r\nHost: b.example\r\n\r\n"), reject(ForbiddenTrailer)},
	{"trailer Authorization", chunked("0\r\nAuthorization: x\r\n\r\n"), reject(ForbiddenTrailer)},
	{"trailer X-Forwarded-For", chunked("0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"), reject(ForbiddenTrailer)},
	{"trailer folded", chunked("0\r\nA: b\r\n c\r\n\r\n"), reject(BadTrailer)},
	{"trailer with space before colon", chunked("0\r\nA : b\r\n\r\n"), reject(BadTrailer)},
	{"trailer without colon", chunked("0\r\nGET / HTTP/1.1\r\n\r\n"), reject(BadTrailer)},
	{"trailer line ends in LF", chunked("0\r\nA: b\n\r\n"), reject(BadTrailer)},
	{"trailers too many", chunked("0\r\n" + strings.Repeat("A: b\r\n", 101)), reject(TrailersTooLarge)},
	{"trailers too large", chunked("0\r\nA: " + strings.Repeat("b", DefaultMaxHeadBytes)), reject(TrailersTooLarge)},
	{"chunks with extension and trailer", chunked("5;a=\"b\"\r\nhello\r\n000\r\nX-Checksum: 1\r\n\r\n"),
		forward("POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n" +
			"5;a=\"b\"\r\nhello\r\n000\r\nX-Checksum: 1\r\n\r\n")},
	{"chunks and pipelined request", chunked("0\r\n\r\nGET / HTTP/1.1\r\n"), outcome{
		forward:  "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
		consumed: len(chunked("0\r\n\r\n")),
	}},

	// Lines.
	{"LF after request line", "GET / HTTP/1.1\nHost: a.example\r\n\r\n", reject(BadLineEnd)},
	{"LF after field", "GET / HTTP/1.1\r\nHost: a.example\n\r\n", reject(BadLineEnd)},
	{"LF at the end", "GET / HTTP/1.1\r\nHost: a.example\r\n\n", reject(BadLineEnd)},
	{"CR CR LF", "GET / HTTP/1.1\r\nHost: a.example\r\r\n\r\n", reject(BadLineEnd)},
	{"CR in value", "GET / HTTP/1.1\r\nHost: a.example\r\nX: a\rb\r\n\r\n", reject(BadLineEnd)},
	{"CR after request line", "GET / HTTP/1.1\rHost: a.example\r\n\r\n", reject(BadLineEnd)},
	{"CR X at the end", "GET / HTTP/1.1\r\nHost: a.example\r\n\rX", reject(BadLineEnd)},
	{"two empty lines first", "\r\n\r\nGET / HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadMethod)},
	{"one empty line first", "\r\nGET / HTTP/1.1\r\n" + hostLine + "\r\n",
		forward("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")},
	{"LF first", "\nGET / HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadMethod)},

	// Fields.
	{"field folded with space", "GET / HTTP/1.1\r\n" + hostLine + "A: b\r\n c\r\n\r\n", reject(ObsFold)},
	{"field folded with tab", "GET / HTTP/1.1\r\n" + hostLine + "A: b\r\n\tc\r\n\r\n", reject(ObsFold)},
	{"first field after white space", "GET / HTTP/1.1\r\n Host: a.example\r\n\r\n", reject(ObsFold)},
	{"field name empty", "GET / HTTP/1.1\r\n" + hostLine + ": b\r\n\r\n", reject(BadFieldName)},
	{"field without colon", "GET / HTTP/1.1\r\n" + hostLine + "Abc\r\n\r\n", reject(BadFieldName)},
	{"field name with NUL", "GET / HTTP/1.1\r\n" + hostLine + "A\x00: b\r\n\r\n", reject(BadFieldName)},
	{"field name with parenthesis", "GET / HTTP/1.1\r\n" + hostLine + "A(b): c\r\n\r\n", reject(BadFieldName)},
	{"field name with byte above 127", "GET / HTTP/1.1\r\n" + hostLine + "\xc3\xa4: c\r\n\r\n", reject(BadFieldName)},
	{"field name with space inside", "GET / HTTP/1.1\r\n" + hostLine + "A b: c\r\n\r\n", reject(SpaceBeforeColon)},
	{"field value with NUL", "GET / HTTP/1.1\r\n" + hostLine + "A: b\x00c\r\n\r\n", reject(BadFieldValue)},
	{"field value with DEL", "GET / HTTP/1.1\r\n" + hostLine + "A: b\x7fc\r\n\r\n", reject(BadFieldValue)},
	{"field value with escape", "GET / HTTP/1.1\r\n" + hostLine + "A: \x1b[31m\r\n\r\n", reject(BadFieldValue)},
	{"field value with UTF-8 and tab", "GET / HTTP/1.1\r\n" + hostLine + "A: \t \xc3\xa4\tb \t\r\n\r\n",
		forward("GET / HTTP/1.1\r\nhost: a.example\r\nA: \xc3\xa4\tb\r\n\r\n")},
	{"field value empty", "GET / HTTP/1.1\r\n" + hostLine + "A:\r\nB: \t \r\n\r\n",
		forward("GET / HTTP/1.1\r\nhost: a.example\r\nA: \r\nB: \r\n\r\n")},
	{"head too large", "GET / HTTP/1.1\r\n" + hostLine + "A: " + strings.Repeat("a", DefaultMaxHeadBytes) + "\r\n\r\n",
		reject(HeadTooLarge)},
	{"target too large", "GET /" + strings.Repeat("a", DefaultMaxHeadBytes), reject(HeadTooLarge)},
	{"too many fields", "GET / HTTP/1.1\r\n" + hostLine + strings.Repeat("A: b\r\n", DefaultMaxFields) + "\r\n",
		reject(TooManyFields)},

	// Request line.
	{"HTTP/0.9", "GET /\r\n\r\n", reject(BadVersion)},
	{"no target", "GET HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadVersion)},
	{"two spaces before target", "GET  / HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadTarget)},
	{"two spaces before version", "GET /  HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadVersion)},
	{"tab in request line", "GET\t/ HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadMethod)},
	{"space at the end", "GET / HTTP/1.1 \r\n" + hostLine + "\r\n", reject(BadVersion)},
	{"space in target", "GET /a b HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadVersion)},
	{"second version in target", "GET / HTTP/1.1 HTTP/1.0\r\n" + hostLine + "\r\n", reject(BadVersion)},
	{"NUL in target", "GET /\x00 HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadTarget)},
	{"fragment in target", "GET /a#b HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadTarget)},
	{"target without slash", "GET a/b HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadTarget)},
	{"method with byte of no token", "G(T / HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadMethod)},
	{"space before method", " GET / HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadMethod)},
	{"version 2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", reject(UnsupportedVersion)},
	{"version 1.2", "GET / HTTP/1.2\r\n" + hostLine + "\r\n", reject(UnsupportedVersion)},
	{"version 1.10", "GET / HTTP/1.10\r\n" + hostLine + "\r\n", reject(BadVersion)},
	{"version 01.1", "GET / HTTP/01.1\r\n" + hostLine + "\r\n", reject(BadVersion)},
	{"version in small letters", "GET / http/1.1\r\n" + hostLine + "\r\n", reject(BadVersion)},
	{"version of RTSP", "OPTIONS * RTSP/1.0\r\n" + hostLine + "\r\n", reject(BadVersion)},
	{"unknown method", "BREW /pot HTTP/1.1\r\n" + hostLine + "\r\n",
		forward("BREW /pot HTTP/1.1\r\nhost: a.example\r\n\r\n")},
	{"OPTIONS *", "OPTIONS * HTTP/1.1\r\n" + hostLine + "\r\n",
		forward("OPTIONS * HTTP/1.1\r\nhost: a.example\r\n\r\n")},
	{"GET *", "GET * HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadTarget)},

	// Host and authority.
	{"no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", reject(MissingHost)},
	{"two Hosts", "GET / HTTP/1.1\r\n" + hostLine + "Host: b.example\r\n\r\n", reject(DuplicateHost)},
	{"two equal Hosts", "GET / HTTP/1.1\r\n" + hostLine + hostLine + "\r\n", reject(DuplicateHost)},
	{"Host list", host("a.example, b.example"), reject(BadAuthority)},
	{"Host with user info", host("evil@a.example"), reject(BadAuthority)},
	{"Host with path", host("a.example/x"), reject(BadAuthority)},
	{"Host with backslash", host(`a.example\x`), reject(BadAuthority)},
	{"Host with space", host("a.example b"), reject(BadAuthority)},
	{"Host with port of letters", host("a.example:80x"), reject(BadAuthority)},
	{"Host with large port", host("a.example:65536"), reject(BadAuthority)},
	{"Host with two ports", host("a.example:80:81"), reject(BadAuthority)},
	{"Host is a port", host(":80"), reject(BadAuthority)},
	{"Host with open bracket", host("[::1"), reject(BadAuthority)},
	{"Host with query", host("a.example?x"), reject(BadAuthority)},
	{"Host with bad escape", host("a%2"), reject(BadAuthority)},
	{"Host of IPv6", host("[::1]:8080"), forward("GET / HTTP/1.1\r\nhost: [::1]:8080\r\n\r\n")},
	{"Host of Istio's making", host("outbound_.80_._.a.b:80"), forward("GET / HTTP/1.1\r\nhost: outbound_.80_._.a.b:80\r\n\r\n")},
	{"Host empty", host(""), forward("GET / HTTP/1.1\r\nhost: \r\n\r\n")},
	{"absolute form decides", "GET http://b.example:81/x?y HTTP/1.1\r\n" + hostLine + "\r\n",
		forward("GET /x?y HTTP/1.1\r\nhost: b.example:81\r\n\r\n")},
	{"absolute form without path", "GET HTTPS://b.example HTTP/1.1\r\n" + hostLine + "\r\n",
		forward("GET / HTTP/1.1\r\nhost: b.example\r\n\r\n")},
	{"absolute form without Host", "GET http://b.example/ HTTP/1.1\r\n\r\n", reject(MissingHost)},
	{"absolute form with bad Host", "GET http://b.example/ HTTP/1.1\r\nHost: a b\r\n\r\n", reject(BadAuthority)},
	{"absolute form with user info", "GET http://a@b.example/ HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadAuthority)},
	{"absolute form with backslash", "GET http://b.example\\@a/ HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadAuthority)},
	{"absolute form without host", "GET http:///x HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadAuthority)},
	{"absolute form of ftp", "GET ftp://b.example/ HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadTarget)},
	{"absolute form with query only", "GET http://b.example?x HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadTarget)},
	{"CONNECT", "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n",
		forward("CONNECT b.example:443 HTTP/1.1\r\nhost: b.example:443\r\n\r\n")},
	{"CONNECT without port", "CONNECT b.example HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadTarget)},
	{"CONNECT with path", "CONNECT /x HTTP/1.1\r\n" + hostLine + "\r\n", reject(BadTarget)},
	{"CONNECT with body", "CONNECT b.example:443 HTTP/1.1\r\n" + hostLine + "Content-Length: 1\r\n\r\nx",
		reject(BodyNotAllowed)},

	// Connection.
	{"hop-by-hop fields end here", "GET / HTTP/1.1\r\n" + hostLine +
		"Connection: keep-alive, X-Private , ,\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: trailers\r\n" +
		"Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nx-private: 1\r\nX-Public: 2\r\n\r\n",
		forward("GET / HTTP/1.1\r\nhost: a.example\r\nX-Public: 2\r\n\r\n")},
	{"Connection names X-Forwarded-For", conn("close, X-Forwarded-For"), reject(BadConnectionOption)},
	{"Connection names Host", conn("Host"), reject(BadConnectionOption)},
	{"Connection names Content-Length", conn("content-length"), reject(BadConnectionOption)},
	{"Connection names Authorization", conn("authorization"), reject(BadConnectionOption)},
	{"Connection with a bad token", conn("a b"), reject(BadConnectionOption)},
	{"upgrade passes", "GET /ws HTTP/1.1\r\n" + hostLine + "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
		forward("GET /ws HTTP/1.1\r\nhost: a.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")},
	{"upgrade without option doesn't", "GET /ws HTTP/1.1\r\n" + hostLine + "Upgrade: websocket\r\n\r\n",
		forward("GET /ws HTTP/1.1\r\nhost: a.example\r\n\r\n")},
	{"Expect of something else", "POST / HTTP/1.1\r\n" + hostLine + "Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx",
		reject(BadExpect)},
}

func te(v string) string {
	return "POST / HTTP/1.1\r\n" + hostLine + "Transfer-Encoding: " + v + "\r\n\r\n0\r\n\r\n"
}

func cl(v string) string {
	return "POST / HTTP/1.1\r\n" + hostLine + "Content-Length: " + v + "\r\n\r\nhello"
}

func chunked(body string) string {
	return "POST / HTTP/1.1\r\n" + hostLine + "Transfer-Encoding: chunked\r\n\r\n" + body
}

func host(v string) string { return "GET / HTTP/1.1\r\nHost: " + v + "\r\n\r\n" }

func conn(v string) string {
	return "GET / HTTP/1.1\r\n" + hostLine + "Connection: " + v + "\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
}

// forwardAll parses a request and passes its body on as it is, reading in pieces that end at each multiple of step.
func forwardAll(in []byte, step int, lim *Limits) (out []byte, consumed int, err error) {
	var h Head
	end := 0
	for h.Size == 0 {
		if end == len(in) {
			return nil, 0, UnexpectedEnd
		}
		end = min(end+step, len(in))
		if _, err := ParseRequest(&h, in[:end], lim); err != nil {
			return nil, 0, err
		}
	}
	out = AppendEnd(AppendRequest(nil, &h))
	var body Body
	body.ResetFor(&h, lim)
	consumed = h.Size
	for !body.Done() {
		n, _, err := body.Feed(in[consumed:end])
		if err != nil {
			return nil, consumed, err
		}
		out = append(out, in[consumed:consumed+n]...)
		consumed += n
		if body.Done() {
			break
		}
		if end == len(in) {
			return nil, consumed, UnexpectedEnd
		}
		end = min(end+step, len(in))
	}
	return out, consumed, nil
}

func TestRequestCorpus(t *testing.T) {
	lim := &Limits{AcceptHTTP10: true}
	for _, tt := range requestCorpus {
		t.Run(tt.name, func(t *testing.T) {
			for _, step := range []int{1, 7, 1 << 20} {
				out, consumed, err := forwardAll([]byte(tt.in), step, lim)
				if tt.want.reason != 0 {
					if err != tt.want.reason {
						t.Errorf("step %d: %v, want %v; forwarded %q", step, err, tt.want.reason, out)
					}
					continue
				}
				want := tt.want.consumed
				if want == 0 {
					want = len(tt.in)
				}
				if err != nil || string(out) != tt.want.forward || consumed != want {
					t.Errorf("step %d: %v, %d of %d bytes,\n     %q\nwant %q", step, err, consumed, want, out, tt.want.forward)
				}
			}
		})
	}
}

func TestHTTP10(t *testing.T) {
	var h Head
	in := []byte("GET / HTTP/1.0\r\n\r\n")
	if _, err := ParseRequest(&h, in, nil); err != HTTP10NotAccepted || err.(Reason).Status() != 426 {
		t.Errorf("by default: %v", err)
	}
	lim := &Limits{AcceptHTTP10: true}
	for _, tt := range []struct {
		fields string
		close  bool
	}{
		{"", true},
		{"Connection: keep-alive\r\n", false},
		{"Connection: keep-alive, close\r\n", true},
		{"Proxy-Connection: keep-alive\r\n", true},
	} {
		if _, err := ParseRequest(&h, []byte("GET / HTTP/1.0\r\n"+tt.fields+"\r\n"), lim); err != nil {
			t.Fatal(err)
		}
		if h.Close != tt.close || h.Minor != 0 || h.Authority != nil {
			t.Errorf("%q: close %v, minor %d, authority %q", tt.fields, h.Close, h.Minor, h.Authority)
		}
	}
	in = []byte("POST / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
	if _, err := ParseRequest(&h, in, lim); err != nil || h.Upgrade || h.ExpectContinue {
		t.Errorf("%v, upgrade %v, expect %v", err, h.Upgrade, h.ExpectContinue)
	}
}

var update = flag.Bool("update", false, "write testdata/requests.txt anew")

// TestCorpusFile keeps the corpus as a file that tests of whole proxies send too: a quoted name and quoted bytes a line.
// What is only long is left out.
func TestCorpusFile(t *testing.T) {
	const file, long = "testdata/requests.txt", 4 << 10
	var b strings.Builder
	for _, tt := range requestCorpus {
		if len(tt.in) < long {
			fmt.Fprintf(&b, "%q %q\n", tt.name, tt.in)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil || string(have) != b.String() {
		t.Errorf("%s is not the corpus; -update writes it: %v", file, err)
	}
}
