package proxyproto

import (
	"bytes"
	"net/netip"
	"strconv"
)

// parse1 parses "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".
func parse1(b []byte) (Header, int, error) {
	end := bytes.IndexByte(b[:min(len(b), maxSize1)], '\n')
	if end < 0 {
		if len(b) >= maxSize1 {
			return Header{}, 0, ErrTooLong
		}
		return Header{}, 0, nil
	}
	if end == 0 || b[end-1] != '\r' || end < len(signature1) {
		return Header{}, 0, ErrInvalid
	}
	h := Header{Version: 1}
	line := string(b[len(signature1) : end-1])
	if line == "UNKNOWN" || len(line) > 8 && line[:8] == "UNKNOWN " {
		return h, end + 1, nil
	}
	var f [5]string
	for i := range f {
		sp := -1
		for j := range len(line) {
			if line[j] == ' ' {
				sp = j
				break
			}
		}
		if last := i == len(f)-1; last != (sp < 0) {
			return Header{}, 0, ErrInvalid
		}
		if sp < 0 {
			sp = len(line)
		}
		f[i], line = line[:sp], line[min(sp+1, len(line)):]
	}
	var ok1, ok2 bool
	h.Source, ok1 = address1(f[0], f[1], f[3])
	h.Destination, ok2 = address1(f[0], f[2], f[4])
	if !ok1 || !ok2 {
		return Header{}, 0, ErrInvalid
	}
	return h, end + 1, nil
}

func address1(family, ip, port string) (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Zone() != "" || family != "TCP4" && family != "TCP6" || addr.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), true
}

// AppendV1 appends a version 1 header. Addresses that aren't valid give UNKNOWN; an IPv4 address beside an IPv6 one is
// written as an IPv6 address that stands for it.
func AppendV1(dst []byte, source, destination netip.AddrPort) []byte {
	s, d, v4, ok := families(source, destination)
	if !ok {
		return append(dst, "PROXY UNKNOWN\r\n"...)
	}
	dst = append(dst, "PROXY TCP6 "...)
	if v4 {
		dst[len(dst)-2] = '4'
	}
	dst = s.AppendTo(dst)
	dst = append(dst, ' ')
	dst = d.AppendTo(dst)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(source.Port()), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(destination.Port()), 10)
	return append(dst, "\r\n"...)
}

// families brings both addresses into one family, IPv6 where they differ, and says whether that is IPv4; ok says whether
// there are two addresses.
func families(source, destination netip.AddrPort) (s, d netip.Addr, v4, ok bool) {
	if !source.IsValid() || !destination.IsValid() {
		return s, d, false, false
	}
	s, d = source.Addr().Unmap().WithZone(""), destination.Addr().Unmap().WithZone("")
	if s.Is4() && d.Is4() {
		return s, d, true, true
	}
	return netip.AddrFrom16(s.As16()), netip.AddrFrom16(d.As16()), false, true
}
