package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// kubeShape is an object in Kubernetes' shape, its fields in the customary order.
type kubeShape struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Metadata   kubeMeta        `json:"metadata"`
	Spec       json.RawMessage `json:"spec,omitempty"`
}

type kubeMeta struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace,omitempty"`
	Labels            map[string]string `json:"labels,omitempty"`
	Annotations       map[string]string `json:"annotations,omitempty"`
	CreationTimestamp time.Time         `json:"creationTimestamp,omitzero"`
	Generation        int64             `json:"generation,omitempty"`
	ResourceVersion   string            `json:"resourceVersion,omitempty"`
}

// MarshalJSON writes the object in Kubernetes' shape. Decode reads it back.
func (o *Object) MarshalJSON() ([]byte, error) {
	spec, err := specJSON(o.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Key, err)
	}
	return json.Marshal(kubeShape{
		APIVersion: o.Kind.APIVersion(), Kind: o.Kind.String(),
		Metadata: kubeMeta{
			Name: o.Name, Namespace: o.Namespace, Labels: o.Labels, Annotations: o.Annotations,
			CreationTimestamp: o.Created, Generation: o.Generation, ResourceVersion: o.ResourceVersion,
		},
		Spec: spec,
	})
}

// SpecJSON is a spec as MarshalJSON writes it.
func SpecJSON(spec any) (json.RawMessage, error) { return specJSON(spec) }

func specJSON(spec any) (json.RawMessage, error) {
	m, ok := spec.(proto.Message)
	if !ok {
		return json.Marshal(spec)
	}
	b, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	// protojson varies its spacing on purpose; one spacing makes output stable.
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// YAML writes the object as a YAML document in Kubernetes' shape, without the
// marker line.
func (o *Object) YAML() ([]byte, error) {
	b, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return YAMLFromJSON(b)
}

// YAMLFromJSON rewrites JSON as YAML, keeping the order of fields.
func YAMLFromJSON(b []byte) ([]byte, error) {
	var n yaml.Node
	if err := yaml.Unmarshal(b, &n); err != nil {
		return nil, fmt.Errorf("rewrite JSON as YAML: %w", err)
	}
	blockStyle(&n)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&n); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return out.Bytes(), nil
}

// blockStyle undoes JSON's style. A plain scalar that would read as something
// other than text keeps its quotes: the encoder adds them by its tag.
func blockStyle(n *yaml.Node) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Style&yaml.DoubleQuotedStyle != 0 {
			n.Style, n.Tag = 0, "!!str"
		}
	default:
		if len(n.Content) > 0 {
			n.Style = 0
		}
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}
