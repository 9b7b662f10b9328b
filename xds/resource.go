package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

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
}

// versionBytes of SHA-256 make a version: 96 bits, far beyond accidental
// collision among the versions of one name.
const versionBytes = 12

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

// FromAny makes a resource of an already marshalled body, which it keeps.
func FromAny(name string, body *anypb.Any) *Resource {
	sum := sha256.Sum256(body.GetValue())
	return &Resource{
		Name:    name,
		TypeURL: body.GetTypeUrl(),
		Version: hex.EncodeToString(sum[:versionBytes]),
		Body:    body,
	}
}

// Size is the number of bytes that the resource adds to a response.
func (r *Resource) Size() int {
	// Name, version, type URL and the tags and lengths around them.
	const framing = 16
	return len(r.Name) + len(r.Version) + len(r.TypeURL) + len(r.Body.GetValue()) + framing
}
