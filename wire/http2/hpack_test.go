package http2

import (
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// TestEncoderAgainstDecoder sends many sections, with tables of changing sizes, to another's decoder.
func TestEncoderAgainstDecoder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	e := newEncoder()
	var got []hpack.HeaderField
	d := hpack.NewDecoder(tableSize, func(f hpack.HeaderField) { got = append(got, f) })
	names := []string{":method", ":path", "content-type", "x-a", "x-b", "x-very-long-name-that-takes-room", "accept-encoding", "cookie"}
	for range 5000 {
		if random.IntN(50) == 0 {
			e.setMax(uint32(random.IntN(3)) * tableSize / 2)
		}
		if random.IntN(100) == 0 {
			e.setMax(0)
			e.setMax(tableSize)
		}
		got = got[:0]
		var want []hpack.HeaderField
		e.begin()
		for range random.IntN(12) {
			f := hpack.HeaderField{Name: names[random.IntN(len(names))], Value: strings.Repeat(string(rune('a'+random.IntN(20))), random.IntN(300))}
			if random.IntN(10) == 0 {
				f = hpack.HeaderField{Name: ":method", Value: "POST"}
			}
			passing := random.IntN(4) == 0
			e.field([]byte(f.Name), []byte(f.Value), passing)
			f.Sensitive = passing
			want = append(want, f)
		}
		if _, err := d.Write(e.block); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%d fields, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%+v, want %+v", got[i], want[i])
			}
		}
	}
}

// TestEncoderIndexesWhatRecurs: a section that comes again is one byte a field, and makes no garbage.
func TestEncoderIndexesWhatRecurs(t *testing.T) {
	e := newEncoder()
	section := func() {
		e.begin()
		e.field([]byte(":method"), []byte("GET"), false)
		e.field([]byte("x-version"), []byte("v1"), false)
		e.field([]byte("content-type"), []byte("application/grpc"), false)
	}
	section()
	if allocs := testing.AllocsPerRun(100, section); allocs > 0 || len(e.block) != 3 {
		t.Errorf("%d bytes, %v allocations", len(e.block), allocs)
	}
}
