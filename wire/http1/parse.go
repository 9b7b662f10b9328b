package http1

import (
	"bytes"

	"lateen.dev/lateen/wire/header"
)

// ParseRequest parses the request head at the beginning of b. It returns the head's length, or 0 if b doesn't hold
// all of it yet: call again with the same bytes and more behind them. An error is always a Reason.
//
// Laxer than the letter of the grammar, on purpose: one CRLF before the request line is skipped (RFC 9112 section
// 2.2), a path may hold bytes above 0x7f, and Host may be empty.
func ParseRequest(h *Head, b []byte, lim *Limits) (n int, err error) {
	if !h.ready(b) {
		return 0, h.tooLarge(b, lim)
	}
	h.clear()
	start := 0
	if len(b) > 0 && b[0] == '\r' {
		switch crlf(b, 0) {
		case lineShort:
			return 0, nil
		case lineBad:
			return 0, BadLineEnd
		}
		start = 2
	}
	n, r := h.requestLine(b, start, lim)
	if n > 0 && r == 0 {
		n, r = h.fields(b, n, lim)
	}
	if r != 0 {
		h.scanned = 0
		return 0, r
	}
	if n == 0 {
		h.scanned = len(b)
		return 0, h.tooLarge(b, lim)
	}
	h.scanned = 0
	if n > lim.headBytes() {
		return 0, HeadTooLarge
	}
	h.Size = n
	if r := h.finishRequest(); r != 0 {
		return 0, r
	}
	return n, nil
}

// ParseResponse parses the response head at the beginning of b, as ParseRequest does. The method of the request that
// is answered decides about the body.
func ParseResponse(h *Head, b []byte, method Method, lim *Limits) (n int, err error) {
	if !h.ready(b) {
		return 0, h.tooLarge(b, lim)
	}
	h.clear()
	n, r := h.statusLine(b)
	if n > 0 && r == 0 {
		n, r = h.fields(b, n, lim)
	}
	if r != 0 {
		h.scanned = 0
		return 0, r
	}
	if n == 0 {
		h.scanned = len(b)
		return 0, h.tooLarge(b, lim)
	}
	h.scanned = 0
	if n > lim.headBytes() {
		return 0, HeadTooLarge
	}
	h.Size = n
	if r := h.finishResponse(method); r != 0 {
		return 0, r
	}
	return n, nil
}

// garbageSize is how many bytes are parsed anew each time, so that a peer that doesn't speak HTTP is told early.
const garbageSize = 64

// ready says whether parsing can get further than the last time. A head that arrives byte by byte is parsed again
// only around the ends of lines, so the work for it is bounded by its size times its number of lines.
func (h *Head) ready(b []byte) bool {
	if h.scanned == 0 || h.scanned > len(b) || len(b) <= garbageSize {
		return true
	}
	if h.scanned < len(b) && b[h.scanned-1] == '\r' || bytes.IndexByte(b[h.scanned:], '\n') >= 0 {
		return true
	}
	h.scanned = len(b)
	return false
}

func (h *Head) tooLarge(b []byte, lim *Limits) error {
	if len(b) >= lim.headBytes() {
		h.scanned = 0
		return HeadTooLarge
	}
	return nil
}

// requestLine parses METHOD SP target SP HTTP/1.x CRLF and returns the index behind it, or 0 if there is more to
// come.
func (h *Head) requestLine(b []byte, start int, lim *Limits) (int, Reason) {
	i := nameEnd(b, start)
	if i == len(b) {
		return 0, 0
	}
	if i == start || b[i] != ' ' {
		return 0, BadMethod
	}
	h.MethodName = b[start:i:i]
	h.Method = methodOf(h.MethodName)
	i++
	t := i
	for i < len(b) && targetByte[b[i]] {
		i++
	}
	if i == len(b) {
		return 0, 0
	}
	if i == t || b[i] != ' ' {
		return 0, badTargetEnd(b, i)
	}
	h.Target = b[t:i:i]
	i, r := h.version(b, i+1)
	if i == 0 {
		return 0, r
	}
	switch crlf(b, i) {
	case lineShort:
		return 0, 0
	case lineBad:
		if b[i] == '\r' || b[i] == '\n' {
			return 0, BadLineEnd
		}
		return 0, BadVersion
	}
	if h.Minor == 0 && (lim == nil || !lim.AcceptHTTP10) {
		return 0, HTTP10NotAccepted
	}
	return i + 2, h.splitTarget()
}

// badTargetEnd tells a line that ends after the target, as in HTTP/0.9, from a target with a bad byte.
func badTargetEnd(b []byte, i int) Reason {
	if b[i] == '\r' || b[i] == '\n' {
		return BadVersion
	}
	return BadTarget
}

