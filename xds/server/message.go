package server

import (
	"errors"
	"fmt"
	"hash/maphash"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/internal/machine"
)

// Requests are read by hand: of a thousand clients that acknowledge a change,
// each sends a hundred bytes or, in state-of-the-world, all its names again.
// What comes is judged as protobuf judges it; fields that nobody here asks for
// are passed over.

var errRequest = errors.New("malformed discovery request")

// requestFields are the numbers of a request's fields; 0 for what it lacks.
type requestFields struct {
	node, typeURL, names, unsubscribe, initial, nonce, refusal protowire.Number
}

func (m *message) fields() requestFields {
	if m.delta {
		return requestFields{node: 1, typeURL: 2, names: 3, unsubscribe: 4, initial: 5, nonce: 6, refusal: 7}
	}
	return requestFields{node: 2, typeURL: 4, names: 3, nonce: 5, refusal: 6}
}

// decode reads a DeltaDiscoveryRequest or a DiscoveryRequest. Nothing of b is
// kept.
func (m *message) decode(b []byte) error {
	f := m.fields()
	var names maphash.Hash
	names.SetSeed(machine.NamesSeed())
	err := eachField(b, func(n protowire.Number, v []byte) error {
		switch n {
		case f.typeURL:
			m.TypeURL = xds.TypeURL(v)
			return valid(v)
		case f.nonce:
			m.Nonce = string(v)
			return valid(v)
		case f.node:
			if m.node == nil {
				m.node = &corev3.Node{}
			}
			return proto.UnmarshalOptions{Merge: true}.Unmarshal(v, m.node)
		case f.refusal:
			return m.refusal(v)
		case f.names:
			m.named++
			if m.delta {
				m.Subscribe = append(m.Subscribe, string(v))
				return valid(v)
			}
			machine.DigestName(&names, v)
		case f.unsubscribe:
			m.Unsubscribe = append(m.Unsubscribe, string(v))
			return valid(v)
		case f.initial:
			return m.claim(v)
		}
		return nil
	})
	if err != nil || m.delta || m.named == 0 {
		return err
	}
	m.Digest = machine.DigestOf(&names)
	if m.Nonce != "" && m.repeats != nil && m.repeats(m.TypeURL, m.Digest) {
		m.Repeats = true
		return nil
	}
	m.Names = make([]string, 0, m.named)
	return eachField(b, func(n protowire.Number, v []byte) error {
		if n != f.names {
			return nil
		}
		m.Names = append(m.Names, string(v))
		return valid(v)
	})
}

// claim reads an entry of the versions that a client says it has.
func (m *message) claim(b []byte) error {
	var name, version string
	err := eachField(b, func(n protowire.Number, v []byte) error {
		switch n {
		case 1:
			name = string(v)
		case 2:
			version = string(v)
		default:
			return nil
		}
		return valid(v)
	})
	if m.Initial == nil {
		m.Initial = make(map[string]string)
	}
	m.Initial[name] = version
	return err
}

// maxReasonBytes of a client's words are kept.
const maxReasonBytes = 4096

func (m *message) refusal(b []byte) error {
	var s rpcstatus.Status
	if err := proto.Unmarshal(b, &s); err != nil {
		return err
	}
	m.Refused, m.Reason = true, s.GetMessage()
	if len(m.Reason) > maxReasonBytes {
		m.Reason = m.Reason[:maxReasonBytes]
	}
	return nil
}

// eachField calls f for each length-delimited field of a message.
func eachField(b []byte, f func(protowire.Number, []byte) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", errRequest, protowire.ParseError(n))
		}
		b = b[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
				return fmt.Errorf("%w: %w", errRequest, protowire.ParseError(n))
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", errRequest, protowire.ParseError(n))
		}
		if err := f(number, value); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func valid(text []byte) error {
	if !utf8.Valid(text) {
		return fmt.Errorf("%w: a string is not UTF-8", errRequest)
	}
	return nil
}
