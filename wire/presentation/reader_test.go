package presentation

import (
	"bytes"
	"testing"
)

func TestReader(t *testing.T) {
	r := Of([]byte{7, 1, 2, 2, 'a', 'b', 0, 1, 'c', 0, 0, 2, 'd', 'e', 0, 3, 1, 'f', 9})
	if got := r.Uint8(); got != 7 {
		t.Errorf("Uint8: %d", got)
	}
	if got := r.Uint16(); got != 0x102 {
		t.Errorf("Uint16: %#x", got)
	}
	if got := r.Vector8(); string(got) != "ab" {
		t.Errorf("Vector8: %q", got)
	}
	if got := r.Vector16(); string(got) != "c" {
		t.Errorf("Vector16: %q", got)
	}
	if got := r.Vector24(); string(got) != "de" {
		t.Errorf("Vector24: %q", got)
	}
	inner := r.Within()
	if got := inner.Vector8(); string(got) != "f" || !inner.More() || inner.Uint8() != 9 || inner.More() || inner.Bad() {
		t.Errorf("Within: %q, more %v, bad %v", got, inner.More(), inner.Bad())
	}
	if r.More() || r.Bad() {
		t.Error("it is read to its end, and all was there")
	}
}

func TestReaderStaysBad(t *testing.T) {
	r := Of([]byte{0, 3, 1, 2})
	inner := r.Within()
	if !r.Bad() || !inner.Bad() || r.More() || inner.More() {
		t.Error("a vector that is cut off must be bad, and so what is within it")
	}
	if r.Take(0) != nil || r.Uint8() != 0 || !r.Bad() {
		t.Error("a bad reader has nothing to read")
	}
}

// FuzzReader has whatever comes read in the ways that there are: what is read is what was there, in its order.
func FuzzReader(f *testing.F) {
	f.Add([]byte{1, 0, 2, 1, 2, 3}, []byte{0, 1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, b, how []byte) {
		r := Of(bytes.Clone(b))
		for _, h := range how {
			left := r.b
			var got []byte
			switch h % 6 {
			case 0:
				r.Uint8()
			case 1:
				r.Uint16()
			case 2:
				got = r.Vector8()
			case 3:
				got = r.Vector16()
			case 4:
				got = r.Vector24()
			case 5:
				inner := r.Within()
				got = inner.b
			}
			if r.bad && (r.More() || got != nil) {
				t.Fatal("a bad reader has something left")
			}
			if !r.bad && !bytes.HasSuffix(left[:len(left)-len(r.b)], got) {
				t.Fatal("what was read is not what was there")
			}
		}
	})
}
