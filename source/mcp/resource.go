package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	mcp "istio.io/api/mcp/v1alpha1"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/xds"
)

// annotationOrigin tells another Lateen where an object was written.
const annotationOrigin = "lateen.dev/origin"

// Limits of what a resource may say.
const (
	maxNameBytes   = 512
	maxOriginBytes = 1024
)

// typeURL is the resource type of a kind in one of its versions.
func typeURL(k config.Kind, version string) string {
	group := k.Group()
	if group == "" {
		group = "core"
	}
	return group + "/" + version + "/" + k.String()
}

// kindOf reads a resource type. An unknown one is nobody's error: clients ask
// for kinds that we don't have.
func kindOf(typeURL string) (config.Kind, bool) {
	part := strings.Split(typeURL, "/")
	if len(part) != 3 {
		return config.UnknownKind, false
	}
	group := part[0]
	if group == "core" {
		group = ""
	}
	k, ok := config.LookupKind(group, part[2])
	return k, ok && k.Serves(part[1])
}

// resourceName is NAMESPACE/NAME, also where there is no namespace.
func resourceName(k config.Key) string { return k.Namespace + "/" + k.Name }

// encode makes an object a resource.
func encode(o *config.Object) (*xds.Resource, error) {
	body, err := encodeSpec(o.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Key, err)
	}
	m := &mcp.Metadata{Name: resourceName(o.Key), Version: o.ResourceVersion, Labels: o.Labels, Annotations: map[string]string{}}
	for name, value := range o.Annotations {
		m.Annotations[name] = value
	}
	m.Annotations[annotationOrigin] = o.Origin.String()
	if !o.Created.IsZero() {
		m.CreateTime = timestamppb.New(o.Created)
	}
	return xds.NewResource(m.Name, &mcp.Resource{Metadata: m, Body: body})
}

// encodeSpec: Istio's kinds are messages; Kubernetes' own travel as their JSON.
func encodeSpec(spec any) (*anypb.Any, error) {
	if m, ok := spec.(proto.Message); ok {
		return anypb.New(m)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	s := &structpb.Struct{}
	if err := protojson.Unmarshal(text, s); err != nil {
		return nil, err
	}
	return anypb.New(s)
}

// errNoObject marks a resource without metadata: older servers end a list with
// one.
var errNoObject = errors.New("the resource has no metadata")

// decode makes a resource an object, whose origin is the source's name and what
// the server says of its own.
func decode(source string, kind config.Kind, r *xds.Resource) (*config.Object, error) {
	msg := &mcp.Resource{}
	if err := r.Body().UnmarshalTo(msg); err != nil {
		return nil, fmt.Errorf("not an istio.mcp.v1alpha1.Resource: %w", err)
	}
	m := msg.GetMetadata()
	if m == nil {
		return nil, errNoObject
	}
	if len(m.GetName()) > maxNameBytes {
		return nil, fmt.Errorf("a name of %d bytes", len(m.GetName()))
	}
	namespace, name, ok := strings.Cut(m.GetName(), "/")
	switch {
	case !ok || name == "" || strings.Contains(name, "/"):
		return nil, fmt.Errorf("the name %q is not NAMESPACE/NAME", m.GetName())
	case kind.ClusterScoped():
		namespace = ""
	case namespace == "":
		return nil, fmt.Errorf("the name %q has no namespace", m.GetName())
	}
	spec, err := decodeSpec(kind, msg.GetBody())
	if err != nil {
		return nil, err
	}
	o := &config.Object{Key: config.Key{Kind: kind, Namespace: namespace, Name: name}, Labels: m.GetLabels(), Annotations: m.GetAnnotations(),
		Spec: spec, Origin: config.Origin{Source: source, Position: config.Position{File: source}}}
	if m.GetCreateTime() != nil {
		if o.Created = m.GetCreateTime().AsTime(); o.Created.Equal(time.Unix(0, 0)) {
			o.Created = time.Time{} // what a server says that knows of no time
		}
	}
	if place := o.Annotations[annotationOrigin]; place != "" && len(place) <= maxOriginBytes {
		o.Origin.File = source + " " + place
	}
	delete(o.Annotations, annotationOrigin)
	return o, nil
}

func decodeSpec(kind config.Kind, body *anypb.Any) (any, error) {
	spec := kind.NewSpec()
	if m, ok := spec.(proto.Message); ok {
		// Versions of a kind are one message under several names.
		if err := proto.Unmarshal(body.GetValue(), m); err != nil {
			return nil, fmt.Errorf("the body is no %s: %w", kind, err)
		}
		return spec, nil
	}
	s := &structpb.Struct{}
	if err := body.UnmarshalTo(s); err != nil {
		return nil, fmt.Errorf("the body is no %s: %w", kind, err)
	}
	text, err := s.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(text, spec)
	}
	if err != nil {
		return nil, fmt.Errorf("the body is no %s: %w", kind, err)
	}
	return spec, nil
}
