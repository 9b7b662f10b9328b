package http1

import (
	"encoding/binary"
	"math/bits"

	"lateen.dev/lateen/wire/header"
)

// valueEnd returns the index of the first byte of b, from i on, that can't stand in a field value: a control byte
// other than the tab, which a CR is too. It returns len(b) if there is none. Eight bytes are looked at together: a
// byte below 0x20 borrows when 0x20 is subtracted, one equal to 0x7f becomes zero when xored with it; in both sums
// the lowest byte that is flagged is exact.
func valueEnd(b []byte, i int) int {
	const (
		ones = 0x0101010101010101
		high = 0x8080808080808080
		low  = 0x2020202020202020
		del  = 0x7f7f7f7f7f7f7f7f
	)
	for {
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			y := x ^ del
			if hit := ((x - low) & ^x & high) | ((y - ones) & ^y & high); hit != 0 {
				i += bits.TrailingZeros64(hit) >> 3
				break
			}
			i += 8
		}
		for i < len(b) {
			if c := b[i]; c == '\t' || c >= 0x20 && c != 0x7f {
				i++
				if i&7 == 0 && i+8 <= len(b) {
					break
				}
				continue
			}
			return i
		}
		if i >= len(b) {
			return len(b)
		}
	}
}

// nameEnd returns the index of the first byte of b, from i on, that is not a token byte.
func nameEnd(b []byte, i int) int {
	for i < len(b) && header.TokenByte[b[i]] {
		i++
	}
	return i
}

// targetByte says of each byte whether it may stand in a request target. Bytes above 0x7f and some that the URI
// grammar wants percent-encoded are let through, since clients send them and no server splits a line there; '#' is
// not, since a fragment has no business on the wire.
var targetByte = func() (t [256]bool) {
	for c := 0x21; c < 256; c++ {
		t[c] = c != 0x7f && c != '#'
	}
	return t
}()

// line end states of crlf.
const (
	lineOK = iota
	lineShort
	lineBad
)

// crlf looks at the end of a line at b[i]: CR must be followed by LF.
func crlf(b []byte, i int) int {
	switch {
	case i >= len(b):
		return lineShort
	case b[i] != '\r':
		return lineBad
	case i+1 >= len(b):
		return lineShort
	case b[i+1] != '\n':
		return lineBad
	}
	return lineOK
}
