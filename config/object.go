package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
)

// Object is one configuration object. It is immutable once handed on: a change
// is a new Object. It travels as a pointer, and two Objects are compared with
// Equal or SameContent, never by pointer.
type Object struct {
	Key
	Labels      map[string]string
	Annotations map[string]string
	// Created decides between rival objects (the older wins; then the name).
	// It is what metadata.creationTimestamp says, zero when it says nothing.
	Created time.Time
	// Generation counts the contents that a source has seen under this key.
	Generation int64
	// ResourceVersion identifies the content within its source, as opaque text.
	ResourceVersion string
	// Spec is a pointer of the type that the Kind's comment names. Use As.
	Spec any
	// Origin says where the object was written.
	Origin Origin
}

// As returns the object's spec as type T, for example
//
//	vs := config.As[*networking.VirtualService](obj)
//
// It returns the zero T (a nil pointer) when the spec is of another type.
func As[T any](o *Object) T {
	s, _ := o.Spec.(T)
	return s
}

// SameContent says whether two objects mean the same: everything but Origin,
// Generation and ResourceVersion is equal.
func (o *Object) SameContent(p *Object) bool {
	if o == p {
		return true
	}
	if o == nil || p == nil {
		return false
	}
	return o.Key == p.Key && o.Created.Equal(p.Created) &&
		maps.Equal(o.Labels, p.Labels) && maps.Equal(o.Annotations, p.Annotations) && sameSpec(o.Spec, p.Spec)
}

// Equal says whether two objects have the same content and stand at the same
// place. A source emits an update when Equal is false.
func (o *Object) Equal(p *Object) bool {
	return o.SameContent(p) && (o == p || o.Origin.Equal(p.Origin))
}

// Equals is Equal; it lets an Object be an element of a derived collection.
func (o *Object) Equals(p *Object) bool { return o.Equal(p) }

func sameSpec(a, b any) bool {
	if pa, ok := a.(proto.Message); ok {
		pb, ok := b.(proto.Message)
		return ok && proto.Equal(pa, pb)
	}
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	// What is empty and what is absent say the same, as they do in a file.
	return reflect.DeepEqual(a, b) || bytes.Equal(specBytes(a), specBytes(b))
}

// ContentHash is 32 hexadecimal digits that are equal for objects of the same
// content, within one build of this program.
func (o *Object) ContentHash() string {
	h := sha256.New()
	field := func(s string) {
		_, _ = io.WriteString(h, s)
		_, _ = h.Write([]byte{0})
	}
	field(o.Key.String())
	if !o.Created.IsZero() {
		field(o.Created.UTC().Format(time.RFC3339Nano))
	}
	for _, m := range []map[string]string{o.Labels, o.Annotations} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			field(k)
			field(m[k])
		}
		field("")
	}
	_, _ = h.Write(specBytes(o.Spec))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func specBytes(spec any) []byte {
	if m, ok := spec.(proto.Message); ok {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err == nil {
			return b
		}
		// Only invalid UTF-8 can bring us here, which decoding excludes; the
		// text still tells contents apart.
		return []byte(err.Error())
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return []byte(err.Error())
	}
	return b
}
