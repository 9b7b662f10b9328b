package http1

import (
	"bytes"

	"lateen.dev/lateen/wire/header"
)

// methodOf classifies a method. Methods are case-sensitive.
func methodOf(m []byte) Method {
	switch string(m) {
	case "GET":
		return MethodGet
	case "POST":
		return MethodPost
	case "HEAD":
		return MethodHead
	case "PUT":
		return MethodPut
	case "DELETE":
		return MethodDelete
	case "PATCH":
		return MethodPatch
	case "OPTIONS":
		return MethodOptions
	case "CONNECT":
		return MethodConnect
	case "TRACE":
		return MethodTrace
	}
	return MethodOther
}

var (
	slash    = []byte("/")
	asterisk = []byte("*")
)

// splitTarget finds the form of the target, and its path and authority.
func (h *Head) splitTarget() Reason {
	t := h.Target
	switch {
	case h.Method == MethodConnect:
		colon := bytes.LastIndexByte(t, ':')
		if colon <= 0 || colon == len(t)-1 || !ValidAuthority(t) {
			return BadTarget
		}
		h.Form, h.Authority = AuthorityForm, t
		return 0
	case t[0] == '/':
		h.Path = t
		return 0
	case len(t) == 1 && t[0] == '*':
		if h.Method != MethodOptions {
			return BadTarget
		}
		h.Form, h.Path = AsteriskForm, t
		return 0
	}
	return h.splitAbsolute()
}

// splitAbsolute takes an absolute form apart.
func (h *Head) splitAbsolute() Reason {
	t := h.Target
	colon := bytes.IndexByte(t, ':')
	if colon < 0 {
		return BadTarget
	}
	switch {
	case header.EqualFold(t[:colon], "http"):
		h.Scheme = "http"
	case header.EqualFold(t[:colon], "https"):
		h.Scheme = "https"
	default:
		return BadTarget
	}
	rest, ok := bytes.CutPrefix(t[colon+1:], []byte("//"))
	if !ok {
		return BadTarget
	}
	h.Form = AbsoluteForm
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	h.Authority, h.Path = rest[:end:end], rest[end:]
	if len(h.Authority) == 0 || h.Authority[0] == ':' || !ValidAuthority(h.Authority) {
		return BadAuthority
	}
	switch {
	case len(h.Path) == 0 && h.Method == MethodOptions:
		h.Path = asterisk
	case len(h.Path) == 0:
		h.Path = slash
	case h.Path[0] == '?':
		// "http://host?q" means "/?q"; such requests have no honest use and forwarding one needs a copy.
		return BadTarget
	}
	return 0
}
