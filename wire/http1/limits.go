package http1

// Limits bounds what is accepted from a peer. A zero field means its default, so the zero value and a nil pointer are
// the defaults.
type Limits struct {
	// MaxHeadBytes bounds a head: start line, fields and the empty line, and likewise a block of trailers. Envoy's
	// max_request_headers_kb. Default 60 KiB. A read buffer must be able to hold this much.
	MaxHeadBytes int
	// MaxFields bounds the fields of a head, and of trailers. Envoy's max_headers_count. Default 100.
	MaxFields int
	// MaxExtensionBytes bounds the chunk extensions of one body, all together, which carry nothing that anybody uses.
	// Default 4 KiB.
	MaxExtensionBytes int
	// AcceptHTTP10 admits HTTP/1.0 requests, which are refused with 426 otherwise. Envoy's accept_http_10.
	AcceptHTTP10 bool
}

// Defaults of Limits.
const (
	DefaultMaxHeadBytes      = 60 << 10
	DefaultMaxFields         = 100
	DefaultMaxExtensionBytes = 4 << 10
)

func (l *Limits) headBytes() int {
	if l == nil || l.MaxHeadBytes <= 0 {
		return DefaultMaxHeadBytes
	}
	return l.MaxHeadBytes
}

func (l *Limits) fields() int {
	if l == nil || l.MaxFields <= 0 {
		return DefaultMaxFields
	}
	return l.MaxFields
}

func (l *Limits) extensionBytes() int {
	if l == nil || l.MaxExtensionBytes <= 0 {
		return DefaultMaxExtensionBytes
	}
	return l.MaxExtensionBytes
}
