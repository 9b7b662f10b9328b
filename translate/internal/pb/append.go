package pb

import "google.golang.org/protobuf/encoding/protowire"

// Open begins a message of which the length is not known yet; Shut ends it, given where its content began.
func Open(b []byte, field protowire.Number) (out []byte, at int) {
	b = append(protowire.AppendTag(b, field, protowire.BytesType), 0)
	return b, len(b)
}

// Shut ends what Open began.
func Shut(b []byte, at int) []byte {
	size := len(b) - at
	more := protowire.SizeVarint(uint64(size)) - 1
	if more > 0 {
		b = append(b, make([]byte, more)...)
		copy(b[at+more:], b[at:at+size])
	}
	protowire.AppendVarint(b[:at-1], uint64(size))
	return b
}
