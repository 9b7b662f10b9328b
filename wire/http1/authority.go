package http1

// ValidAuthority says whether a is a host with an optional port, as Host and the authority form carry it: a name of
// unreserved, percent-encoded and sub-delimiter bytes, an IPv4 address, or an IP literal in brackets. User info is
// refused, and so is everything that could end the authority early in somebody else's parser.
func ValidAuthority[T []byte | string](a T) bool {
	i := 0
	if len(a) > 0 && a[0] == '[' {
		i = literalEnd(a)
		if i < 0 {
			return false
		}
	} else {
		for i < len(a) && hostByte[a[i]] {
			if a[i] == '%' && !(i+2 < len(a) && isHex(a[i+1]) && isHex(a[i+2])) {
				return false
			}
			i++
		}
	}
	if i == len(a) {
		return true
	}
	return i > 0 && a[i] == ':' && validPort(a[i+1:])
}

// literalEnd returns the index after the closing bracket of an IP literal, or -1.
func literalEnd[T []byte | string](a T) int {
	for i := 1; i < len(a); i++ {
		switch c := a[i]; {
		case c == ']':
			if i == 1 {
				return -1
			}
			return i + 1
		case isHex(c) || c == ':' || c == '.':
		case i > 1 && (hostByte[c] || c == '%'): // a zone, or IPvFuture
		default:
			return -1
		}
	}
	return -1
}

// validPort accepts an empty port, as the grammar does, and 0 to 65535 without a sign.
func validPort[T []byte | string](p T) bool {
	if len(p) > 5 {
		return false
	}
	n := 0
	for i := 0; i < len(p); i++ {
		if p[i] < '0' || p[i] > '9' {
			return false
		}
		n = n*10 + int(p[i]-'0')
	}
	return n <= 65535
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// hostByte holds RFC 3986's unreserved and sub-delims, and '%'.
var hostByte = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-0x20] = true, true
	}
	for _, c := range "-._~!$&'()*+,;=%" {
		t[c] = true
	}
	return t
}()
