package proxyproto

import (
	"errors"
	"net/netip"
)

// Header says who talks to whom.
type Header struct {
	// Version is 1 or 2.
	Version int
	// Local says that the connection is the sender's own, a health check for instance: the addresses of the
	// connection itself are to be used. So they are if Source isn't valid, which "UNKNOWN" and "UNSPEC" give.
	Local               bool
	Source, Destination netip.AddrPort
	// TLVs are version 2's extensions, undecoded. After Parse it is a view of the input.
	TLVs []byte
}

// Types of extensions (section 2.2 of the specification).
const (
	TLVALPN      = 0x01
	TLVAuthority = 0x02
	TLVCRC32C    = 0x03
	TLVNoop      = 0x04
	TLVUniqueID  = 0x05
	TLVSSL       = 0x20
	TLVNetNS     = 0x30
)

// TLV returns the value of the first extension of a type, or nil.
func (h *Header) TLV(kind byte) []byte {
	for p := h.TLVs; len(p) >= 3; {
		n := int(p[1])<<8 | int(p[2])
		if len(p) < 3+n {
			return nil
		}
		if p[0] == kind {
			return p[3 : 3+n : 3+n]
		}
		p = p[3+n:]
	}
	return nil
}

// Errors of Parse.
var (
	// ErrMissing: the bytes are no PROXY header.
	ErrMissing = errors.New("no PROXY protocol header")
	ErrInvalid = errors.New("invalid PROXY protocol header")
	ErrTooLong = errors.New("PROXY protocol header is too long")
	ErrCRC     = errors.New("PROXY protocol header has a wrong checksum")
)

// MaxSize bounds a header. Version 1 is never longer than 107 bytes; version 2 could be 64 KiB of extensions.
const MaxSize = 4 << 10

const (
	signature1 = "PROXY "
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"
	maxSize1   = 107
	fixedSize2 = 16
)

// Parse parses the header at the beginning of b and returns its length, or 0 if b doesn't hold all of it yet.
func Parse(b []byte) (h Header, n int, err error) {
	switch {
	case prefixOf(b, signature1):
		return parse1(b)
	case prefixOf(b, signature2):
		return parse2(b)
	}
	return Header{}, 0, ErrMissing
}

// prefixOf says whether b begins with signature as far as it goes.
func prefixOf(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}
