package analysis

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"lateen.dev/lateen/config"
)

// unsupported names everything that Istio's APIs have and this mesh doesn't do,
// so that nothing a user writes is ignored in silence.
func unsupported(f *facts) {
	reach := reaches{}
	for _, kind := range config.Kinds() {
		for _, o := range f.subjects(kind) {
			if spec := written(o); spec != nil {
				x := &unsupportedIn{f: f, o: o, reach: reach}
				x.message("spec", spec.ProtoReflect())
			}
		}
	}
}

// written is the spec as a message, nil for Kubernetes' own kinds.
func written(o *config.Object) proto.Message {
	if m, ok := o.Spec.(*config.MeshConfigSpec); ok {
		spec := &meshconfig.MeshConfig{}
		if protojson.Unmarshal(m.JSON, spec) != nil {
			return nil
		}
		return spec
	}
	m, _ := o.Spec.(proto.Message)
	return m
}

// unsupportedIn looks through one object.
type unsupportedIn struct {
	f     *facts
	o     *config.Object
	reach reaches
}

func (x *unsupportedIn) complain(at, format string, args ...any) {
	x.f.report(notSupported, x.o, at, "", format, args...)
}

func (x *unsupportedIn) message(at string, m protoreflect.Message) {
	md := m.Descriptor()
	if why, whole := ignoredMessages[md.FullName()]; whole {
		x.complain(at, "%s isn't put into effect: %s", md.Name(), why)
		return
	}
	if !x.reach.any(md) {
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		x.field(at+"."+fd.JSONName(), fd, v)
		return true
	})
}

func (x *unsupportedIn) field(at string, fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	if why, ignored := ignoredField(fd); ignored {
		x.complain(at, "%s isn't put into effect: %s", fd.JSONName(), why)
		return
	}
	switch {
	case fd.IsMap():
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			x.entry(at+"["+k.String()+"]", k.String(), fd, v)
			return true
		})
	case fd.IsList():
		for i := range v.List().Len() {
			x.value(fmt.Sprintf("%s[%d]", at, i), fd, v.List().Get(i))
		}
	default:
		x.value(at, fd, v)
	}
}

func (x *unsupportedIn) entry(at, key string, fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	if strings.HasPrefix(key, "@request.auth.claims") {
		x.complain(at, "%s: tokens aren't read, so nothing matches it", key)
	}
	if used, some := usedKeys[fd.FullName()]; some && !slices.Contains(strings.Fields(used), key) {
		x.complain(at, "%s isn't put into effect: nothing here reads it", key)
		return
	}
	x.value(at, fd.MapValue(), v)
}

func (x *unsupportedIn) value(at string, fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case fd.Message() != nil:
		x.message(at, v.Message())
	case fd.Enum() != nil:
		name := fd.Enum().Values().ByNumber(v.Enum())
		if name == nil {
			return
		}
		if why, ignored := ignoredValues[name.FullName()]; ignored {
			x.complain(at, "%s: %s", name.Name(), why)
		}
	case fd.FullName() == "istio.security.v1beta1.Condition.key" && strings.HasPrefix(v.String(), "request.auth."):
		x.complain(at, "%s: tokens aren't read, so no request has it", v.String())
	}
}

// reaches remembers of which messages it pays to look into the fields.
type reaches map[protoreflect.FullName]bool

func (r reaches) any(md protoreflect.MessageDescriptor) bool {
	if strings.HasPrefix(string(md.FullName()), "google.") {
		return false
	}
	if known, ok := r[md.FullName()]; ok {
		return known
	}
	r[md.FullName()] = false // for messages that contain themselves
	for i := range md.Fields().Len() {
		if r.field(md.Fields().Get(i)) {
			r[md.FullName()] = true
			return true
		}
	}
	return false
}

func (r reaches) field(fd protoreflect.FieldDescriptor) bool {
	if _, ignored := ignoredField(fd); ignored || fd.FullName() == "istio.security.v1beta1.Condition.key" || fd.FullName() == "istio.networking.v1alpha3.HTTPMatchRequest.headers" {
		return true
	}
	if fd.IsMap() {
		if _, some := usedKeys[fd.FullName()]; some {
			return true
		}
		fd = fd.MapValue()
	}
	if md := fd.Message(); md != nil {
		_, whole := ignoredMessages[md.FullName()]
		return whole || r.any(md)
	}
	if fd.Enum() != nil {
		for i := range fd.Enum().Values().Len() {
			if _, ignored := ignoredValues[fd.Enum().Values().Get(i).FullName()]; ignored {
				return true
			}
		}
	}
	return false
}

// ignoredField says why a field has no effect.
func ignoredField(fd protoreflect.FieldDescriptor) (why string, ignored bool) {
	if used, listed := usedFields[fd.ContainingMessage().FullName()]; listed {
		for name := range strings.FieldsSeq(used) {
			if string(fd.Name()) == name {
				return "", false
			}
		}
		why = "nothing here reads it"
		if strings.HasPrefix(string(fd.Name()), "ingress_") {
			why = "there are no Ingresses without Kubernetes"
		}
		return why, true
	}
	why, ignored = ignoredFields[fd.FullName()]
	return why, ignored
}
