package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	"lateen.dev/lateen/config"
)

// TestEveryField decodes, for each field of each kind down to a few levels, an
// object that has nothing but this field, and compares with what protojson
// makes of the same spec.
func TestEveryField(t *testing.T) {
	for _, kind := range config.Kinds() {
		m, ok := kind.NewSpec().(proto.Message)
		if !ok {
			continue
		}
		count := 0
		each(m.ProtoReflect(), 5, func() {
			count++
			text, err := protojson.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			want := m.ProtoReflect().New().Interface()
			if err := protojson.Unmarshal(text, want); err != nil {
				t.Fatal(err)
			}
			d := config.Decode(fmt.Appendf(nil, "{apiVersion: %s, kind: %s, metadata: {name: x}, spec: %s}", kind.APIVersion(), kind, text), config.DecodeOptions{File: "f"})
			objects := d.Objects()
			if len(objects) != 1 {
				t.Fatalf("%s %s: %v", kind, text, d.Problems())
			}
			if diff := cmp.Diff(want, objects[0].Spec, protocmp.Transform()); diff != "" {
				t.Fatalf("%s %s (-want +got):\n%s", kind, text, diff)
			}
		})
		if count == 0 {
			t.Errorf("%s has no fields", kind)
		}
	}
}

// each sets one field of m after the other, and calls f while it is set.
func each(m protoreflect.Message, depth int, f func()) {
	if depth == 0 {
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		inside := func(m protoreflect.Message) {
			if known := strings.HasPrefix(string(m.Descriptor().FullName()), "google.protobuf."); known {
				setKnown(m)
			} else {
				each(m, depth-1, f)
			}
			f()
		}
		switch {
		case fd.IsMap():
			value := m.Mutable(fd).Map().NewValue()
			if fd.MapValue().Message() == nil {
				value = sample(fd.MapValue())
			}
			m.Mutable(fd).Map().Set(sample(fd.MapKey()).MapKey(), value)
			f()
		case fd.IsList() && fd.Message() != nil:
			inside(m.Mutable(fd).List().AppendMutable().Message())
		case fd.IsList():
			m.Mutable(fd).List().Append(sample(fd))
			f()
		case fd.Message() != nil:
			inside(m.Mutable(fd).Message())
		default:
			m.Set(fd, sample(fd))
			f()
		}
		m.Clear(fd)
	}
}

func sample(fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(-7)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(4_000_000_000)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(-1 << 40)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(1 << 40)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(0.25)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(0.125)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0xff, 0xfe, 0xfd, 1})
	}
	return protoreflect.ValueOfString("some: text")
}

// setKnown gives a value to a message whose JSON form isn't an object.
func setKnown(m protoreflect.Message) {
	text := map[string]string{
		"Duration": `"-3.000000500s"`, "Timestamp": `"2026-11-23T10:00:00Z"`, "FieldMask": `"a,b"`, "Struct": `{"a": [1, "x", null, true]}`,
		"Value": `{"a": 1}`, "ListValue": `[1]`, "BoolValue": `true`, "StringValue": `"x"`, "BytesValue": `"/+8="`,
		"Any": `{"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"}`,
	}[string(m.Descriptor().Name())]
	if text == "" {
		text = "5"
	}
	if err := protojson.Unmarshal([]byte(text), m.Interface()); err != nil {
		panic(err)
	}
}