const (
	versionPrefix = "HTTP/1."
	versionSize   = len(versionPrefix) + 1
)

// version parses HTTP/1.0 or HTTP/1.1 at b[i] and returns the index behind it, or 0.
func (h *Head) version(b []byte, i int) (int, Reason) {
	v := b[i:]
	if len(v) < versionSize || string(v[:len(versionPrefix)]) != versionPrefix {
		return 0, otherVersion(v)
	}
	switch v[len(versionPrefix)] {
	case '1':
		h.Minor = 1
	case '0':
		h.Minor = 0
		h.Close = true
	default:
		return 0, otherVersion(v)
	}
	return i + versionSize, 0
}

// otherVersion tells another version of HTTP, or the beginning of one, from something that isn't one.
func otherVersion(v []byte) Reason {
	for i, c := range v[:min(len(v), versionSize)] {
		ok := c == versionPrefix[min(i, len(versionPrefix)-1)]
		if i == 5 || i == 7 {
			ok = isDigit(c)
		}
		if !ok {
			return BadVersion
		}
	}
	if len(v) < versionSize {
		return 0
	}
	return UnsupportedVersion
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// statusLine parses HTTP/1.x SP 3DIGIT [SP phrase] CRLF and returns the index behind it, or 0 if there is more to
// come. Servers that leave out the space before an empty phrase are common enough to be let through.
func (h *Head) statusLine(b []byte) (int, Reason) {
	i, r := h.version(b, 0)
	if i == 0 {
		return 0, r
	}
	if len(b) < i+5 {
		return 0, 0
	}
	s := b[i : i+5]
	if s[0] != ' ' || s[1] < '1' || !isDigit(s[1]) || !isDigit(s[2]) || !isDigit(s[3]) || s[4] != ' ' && s[4] != '\r' {
		return 0, BadStatusLine
	}
	h.Status = int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
	i += 4
	if b[i] == ' ' {
		i++
		end := valueEnd(b, i)
		h.Phrase = b[i:end:end]
		i = end
	}
	switch crlf(b, i) {
	case lineShort:
		return 0, 0
	case lineBad:
		return 0, BadStatusLine
	}
	return i + 2, 0
}

// fields parses field lines from b[i] to the empty line and returns the index behind it, or 0 if there is more to
// come.
func (h *Head) fields(b []byte, i int, lim *Limits) (int, Reason) {
	limit := lim.fields()
	for {
		if i >= len(b) {
			return 0, 0
		}
		if b[i] == '\r' {
			switch crlf(b, i) {
			case lineShort:
				return 0, 0
			case lineBad:
				return 0, BadLineEnd
			}
			return i + 2, 0
		}
		name, value, next, r := fieldLine(b, i)
		if next == 0 {
			return 0, r
		}
		if len(h.Fields) >= limit {
			return 0, TooManyFields
		}
		id := header.Classify(name)
		if r := unique[id]; r != 0 && h.Has(id) {
			return 0, r
		}
		h.AddID(id, name, value)
		if hopByHop[id] {
			h.Fields[len(h.Fields)-1].Hop = true
		}
		i = next
	}
}

// fieldLine parses the field line at b[i] and returns the index behind it, or 0.
func fieldLine(b []byte, i int) (name, value []byte, next int, r Reason) {
	end := nameEnd(b, i)
	if end == len(b) {
		return nil, nil, 0, 0
	}
	if end == i || b[end] != ':' {
		return nil, nil, 0, badName(b, i, end)
	}
	name = b[i:end:end]
	v := end + 1
	for v < len(b) && (b[v] == ' ' || b[v] == '\t') {
		v++
	}
	end = valueEnd(b, v)
	switch crlf(b, end) {
	case lineShort:
		return nil, nil, 0, 0
	case lineBad:
		if b[end] == '\r' || b[end] == '\n' {
			return nil, nil, 0, BadLineEnd
		}
		return nil, nil, 0, BadFieldValue
	}
	next = end + 2
	for end > v && (b[end-1] == ' ' || b[end-1] == '\t') {
		end--
	}
	return name, b[v:end:end], next, 0
}

// badName finds the reason why the name that starts at b[i] and ends at b[end] isn't followed by a colon.
func badName(b []byte, i, end int) Reason {
	switch c := b[end]; {
	case end == i && (c == ' ' || c == '\t'):
		return ObsFold
	case c == ' ' || c == '\t':
		return SpaceBeforeColon
	case c == '\n':
		return BadLineEnd
	}
	return BadFieldName
}
