package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Resource is one named xDS resource: marshalled once, shared by every client
// that gets it. Nobody may change it, nor what it gives out.
type Resource struct {
	Name    string
	TypeURL string
	// Version is a hash of the content in hex: equal content has an equal
	// version in every process, so a client that moves to another replica or
	// comes back after a restart receives only what differs.
	Version string

	// body is that of a resource which came over the wire, as it came.
	body *anypb.Any

	// delta is the resource as a field of a delta response, without pieces. Its
	// end, world, is the resource as a field of a state-of-the-world response;
	// the body's value begins at valueAt and goes on in the pieces.
	delta, world mem.SliceBuffer
	valueAt      int
	pieces       []mem.Buffer
	size         int // of the body's value
}

// versionBytes of SHA-256 make a version: 96 bits, far beyond accidental
// collision among the versions of one name.
const versionBytes = 12

// versionLength is that in hex digits.
const versionLength = 2 * versionBytes

// NewResource marshals m deterministically. The name is the one clients
// subscribe to.
func NewResource(name string, m proto.Message) (*Resource, error) {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("resource %q: marshal %s: %w", name, m.ProtoReflect().Descriptor().FullName(), err)
	}
	return Assemble(name, "type.googleapis.com/"+string(m.ProtoReflect().Descriptor().FullName()), value), nil
}

// FromAny makes a resource of an already marshalled body, of which it keeps a
// copy.
func FromAny(name string, body *anypb.Any) *Resource {
	return Assemble(name, body.GetTypeUrl(), body.GetValue())
}

// Received is a resource as a server sent it, with the server's version. It
// keeps the body, which is nil in a claim about what somebody holds.
func Received(name, typeURL, version string, body *anypb.Any) *Resource {
	return &Resource{Name: name, TypeURL: typeURL, Version: version, body: body, size: len(body.GetValue())}
}

// Assemble makes a resource of a marshalled body, of which it keeps a copy.
func Assemble(name, typeURL string, value []byte) *Resource {
	sum := sha256.Sum256(value)
	r := head(name, typeURL, sum, len(value), len(value))
	r.delta = append(r.delta, value...)
	r.world = r.delta[len(r.delta)-len(r.world)-len(value):]
	return r
}

// Piece is a part of a body that several resources have in common. It is
// immutable.
type Piece struct {
	bytes mem.SliceBuffer
	sum   [sha256.Size]byte
}

// NewPiece makes a piece of the bytes, which it keeps.
func NewPiece(b []byte) *Piece { return &Piece{bytes: b, sum: sha256.Sum256(b)} }

// Bytes are the piece's content. Read only.
func (p *Piece) Bytes() []byte { return p.bytes }

// Join makes a resource whose marshalled body is lead followed by the pieces. It
// takes no copy of these: many large resources that differ in a few pieces cost
// little more than one. The version is a hash over those of the parts, so equal
// content that was cut differently, or not at all, has another one.
func Join(name, typeURL string, lead []byte, pieces []*Piece) *Resource {
	size := len(lead)
	buffers := make([]mem.Buffer, len(pieces))
	h, sum := sha256.New(), sha256.Sum256(lead)
	h.Write(sum[:])
	for i, p := range pieces {
		h.Write(p.sum[:])
		size += len(p.bytes)
		buffers[i] = &p.bytes
	}
	h.Sum(sum[:0])
	r := head(name, typeURL, sum, size, len(lead))
	r.delta = append(r.delta, lead...)
	r.world = r.delta[len(r.delta)-len(r.world)-len(lead):]
	r.pieces = buffers
	return r
}

// head is a resource with all but the body's value, of which room bytes will be
// appended to delta. Its world is as long as what it has of that.
func head(name, typeURL string, sum [sha256.Size]byte, size, room int) *Resource {
	r := &Resource{Name: name, TypeURL: typeURL, size: size}
	b, versionAt, bodyAt := encodeHead(name, versionLength, typeURL, size, room)
	hex.Encode(b[versionAt:], sum[:versionBytes])
	r.Version = string(b[versionAt : versionAt+versionLength])
	r.delta, r.world, r.valueAt = b, b[bodyAt:], len(b)
	return r
}

// Body is the resource as it is packed, nil in a resource of which nothing but
// the version is known. Read only. It joins what stands in pieces.
func (r *Resource) Body() *anypb.Any {
	if r.delta == nil {
		return r.body
	}
	return &anypb.Any{TypeUrl: r.TypeURL, Value: r.value()}
}

func (r *Resource) value() []byte {
	value := r.delta[r.valueAt:len(r.delta):len(r.delta)]
	if len(r.pieces) == 0 {
		return value
	}
	out := append(make([]byte, 0, r.size), value...)
	for _, p := range r.pieces {
		out = append(out, p.ReadOnlyData()...)
	}
	return out
}

