package server

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"lateen.dev/lateen/xds/internal/machine"
)

// encoded is a response whose resources are marshalled already. They are sent
// from where they stand: one copy in memory serves every client.
type encoded struct {
	*machine.Frame
	delta bool
	// tail tells when the frame has been written; nil if nobody asks.
	tail *tail
}

// codec is protobuf's, and knows encoded and message besides.
type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	e, ok := v.(*encoded)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	buffers := 1
	for _, r := range e.Resources {
		buffers += r.Buffers()
	}
	out := make(mem.BufferSlice, 0, buffers)
	for _, r := range e.Resources {
		if e.delta {
			out = r.DeltaField(out)
		} else {
			out = r.WorldField(out)
		}
	}
	// Fields may come in any order.
	if e.tail != nil {
		return append(out, e.tail.buffer(e)), nil
	}
	return append(out, mem.SliceBuffer(e.appendRest(make([]byte, 0, e.restSize())))), nil
}

// Numbers of the fields of both responses but for that of the resources.
const (
	versionField      = 1
	typeURLField      = 4
	nonceField        = 5
	removedField      = 6 // delta only
	deltaServerField  = 7
	worldServerField  = 6
	fieldOverhead     = 6 // a tag and a length that a name of some kilobytes needs
	identifierField   = 1 // of ControlPlane
	controlPlaneField = "\x0a\x06lateen"
)

// restSize is no less than what appendRest adds.
func (e *encoded) restSize() int {
	size := 4*fieldOverhead + len(e.Version) + len(e.TypeURL) + len(e.Nonce) + len(e.plane())
	for _, name := range e.Removed {
		size += fieldOverhead + len(name)
	}
	return size
}

// appendRest appends the response without its resources.
func (e *encoded) appendRest(b []byte) []byte {
	b = appendText(b, versionField, e.Version)
	b = appendText(b, typeURLField, e.TypeURL)
	b = appendText(b, nonceField, e.Nonce)
	if !e.delta {
		return appendText(b, worldServerField, e.plane())
	}
	for _, name := range e.Removed {
		b = protowire.AppendTag(b, removedField, protowire.BytesType)
		b = protowire.AppendString(b, name)
	}
	return appendText(b, deltaServerField, e.plane())
}

// plane is who answers.
func (e *encoded) plane() string {
	if e.tail != nil && asked(e.Frame) {
		return e.tail.of.server.plane
	}
	return controlPlaneField
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	return m.decode(whole.ReadOnlyData())
}
