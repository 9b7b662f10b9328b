package config

import (
	"encoding/json"
	"reflect"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"
)

// class says what a YAML node must look like to fit a shape.
type class uint8

const (
	classAny class = iota // any value, unchecked
	classObject
	classMap
	classList
	classString
	classBool
	classInt
	classFloat
	classEnum
	classDuration
	classPortTarget // a number or a string
)

// shape is the expected form of a YAML node: a view of a proto descriptor or of
// a Go type, whichever the spec is made of. Shapes of nested fields are made
// when asked for, because messages may contain themselves.
type shape struct {
	class    class
	bits     int  // of a classInt
	unsigned bool // of a classInt
	msg      protoreflect.MessageDescriptor
	enum     protoreflect.EnumDescriptor
	typ      reflect.Type // of a classObject without msg
	elem     func() shape // of a classMap or classList
}

// fieldShape is a field of a classObject.
type fieldShape struct {
	shape
	name  string // canonical name in JSON
	oneof string // name of the oneof group it belongs to, "" if none
}

func shapeOf(spec any) shape {
	if _, ok := spec.(*MeshConfigSpec); ok {
		spec = &meshconfig.MeshConfig{}
	}
	if m, ok := spec.(proto.Message); ok {
		return shape{class: classObject, msg: m.ProtoReflect().Descriptor()}
	}
	return typeShape(reflect.TypeOf(spec).Elem())
}

// field finds a field by its JSON name or its proto name.
func (s shape) field(name string) (fieldShape, bool) {
	if s.msg != nil {
		return protoField(s.msg, name)
	}
	for i := range s.typ.NumField() {
		f := s.typ.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name {
			return fieldShape{shape: typeShape(f.Type), name: tag}, true
		}
	}
	if dropped(s.typ, name) {
		return fieldShape{name: name}, true
	}
	return fieldShape{}, false
}

// dropped are fields of Kubernetes' types that mean nothing to a mesh. They are
// accepted unchecked, since objects exported from a cluster have them.
func dropped(t reflect.Type, name string) bool {
	switch t {
	case reflect.TypeFor[ServiceSpec]():
		switch name {
		case "sessionAffinityConfig", "allocateLoadBalancerNodePorts", "healthCheckNodePort", "loadBalancerIP",
			"loadBalancerClass", "loadBalancerSourceRanges":
			return true
		}
	case reflect.TypeFor[NamespaceSpec]():
		return name == "finalizers"
	}
	return false
}

// names lists the fields' JSON names, for suggestions.
func (s shape) names() []string {
	var names []string
	if s.msg != nil {
		for i := range s.msg.Fields().Len() {
			names = append(names, s.msg.Fields().Get(i).JSONName())
		}
		return names
	}
	for i := range s.typ.NumField() {
		tag, _, _ := strings.Cut(s.typ.Field(i).Tag.Get("json"), ",")
		names = append(names, tag)
	}
	return names
}

func protoField(msg protoreflect.MessageDescriptor, name string) (fieldShape, bool) {
	fd := msg.Fields().ByJSONName(name)
	if fd == nil {
		fd = msg.Fields().ByName(protoreflect.Name(name))
	}
	if fd == nil {
		return fieldShape{}, false
	}
	out := fieldShape{name: fd.JSONName()}
	if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
		out.oneof = string(o.Name())
	}
	switch {
	case fd.IsMap():
		out.shape = shape{class: classMap, elem: func() shape { return scalarShape(fd.MapValue()) }}
	case fd.IsList():
		out.shape = shape{class: classList, elem: func() shape { return scalarShape(fd) }}
	default:
		out.shape = scalarShape(fd)
	}
	return out, true
}

func scalarShape(fd protoreflect.FieldDescriptor) shape {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return shape{class: classBool}
	case protoreflect.EnumKind:
		return shape{class: classEnum, enum: fd.Enum()}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return shape{class: classInt, bits: 32}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return shape{class: classInt, bits: 32, unsigned: true}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return shape{class: classInt, bits: 64}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return shape{class: classInt, bits: 64, unsigned: true}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return shape{class: classFloat}
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return messageShape(fd.Message())
	}
	return shape{class: classString} // strings, and bytes as base64
}

// messageShape knows the messages whose JSON form isn't an object of their fields.
func messageShape(msg protoreflect.MessageDescriptor) shape {
	switch msg.FullName() {
	case "google.protobuf.Duration":
		return shape{class: classDuration}
	case "google.protobuf.Timestamp", "google.protobuf.FieldMask":
		return shape{class: classString}
	case "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Any":
		return shape{class: classAny}
	case "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue",
		"google.protobuf.Int32Value", "google.protobuf.UInt32Value",
		"google.protobuf.Int64Value", "google.protobuf.UInt64Value",
		"google.protobuf.FloatValue", "google.protobuf.DoubleValue":
		return scalarShape(msg.Fields().ByName("value"))
	}
	return shape{class: classObject, msg: msg}
}

func typeShape(t reflect.Type) shape {
	switch {
	case t == reflect.TypeFor[PortTarget]():
		return shape{class: classPortTarget}
	case t == reflect.TypeFor[json.RawMessage]():
		return shape{class: classAny}
	}
	switch t.Kind() {
	case reflect.Struct:
		return shape{class: classObject, typ: t}
	case reflect.Map:
		return shape{class: classMap, elem: func() shape { return typeShape(t.Elem()) }}
	case reflect.Slice:
		return shape{class: classList, elem: func() shape { return typeShape(t.Elem()) }}
	case reflect.Bool:
		return shape{class: classBool}
	case reflect.Int32, reflect.Int64:
		return shape{class: classInt, bits: t.Bits()}
	case reflect.String:
		return shape{class: classString}
	}
	return shape{class: classAny}
}
