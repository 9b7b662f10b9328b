package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// Bytes of version 2's fixed part.
const (
	commandLocal = 0x20
	commandProxy = 0x21
	tcp4         = 0x11
	tcp6         = 0x21
	size4        = 12
	size6        = 36
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func parse2(b []byte) (Header, int, error) {
	if len(b) < fixedSize2 {
		return Header{}, 0, nil
	}
	size := fixedSize2 + int(binary.BigEndian.Uint16(b[14:]))
	if size > MaxSize {
		return Header{}, 0, ErrTooLong
	}
	command, family := b[12], b[13]
	if command != commandLocal && command != commandProxy || family>>4 > 3 || family&0xf > 2 {
		return Header{}, 0, ErrInvalid
	}
	if len(b) < size {
		return Header{}, 0, nil
	}
	h := Header{Version: 2, Local: command == commandLocal}
	body := b[fixedSize2:size]
	addresses := addressSize(family)
	if len(body) < addresses {
		if h.Local {
			return h, size, nil
		}
		return Header{}, 0, ErrInvalid
	}
	if !h.Local {
		h.addresses(family, body)
	}
	h.TLVs = body[addresses:]
	if !wellFormed(h.TLVs) {
		return Header{}, 0, ErrInvalid
	}
	if !checksumOK(b[:size], size-len(h.TLVs)) {
		return Header{}, 0, ErrCRC
	}
	return h, size, nil
}

// addressSize is how many bytes the addresses of a family take.
func addressSize(family byte) int {
	switch family >> 4 {
	case 1:
		return size4
	case 2:
		return size6
	case 3:
		return 216 // Unix sockets
	}
	return 0
}

// addresses decodes TCP's addresses. Those of datagrams and Unix sockets are passed over.
func (h *Header) addresses(family byte, body []byte) {
	switch family {
	case tcp4:
		s, d := netip.AddrFrom4([4]byte(body[0:4])), netip.AddrFrom4([4]byte(body[4:8]))
		h.Source = netip.AddrPortFrom(s, binary.BigEndian.Uint16(body[8:]))
		h.Destination = netip.AddrPortFrom(d, binary.BigEndian.Uint16(body[10:]))
	case tcp6:
		s, d := netip.AddrFrom16([16]byte(body[0:16])).Unmap(), netip.AddrFrom16([16]byte(body[16:32])).Unmap()
		h.Source = netip.AddrPortFrom(s, binary.BigEndian.Uint16(body[32:]))
		h.Destination = netip.AddrPortFrom(d, binary.BigEndian.Uint16(body[34:]))
	}
}

func wellFormed(p []byte) bool {
	for len(p) > 0 {
		if len(p) < 3 {
			return false
		}
		n := 3 + int(binary.BigEndian.Uint16(p[1:]))
		if n > len(p) {
			return false
		}
		p = p[n:]
	}
	return true
}

// checksumOK verifies the checksum extension, if there is one, which is computed with its own value as zeros.
func checksumOK(header []byte, tlvs int) bool {
	for i := tlvs; i < len(header); {
		n := int(binary.BigEndian.Uint16(header[i+1:]))
		if header[i] != TLVCRC32C {
			i += 3 + n
			continue
		}
		if n != 4 {
			return false
		}
		sum := crc32.Update(0, castagnoli, header[:i+3])
		sum = crc32.Update(sum, castagnoli, make([]byte, 4))
		sum = crc32.Update(sum, castagnoli, header[i+7:])
		return sum == binary.BigEndian.Uint32(header[i+3:])
	}
	return true
}

// AppendV2 appends a version 2 header with extensions as AppendTLV makes them. Addresses are treated as AppendV1
// does; where that says UNKNOWN, this says LOCAL. Extensions that would make the header longer than MaxSize are left out.
func AppendV2(dst []byte, source, destination netip.AddrPort, tlvs []byte) []byte {
	if fixedSize2+size6+len(tlvs) > MaxSize {
		tlvs = nil
	}
	s, d, v4, ok := families(source, destination)
	dst = append(dst, signature2...)
	size := len(tlvs)
	switch {
	case !ok:
		dst = append(dst, commandLocal, 0)
	case v4:
		dst = append(dst, commandProxy, tcp4)
		size += size4
	default:
		dst = append(dst, commandProxy, tcp6)
		size += size6
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(size))
	if ok {
		dst = append(dst, s.AsSlice()...)
		dst = append(dst, d.AsSlice()...)
		dst = binary.BigEndian.AppendUint16(dst, source.Port())
		dst = binary.BigEndian.AppendUint16(dst, destination.Port())
	}
	return append(dst, tlvs...)
}

// AppendTLV appends an extension.
func AppendTLV(dst []byte, kind byte, value []byte) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(value)))
	return append(dst, value...)
}
