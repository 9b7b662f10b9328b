// Package stencil writes messages that differ in a few texts only. A Stencil is made of one such message, in which holes
// stand for these texts, and then writes the encoding of any other without making the message: the parts between the holes
// are bytes already. So whatever feature shapes a message, its bytes are those that protobuf would write. It is called
// within room translate.
//
// A Stencil is immutable; any number of goroutines may use it.
//
// May import: translate/internal/pb, protobuf.
package stencil

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"lateen.dev/lateen/translate/internal/pb"
)

// A hole is a mark of two characters of Unicode's private use area, the second of which is its number.
const (
	mark      = "\uf8ff"
	firstHole = '\ue000'
	// Holes is how many there may be in a message besides Each.
	Holes = 8
	each  = Holes
)

// Hole is the text that stands for text i of Values.
func Hole(i int) string { return mark + string(rune(firstHole+i)) }

// Each stands for every text of a list: the innermost element of a repeated field that it stands in is repeated.
const Each = mark + "\ue008"

// Values are what is put into the holes.
type Values struct {
	Text [Holes]string
	Each []string
}

// Free reports whether a text can stand in a message or a hole without being taken for a hole.
func Free(text string) bool { return !strings.Contains(text, mark) }

// Stencil writes messages.
type Stencil struct{ steps []step }

// step writes literal bytes, or a field that has holes: its tag, and either a text or what is nested.
type step struct {
	literal []byte
	field   protowire.Number
	text    []part
	nested  []step
	// optional says that the field is left out when it is empty.
	optional bool
	// repeated says that it is written for each text of the list.
	repeated bool
}

// part is a hole or, if that is negative, a literal text.
type part struct {
	hole    int
	literal string
}

// New makes a Stencil of the message; nil if a hole stands where none can be.
func New(m proto.Message) *Stencil {
	steps, loose, ok := compile(pb.Marshal(m), m.ProtoReflect().Descriptor())
	if !ok || loose {
		return nil
	}
	return &Stencil{steps}
}

// compile reads a message's encoding. loose says that Each stands in it outside of any repeated field.
func compile(b []byte, d protoreflect.MessageDescriptor) (out []step, loose, ok bool) {
	var packed protoreflect.MessageDescriptor // what an Any holds
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, false, false
		}
		size := protowire.ConsumeFieldValue(number, kind, b[n:])
		if size < 0 {
			return nil, false, false
		}
		field := b[:n+size]
		b = b[n+size:]
		if kind != protowire.BytesType {
			out = literal(out, field)
			continue
		}
		value, _ := protowire.ConsumeBytes(field[n:])
		if d.FullName() == "google.protobuf.Any" && number == 1 {
			packed = typeOf(string(value))
		}
		if !bytes.Contains(value, []byte(mark)) {
			out = literal(out, field)
			continue
		}
		s, looseHere, ok := compileField(d.Fields().ByNumber(number), packed, value)
		if !ok {
			return nil, false, false
		}
		loose = loose || looseHere
		out = append(out, s)
	}
	return out, loose, true
}

func typeOf(url string) protoreflect.MessageDescriptor {
	t, err := protoregistry.GlobalTypes.FindMessageByURL(url)
	if err != nil {
		return nil
	}
	return t.Descriptor()
}

func literal(out []step, field []byte) []step {
	if n := len(out); n > 0 && out[n-1].literal != nil {
		out[n-1].literal = append(out[n-1].literal, field...)
		return out
	}
	return append(out, step{literal: bytes.Clone(field)})
}

func compileField(f protoreflect.FieldDescriptor, packed protoreflect.MessageDescriptor, value []byte) (s step, loose, ok bool) {
	if f == nil {
		return step{}, false, false
	}
	s.field = f.Number()
	s.optional = !f.HasPresence() && !f.IsList() && !f.ContainingMessage().IsMapEntry()
	switch f.Kind() {
	case protoreflect.StringKind:
		s.text, loose, ok = parts(string(value))
	case protoreflect.MessageKind:
		s.nested, loose, ok = compile(value, f.Message())
		s.optional = false
	case protoreflect.BytesKind:
		if packed == nil {
			return step{}, false, false
		}
		s.nested, loose, ok = compile(value, packed)
	}
	if loose && f.IsList() {
		s.repeated, loose = true, false
	}
	return s, loose, ok
}

// parts cuts a text at its holes.
func parts(text string) (out []part, loose, ok bool) {
	for text != "" {
		before, after, found := strings.Cut(text, mark)
		if before != "" {
			out = append(out, part{-1, before})
		}
		if !found {
			break
		}
		r, n := utf8.DecodeRuneInString(after)
		hole := int(r - firstHole)
		if hole < 0 || hole > each {
			return nil, false, false
		}
		loose = loose || hole == each
		out = append(out, part{hole: hole})
		text = after[n:]
	}
	return out, loose, true
}

// Append appends the message's encoding with the values in its holes.
func (s *Stencil) Append(b []byte, v *Values) []byte { return write(b, s.steps, v, "") }

func write(b []byte, steps []step, v *Values, one string) []byte {
	for i := range steps {
		s := &steps[i]
		switch {
		case s.literal != nil:
			b = append(b, s.literal...)
		case s.repeated:
			for _, one := range v.Each {
				b = s.write(b, v, one)
			}
		default:
			b = s.write(b, v, one)
		}
	}
	return b
}

func (s *step) write(b []byte, v *Values, one string) []byte {
	before := len(b)
	b, at := pb.Open(b, s.field)
	for _, p := range s.text {
		switch p.hole {
		case -1:
			b = append(b, p.literal...)
		case each:
			b = append(b, one...)
		default:
			b = append(b, v.Text[p.hole]...)
		}
	}
	b = write(b, s.nested, v, one)
	if s.optional && len(b) == at {
		return b[:before]
	}
	return pb.Shut(b, at)
}
