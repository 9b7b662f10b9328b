package hcm

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"

	"lateen.dev/lateen/proxy/plan"
)

// pathVerdict is what came of normalizing a path.
type pathVerdict uint8

const (
	pathKept pathVerdict = iota
	pathChanged
	pathRejected
	pathRedirect
)

// normalizePath appends the normalized path to dst, unless it is kept: RFC 3986 section 6.2.2 (percent-encoded
// unreserved characters, dot segments), then slashes. The query is left alone.
func normalizePath(dst, path []byte, cfg *plan.PathNormalization) ([]byte, pathVerdict) {
	query := []byte(nil)
	if q := bytes.IndexByte(path, '?'); q >= 0 {
		path, query = path[:q], path[q:]
	}
	if !needsWork(path, cfg) {
		return dst, pathKept
	}
	at := len(dst)
	verdict := pathChanged
	dst, slashes := unescape(dst, path, cfg)
	if slashes {
		switch cfg.EscapedSlashes {
		case plan.RejectRequest:
			return dst[:at], pathRejected
		case plan.UnescapeAndRedirect:
			verdict = pathRedirect
		}
	}
	p := dst[at:]
	if cfg.Normalize {
		n, ok := removeDots(p)
		if !ok {
			return dst[:at], pathRejected
		}
		p = p[:n]
	}
	if cfg.MergeSlashes {
		p = mergeSlashes(p)
	}
	return append(dst[:at+len(p)], query...), verdict
}

// needsWork looks for what normalizing could change.
func needsWork(p []byte, cfg *plan.PathNormalization) bool {
	for i, c := range p {
		switch c {
		case '%', '\\':
			return true
		case '/':
			if i+1 < len(p) && (p[i+1] == '.' || p[i+1] == '/' && cfg.MergeSlashes) {
				return true
			}
		}
	}
	return false
}

// unescape decodes unreserved characters and, where configured, slashes; it reports whether there were such.
func unescape(dst, p []byte, cfg *plan.PathNormalization) (out []byte, slashes bool) {
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c == '\\' && cfg.Normalize {
			c = '/' // as browsers and Envoy's normalizer read it
		}
		if c != '%' || i+2 >= len(p) {
			dst = append(dst, c)
			continue
		}
		d, ok := hexByte(p[i+1], p[i+2])
		slash := ok && (d == '/' || d == '\\')
		slashes = slashes || slash
		switch {
		case ok && unreserved(d) && cfg.Normalize:
			dst = append(dst, d)
		case slash && (cfg.EscapedSlashes == plan.UnescapeAndForward || cfg.EscapedSlashes == plan.UnescapeAndRedirect):
			dst = append(dst, '/')
		default:
			dst = append(dst, p[i], p[i+1], p[i+2])
		}
		i += 2
	}
	return dst, slashes
}

func hexByte(a, b byte) (byte, bool) {
	x, ok := hexDigit(a)
	y, ok2 := hexDigit(b)
	return x<<4 | y, ok && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// removeDots removes dot segments in place (RFC 3986 section 5.2.4) and returns the new length. A path that leads
// above the root is refused.
func removeDots(p []byte) (int, bool) {
	out := 0
	for i := 0; i < len(p); {
		end := i + 1
		for end < len(p) && p[end] != '/' {
			end++
		}
		segment := p[i:end] // with its leading slash
		last := end == len(p)
		switch string(segment) {
		case "/.":
			if last {
				p[out] = '/'
				out++
			}
		case "/..":
			if out == 0 {
				return 0, false
			}
			for out--; p[out] != '/'; out-- {
			}
			if last {
				p[out] = '/'
				out++
			}
		default:
			out += copy(p[out:], segment)
		}
		i = end
	}
	return out, true
}

// mergeSlashes makes one slash of several, in place.
func mergeSlashes(p []byte) []byte {
	out := p[:0]
	for _, c := range p {
		if c == '/' && len(out) > 0 && out[len(out)-1] == '/' {
			continue
		}
		out = append(out, c)
	}
	return out
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
