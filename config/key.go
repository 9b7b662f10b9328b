package config

import (
	"cmp"
	"fmt"
	"strings"
)

// Key is the identity of an object within one source. Namespace is empty for
// cluster-scoped kinds.
type Key struct {
	Kind            Kind
	Namespace, Name string
}

// String gives "VirtualService/default/reviews", or "Namespace/default" for
// cluster-scoped kinds. ParseKey reads it.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Kind.String() + "/" + k.Name
	}
	return k.Kind.String() + "/" + k.Namespace + "/" + k.Name
}

// MarshalText writes the form of String, so that keys can be keys in JSON.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the form of String.
func (k *Key) UnmarshalText(text []byte) error {
	parsed, err := ParseKey(string(text))
	*k = parsed
	return err
}

// Ref is the key in words, for messages.
func (k Key) Ref() Ref {
	return Ref{Kind: k.Kind.String(), Namespace: k.Namespace, Name: k.Name}
}

// Compare orders keys by kind (in the table's order), namespace and name.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Kind, o.Kind), strings.Compare(k.Namespace, o.Namespace), strings.Compare(k.Name, o.Name))
}

// ParseKey reads the form that String writes.
func ParseKey(s string) (Key, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return Key{}, fmt.Errorf("object key %q: want KIND/NAMESPACE/NAME", s)
	}
	kind, ok := ParseKind(parts[0])
	if !ok {
		return Key{}, fmt.Errorf("object key %q: unknown kind %q", s, parts[0])
	}
	if len(parts) == 2 {
		return Key{Kind: kind, Name: parts[1]}, nil
	}
	return Key{Kind: kind, Namespace: parts[1], Name: parts[2]}, nil
}

// Ref names an object in words. Unlike Key it can also name objects of kinds
// that the mesh doesn't know.
type Ref struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// String gives "VirtualService default/reviews".
func (r Ref) String() string {
	name := r.Name
	if r.Namespace != "" {
		name = r.Namespace + "/" + r.Name
	}
	return strings.TrimSpace(r.Kind + " " + name)
}
