package peer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/telemetry"
)

// Protocol is the ALPN name under which both ends of a TCP connection send their metadata before their first byte.
const Protocol = "istio-peer-exchange"

// The metadata is preceded by a magic number and its length, both in network order. It is a packed Struct whose
// fields are named like the HTTP headers.
const (
	magic        = 0x3D230467
	prefixSize   = 8
	fieldPeer    = "x-envoy-peer-metadata"
	fieldPeerID  = "x-envoy-peer-metadata-id"
	structType   = "type.googleapis.com/google.protobuf.Struct"
	maxPreambles = 64 << 10
)

// preamble encodes what is sent at the beginning of a TCP connection.
func preamble(id string, metadata *structpb.Struct) ([]byte, error) {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{
		fieldPeer: structpb.NewStructValue(metadata), fieldPeerID: structpb.NewStringValue(id),
	}}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("peer metadata: %w", err)
	}
	body, err := proto.Marshal(&anypb.Any{TypeUrl: structType, Value: value})
	if err != nil {
		return nil, fmt.Errorf("peer metadata: %w", err)
	}
	out := binary.BigEndian.AppendUint32(nil, magic)
	out = binary.BigEndian.AppendUint32(out, uint32(len(body)))
	return append(out, body...), nil
}

// Errors of ParsePreamble.
var (
	// ErrNoPreamble: the bytes are no preamble, and belong to the connection.
	ErrNoPreamble = errors.New("peer metadata: none on this connection")
	errPreamble   = errors.New("peer metadata: malformed")
)

// ParsePreamble reads the preamble at the beginning of b and returns its length, or 0 if b doesn't hold all of it yet.
func ParsePreamble(b []byte) (p telemetry.Peer, n int, err error) {
	var want [4]byte
	binary.BigEndian.PutUint32(want[:], magic)
	if k := min(len(b), len(want)); string(b[:k]) != string(want[:k]) {
		return p, 0, ErrNoPreamble
	}
	if len(b) < prefixSize {
		return p, 0, nil
	}
	size := binary.BigEndian.Uint32(b[4:])
	if size > maxPreambles {
		return p, 0, errTooLong
	}
	n = prefixSize + int(size)
	if len(b) < n {
		return p, 0, nil
	}
	var body anypb.Any
	var s structpb.Struct
	if proto.Unmarshal(b[prefixSize:n], &body) != nil || proto.Unmarshal(body.GetValue(), &s) != nil {
		return p, n, errPreamble
	}
	return labelsOf(s.GetFields()[fieldPeer].GetStructValue()), n, nil
}