// Buffers is how many buffers DeltaField and WorldField append.
func (r *Resource) Buffers() int { return 1 + len(r.pieces) }

// DeltaField appends the resource as DeltaDiscoveryResponse.resources, tag and
// length included: marshalled once, for all clients. Read only.
func (r *Resource) DeltaField(out mem.BufferSlice) mem.BufferSlice {
	if r.delta == nil {
		field, _ := encode(r.Name, r.Version, r.body)
		return append(out, mem.SliceBuffer(field))
	}
	return append(append(out, &r.delta), r.pieces...)
}

// WorldField appends the resource as DiscoveryResponse.resources. Read only.
func (r *Resource) WorldField(out mem.BufferSlice) mem.BufferSlice {
	switch {
	case r.TypeURL == VirtualHostType:
		return append(out, mem.SliceBuffer(r.wrapped()))
	case r.delta == nil:
		field, bodyAt := encode(r.Name, r.Version, r.body)
		return append(out, mem.SliceBuffer(field[bodyAt:]))
	}
	return append(append(out, &r.world), r.pieces...)
}

// wrapperType says that a state-of-the-world resource stands in a wrapper that
// tells its name, for types whose messages don't.
const wrapperType = "type.googleapis.com/envoy.service.discovery.v3.Resource"

// wrapped is the resource, with its name and version, as an element of a
// state-of-the-world response.
func (r *Resource) wrapped() []byte {
	field := r.DeltaField(nil).Materialize()
	_, _, n := protowire.ConsumeTag(field)
	resource, _ := protowire.ConsumeBytes(field[n:])
	size := protowire.SizeTag(typeURLField) + protowire.SizeBytes(len(wrapperType)) + protowire.SizeTag(valueField) + protowire.SizeBytes(len(resource))
	b := make([]byte, 0, protowire.SizeTag(resourcesField)+protowire.SizeBytes(size))
	b = protowire.AppendTag(b, resourcesField, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, typeURLField, protowire.BytesType)
	b = protowire.AppendString(b, wrapperType)
	b = protowire.AppendTag(b, valueField, protowire.BytesType)
	return protowire.AppendBytes(b, resource)
}

// Numbers of the fields that encode writes.
const (
	// resourcesField is that of both responses, and Resource.resource: so the
	// body's encoding within the one is its encoding in the other.
	resourcesField = 2
	versionField   = 1
	nameField      = 3
	typeURLField   = 1
	valueField     = 2
)

// encode writes name, version and body as a field of a delta response; from
// bodyAt on it is one of a state-of-the-world response.
func encode(name, version string, body *anypb.Any) (field []byte, bodyAt int) {
	field, versionAt, bodyAt := encodeHead(name, len(version), body.GetTypeUrl(), len(body.GetValue()), len(body.GetValue()))
	copy(field[versionAt:], version)
	return append(field, body.GetValue()...), bodyAt
}

// encodeHead writes all of a delta response's field but the body's value, which
// comes last and is size bytes long, and leaves a place for the version. There
// is room for as many bytes of it as that says.
func encodeHead(name string, version int, typeURL string, size, room int) (field []byte, versionAt, bodyAt int) {
	inner := 0
	if typeURL != "" {
		inner += protowire.SizeTag(typeURLField) + protowire.SizeBytes(len(typeURL))
	}
	if size > 0 {
		inner += protowire.SizeTag(valueField) + protowire.SizeBytes(size)
	}
	outer := protowire.SizeTag(nameField) + protowire.SizeBytes(len(name)) + protowire.SizeTag(versionField) + protowire.SizeBytes(version) +
		protowire.SizeTag(resourcesField) + protowire.SizeBytes(inner)
	b := make([]byte, 0, protowire.SizeTag(resourcesField)+protowire.SizeBytes(outer)-size+room)
	b = protowire.AppendTag(b, resourcesField, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(outer))
	b = protowire.AppendTag(b, nameField, protowire.BytesType)
	b = protowire.AppendString(b, name)
	b = protowire.AppendTag(b, versionField, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(version))
	versionAt = len(b)
	b = b[:versionAt+version]
	bodyAt = len(b)
	b = protowire.AppendTag(b, resourcesField, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	if typeURL != "" {
		b = protowire.AppendTag(b, typeURLField, protowire.BytesType)
		b = protowire.AppendString(b, typeURL)
	}
	if size > 0 {
		b = protowire.AppendTag(b, valueField, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(size))
	}
	return b, versionAt, bodyAt
}

// Size is the number of bytes that the resource adds to a response.
func (r *Resource) Size() int {
	// Name, version, type URL and the tags and lengths around them.
	const framing = 16
	return len(r.Name) + len(r.Version) + len(r.TypeURL) + r.size + framing
}
