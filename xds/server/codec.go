package server

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/xds"
)

// encoded is a response whose resources are marshalled already. They are sent
// from where they stand: one copy in memory serves every client.
type encoded struct {
	resources []*xds.Resource
	field     func(*xds.Resource, mem.BufferSlice) mem.BufferSlice
	// rest is the response without them.
	rest proto.Message
}

// codec is protobuf's, and knows encoded besides.
type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	e, ok := v.(*encoded)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	rest, err := proto.Marshal(e.rest)
	if err != nil {
		return nil, err
	}
	buffers := 1
	for _, r := range e.resources {
		buffers += r.Buffers()
	}
	// Fields may come in any order.
	out := append(make(mem.BufferSlice, 0, buffers), mem.SliceBuffer(rest))
	for _, r := range e.resources {
		out = e.field(r, out)
	}
	return out, nil
}
