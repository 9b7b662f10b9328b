package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Resource is one named xDS resource: marshalled once, shared by every client
// that gets it. Nobody may change it, nor the Body it points to.
type Resource struct {
	Name    string
	TypeURL string
	// Version is a hash of the content in hex: equal content has an equal
	// version in every process, so a client that moves to another replica or
	// comes back after a restart receives only what differs.
	Version string
	// Body is nil only in a resource of which nothing but the version is known
	// (a client's claim about what it holds).
	Body *anypb.Any

	// field is the resource as a field of a delta response, from bodyAt on as a
	// field of a state-of-the-world response. Body's value is a part of it.
	field  []byte
	bodyAt int
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
	return FromAny(name, &anypb.Any{
		TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()),
		Value:   value,
	}), nil
}

// FromAny makes a resource of an already marshalled body, of which it keeps a
// copy.
func FromAny(name string, body *anypb.Any) *Resource {
	return Assemble(name, body.GetTypeUrl(), len(body.GetValue()), func(b []byte) []byte { return append(b, body.GetValue()...) })
}

// Assemble makes a resource whose marshalled body is appended to a buffer by
// write, piece by piece where it is made of pieces. size is that of the body,
// exactly.
func Assemble(name, typeURL string, size int, write func([]byte) []byte) *Resource {
	r := &Resource{Name: name, TypeURL: typeURL}
	field, versionAt, bodyAt := encodeHead(name, versionLength, typeURL, size)
	field = write(field)
	value := field[len(field)-size : len(field) : len(field)]
	sum := sha256.Sum256(value)
	hex.Encode(field[versionAt:], sum[:versionBytes])
	r.Version = string(field[versionAt : versionAt+versionLength])
	r.Body = &anypb.Any{TypeUrl: typeURL, Value: value}
	r.field, r.bodyAt = field, bodyAt
	return r
}

// DeltaField is the resource as DeltaDiscoveryResponse.resources, tag and length
// included: marshalled once, for all clients. Read only.
func (r *Resource) DeltaField() []byte {
	if r.field == nil {
		field, _ := encode(r.Name, r.Version, r.Body)
		return field
	}
	return r.field
}

// wrapperType says that a state-of-the-world resource stands in a wrapper that
// tells its name, for types whose messages don't.
const wrapperType = "type.googleapis.com/envoy.service.discovery.v3.Resource"

// wrapped is the resource, with its name and version, as an element of a
// state-of-the-world response.
func (r *Resource) wrapped() []byte {
	_, _, n := protowire.ConsumeTag(r.DeltaField())
	resource, _ := protowire.ConsumeBytes(r.DeltaField()[n:])
	size := protowire.SizeTag(typeURLField) + protowire.SizeBytes(len(wrapperType)) + protowire.SizeTag(valueField) + protowire.SizeBytes(len(resource))
	b := make([]byte, 0, protowire.SizeTag(resourcesField)+protowire.SizeBytes(size))
	b = protowire.AppendTag(b, resourcesField, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = protowire.AppendTag(b, typeURLField, protowire.BytesType)
	b = protowire.AppendString(b, wrapperType)
	b = protowire.AppendTag(b, valueField, protowire.BytesType)
	return protowire.AppendBytes(b, resource)
}

// WorldField is the resource as DiscoveryResponse.resources. Read only.
func (r *Resource) WorldField() []byte {
	if r.TypeURL == VirtualHostType {
		return r.wrapped()
	}
	if r.field == nil {
		field, bodyAt := encode(r.Name, r.Version, r.Body)
		return field[bodyAt:]
	}
	return r.field[r.bodyAt:]
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
	field, versionAt, bodyAt := encodeHead(name, len(version), body.GetTypeUrl(), len(body.GetValue()))
	copy(field[versionAt:], version)
	return append(field, body.GetValue()...), bodyAt
}

// encodeHead writes all of a delta response's field but the body's value, which
// comes last and for which there is room, and leaves a place for the version.
func encodeHead(name string, version int, typeURL string, size int) (field []byte, versionAt, bodyAt int) {
	inner := 0
	if typeURL != "" {
		inner += protowire.SizeTag(typeURLField) + protowire.SizeBytes(len(typeURL))
	}
	if size > 0 {
		inner += protowire.SizeTag(valueField) + protowire.SizeBytes(size)
	}
	outer := protowire.SizeTag(nameField) + protowire.SizeBytes(len(name)) + protowire.SizeTag(versionField) + protowire.SizeBytes(version) +
		protowire.SizeTag(resourcesField) + protowire.SizeBytes(inner)
	b := make([]byte, 0, protowire.SizeTag(resourcesField)+protowire.SizeBytes(outer))
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
	return len(r.Name) + len(r.Version) + len(r.TypeURL) + len(r.Body.GetValue()) + framing
}
