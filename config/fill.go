package config

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fill sets the fields of m from a mapping that a walker has checked against
// m's shape. It does what protojson does with the same JSON, without writing
// and reading any: that was half of the cost of decoding.
func (c *common) fill(m protoreflect.Message, from map[string]any) error {
	fields := m.Descriptor().Fields()
	for name, v := range from {
		fd := fields.ByJSONName(name)
		if fd == nil {
			return fmt.Errorf("unknown field %q", name)
		}
		if err := c.fillField(m, fd, v); err != nil {
			return err
		}
	}
	return nil
}

func (c *common) fillField(m protoreflect.Message, fd protoreflect.FieldDescriptor, v any) error {
	switch {
	case fd.IsList():
		items, ok := v.([]any)
		if !ok {
			return misfit(fd, v)
		}
		list := m.Mutable(fd).List()
		for _, item := range items {
			value, err := c.fieldValue(fd, list.NewElement, item)
			if err != nil {
				return err
			}
			list.Append(value)
		}
	case fd.IsMap():
		entries, ok := v.(map[string]any)
		if !ok {
			return misfit(fd, v)
		}
		if fd.MapKey().Kind() != protoreflect.StringKind {
			return throughJSON(m, map[string]any{fd.JSONName(): v})
		}
		return c.fillMap(m, fd, entries)
	default:
		value, err := c.fieldValue(fd, func() protoreflect.Value { return m.NewField(fd) }, v)
		if err != nil {
			return err
		}
		m.Set(fd, value)
	}
	return nil
}

func (c *common) fillMap(m protoreflect.Message, fd protoreflect.FieldDescriptor, entries map[string]any) error {
	ofTexts := fd.MapValue().Kind() == protoreflect.StringKind
	if ofTexts {
		if value, ok := c.find(fd, entries); ok {
			m.Set(fd, value)
			return nil
		}
	}
	whole := m.Mutable(fd)
	into := whole.Map()
	for key, item := range entries {
		value, err := c.fieldValue(fd.MapValue(), into.NewValue, item)
		if err != nil {
			return err
		}
		into.Set(protoreflect.ValueOfString(c.text(validText(key))).MapKey(), value)
	}
	if ofTexts {
		c.note(fd, entries, whole)
	}
	return nil
}

// fieldValue makes a value for a field, or for an element of one. empty makes
// the message to fill.
func (c *common) fieldValue(fd protoreflect.FieldDescriptor, empty func() protoreflect.Value, v any) (protoreflect.Value, error) {
	if fd.Message() == nil {
		return c.scalarValue(fd, v)
	}
	value := empty()
	m := value.Message()
	if strings.HasPrefix(string(fd.Message().FullName()), "google.protobuf.") {
		return value, c.fillKnown(m, v)
	}
	from, ok := v.(map[string]any)
	if !ok {
		return value, misfit(fd, v)
	}
	return value, c.fill(m, from)
}

// fillKnown sets a message whose JSON form isn't an object of its fields.
func (c *common) fillKnown(m protoreflect.Message, v any) error {
	md := m.Descriptor()
	switch s := messageShape(md); {
	case s.class == classDuration:
		text, ok := v.(string)
		d, err := time.ParseDuration(text)
		if !ok || err != nil {
			return fmt.Errorf("%v is no duration", v)
		}
		m.Set(md.Fields().ByName("seconds"), protoreflect.ValueOfInt64(int64(d/time.Second)))
		m.Set(md.Fields().ByName("nanos"), protoreflect.ValueOfInt32(int32(d%time.Second)))
		return nil
	case s.class == classObject, s.class == classAny, md.Name() == "Timestamp", md.Name() == "FieldMask":
		return throughJSON(m, v)
	}
	fd := md.Fields().ByName("value")
	value, err := c.scalarValue(fd, v)
	if err == nil {
		m.Set(fd, value)
	}
	return err
}

// throughJSON leaves what is rare to protojson.
func throughJSON(m protoreflect.Message, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	part := m.New()
	if err := protojson.Unmarshal(b, part.Interface()); err != nil {
		return err
	}
	proto.Merge(m.Interface(), part.Interface())
	return nil
}

func (c *common) scalarValue(fd protoreflect.FieldDescriptor, v any) (protoreflect.Value, error) {
	switch v := v.(type) {
	case string:
		return c.textValue(fd, v)
	case bool:
		if fd.Kind() == protoreflect.BoolKind {
			return protoreflect.ValueOfBool(v), nil
		}
	case float64:
		switch {
		case fd.Kind() == protoreflect.DoubleKind:
			return protoreflect.ValueOfFloat64(v), nil
		case fd.Kind() == protoreflect.FloatKind && math.Abs(v) <= math.MaxFloat32:
			return protoreflect.ValueOfFloat32(float32(v)), nil
		}
	case json.Number:
		i, err := v.Int64()
		if err != nil {
			return protoreflect.Value{}, misfit(fd, v)
		}
		return wholeValue(fd, i)
	}
	return protoreflect.Value{}, misfit(fd, v)
}

func (c *common) textValue(fd protoreflect.FieldDescriptor, v string) (protoreflect.Value, error) {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(c.text(validText(v))), nil
	case protoreflect.EnumKind:
		if e := fd.Enum().Values().ByName(protoreflect.Name(v)); e != nil {
			return protoreflect.ValueOfEnum(e.Number()), nil
		}
	case protoreflect.BytesKind:
		enc := base64.StdEncoding
		if strings.ContainsAny(v, "-_") {
			enc = base64.URLEncoding
		}
		if len(v)%4 != 0 {
			enc = enc.WithPadding(base64.NoPadding)
		}
		b, err := enc.DecodeString(v)
		if err != nil {
			return protoreflect.Value{}, fmt.Errorf("invalid value for bytes field %s: %w", fd.JSONName(), err)
		}
		return protoreflect.ValueOfBytes(b), nil
	}
	return protoreflect.Value{}, misfit(fd, v)
}

func wholeValue(fd protoreflect.FieldDescriptor, i int64) (protoreflect.Value, error) {
	switch fd.Kind() {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(i)), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(i)), nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(i), nil
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(i)), nil
	}
	return protoreflect.Value{}, misfit(fd, i)
}

func misfit(fd protoreflect.FieldDescriptor, v any) error {
	return fmt.Errorf("invalid value for %s field %s: %v", fd.Kind(), fd.JSONName(), v)
}

// validText is s as protocol buffers take it.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, string(utf8.RuneError))
}
