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
	field     func(*xds.Resource) []byte
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
	// One allocation for all slices, and one for the interfaces that point to
	// them; fields may come in any order.
	slices := make([]mem.SliceBuffer, len(e.resources)+1)
	out := make(mem.BufferSlice, len(slices))
	slices[0] = rest
	for i, r := range e.resources {
		slices[i+1] = e.field(r)
	}
	for i := range slices {
		out[i] = &slices[i]
	}
	return out, nil
}
