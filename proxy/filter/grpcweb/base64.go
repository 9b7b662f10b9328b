package grpcweb

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"lateen.dev/lateen/proxy/exchange"
)

// decoder decodes base64 that comes in pieces of any size, and in segments that are padded each by itself.
type decoder struct {
	quantum [4]byte
	have    int
}

// append appends what src decodes to; end says that nothing follows it.
func (d *decoder) append(dst, src []byte, end bool) ([]byte, error) {
	var err error
	for len(src) > 0 {
		if d.have > 0 || len(src) < len(d.quantum) {
			n := copy(d.quantum[d.have:], src)
			d.have += n
			src = src[n:]
			if d.have < len(d.quantum) {
				break
			}
			d.have = 0
			if dst, err = segment(dst, d.quantum[:]); err != nil {
				return dst, err
			}
			continue
		}
		n := len(src) / 4 * 4
		if pad := bytes.IndexByte(src, '='); pad >= 0 {
			n = min(n, (pad/4+1)*4)
		}
		if dst, err = segment(dst, src[:n]); err != nil {
			return dst, err
		}
		src = src[n:]
	}
	if end && d.have > 0 {
		return dst, fmt.Errorf("%w: base64 ends in the middle of a quantum", exchange.ErrProtocol)
	}
	return dst, nil
}

// segment decodes whole quanta, of which only the last may be padded.
func segment(dst, src []byte) ([]byte, error) {
	if bytes.ContainsAny(src, "\r\n") {
		return dst, fmt.Errorf("%w: base64 with line ends", exchange.ErrProtocol)
	}
	dst, err := base64.StdEncoding.AppendDecode(dst, src)
	if err != nil {
		return dst, fmt.Errorf("%w: %w", exchange.ErrProtocol, err)
	}
	return dst, nil
}

func appendBase64(dst, src []byte) []byte { return base64.StdEncoding.AppendEncode(dst, src) }
