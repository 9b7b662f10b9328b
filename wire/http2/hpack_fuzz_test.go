package http2

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/net/http2/hpack"

	"lateen.dev/lateen/wire/header"
)

// fuzzBlocks cuts a fuzzer's input into header blocks, each after its length.
func fuzzBlocks(data []byte) (blocks [][]byte) {
	for len(data) >= 2 && len(blocks) < 64 {
		n := min(int(binary.BigEndian.Uint16(data)), len(data)-2)
		blocks = append(blocks, data[2:2+n])
		data = data[2+n:]
	}
	return blocks
}

// FuzzHeaderBlocks decodes arbitrary blocks one after the other, as they would come on a connection. What we make of them
// is within the limits, is what another's decoder makes of them, and comes out of our encoder the same.
func FuzzHeaderBlocks(f *testing.F) {
	f.Add([]byte("\x00\x01\x82\x00\x03\x86\x84\x41"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := NewServer(nil, Config{MaxHeaderBytes: 2048, MaxHeaderFields: 16}, nil)
		r := &c.read
		var theirs []hpack.HeaderField
		their := hpack.NewDecoder(tableSize, func(f hpack.HeaderField) { theirs = append(theirs, f) })
		their.SetMaxStringLength(2048)
		again := &recoder{enc: newEncoder()}
		again.dec = hpack.NewDecoder(tableSize, func(f hpack.HeaderField) { again.got = append(again.got, f) })
		for _, block := range fuzzBlocks(data) {
			r.head, r.headErr, theirs = new(Head), nil, theirs[:0]
			r.head.Reset()
			err := r.decode(block)
			_, theirErr := their.Write(block)
			if theirErr == nil {
				theirErr = their.Close()
			}
			if (err == nil) != (theirErr == nil) {
				t.Fatalf("%v, theirs %v", err, theirErr)
			}
			checkLimits(t, c, r.head)
			if err != nil {
				return // the connection's end
			}
			if r.headErr == nil {
				sameFields(t, r.head, theirs)
				again.check(t, r.head)
			}
		}
	})
}

func checkLimits(t *testing.T, c *Conn, h *Head) {
	size := 0
	for i := range h.Fields {
		size += len(h.Fields[i].Name) + len(h.Fields[i].Value) + fieldOverhead
	}
	if len(h.Fields) > c.cfg.MaxHeaderFields || size > int(c.cfg.MaxHeaderBytes) {
		t.Fatalf("%d fields of %d bytes; the limits are %d and %d", len(h.Fields), size, c.cfg.MaxHeaderFields, c.cfg.MaxHeaderBytes)
	}
}

// sameFields compares the regular fields, which nothing was dropped of, with another's.
func sameFields(t *testing.T, h *Head, theirs []hpack.HeaderField) {
	at := 0
	for _, f := range theirs {
		if f.IsPseudo() {
			continue
		}
		if at >= len(h.Fields) || string(h.Fields[at].Name) != f.Name || string(h.Fields[at].Value) != f.Value {
			t.Fatalf("field %d of %+v is not %+v", at, h.Fields, f)
		}
		if id := header.Classify([]byte(f.Name)); h.Fields[at].ID != id {
			t.Fatalf("%q was taken for %v", f.Name, h.Fields[at].ID)
		}
		at++
	}
	if at != len(h.Fields) {
		t.Fatalf("%d fields, theirs are %d", len(h.Fields), at)
	}
}

// recoder sends what was decoded on to another's decoder.
type recoder struct {
	enc *encoder
	dec *hpack.Decoder
	got []hpack.HeaderField
}

func (r *recoder) check(t *testing.T, h *Head) {
	r.got = r.got[:0]
	c := &Conn{enc: r.enc}
	r.enc.begin()
	for i := range h.Fields {
		c.encodeField(&h.Fields[i])
	}
	if _, err := r.dec.Write(r.enc.block); err != nil {
		t.Fatalf("our own block: %v", err)
	}
	if err := r.dec.Close(); err != nil {
		t.Fatalf("our own block: %v", err)
	}
	sameFields(t, h, r.got)
}

// FuzzEncoder sends arbitrary fields, while the peer changes the size of its table, to another's decoder: each comes
// out as it went in, and the table stays within its size.
func FuzzEncoder(f *testing.F) {
	f.Add([]byte("\x00\x10\x01a\x01b\x01a\x01b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e := newEncoder()
		var got []hpack.HeaderField
		d := hpack.NewDecoder(tableSize, func(f hpack.HeaderField) { got = append(got, f) })
		next := func(n int) []byte {
			p := data[:min(n, len(data))]
			data = data[len(p):]
			return p
		}
		for len(data) > 0 {
			got = got[:0]
			var want []hpack.HeaderField
			e.begin()
			for fields := int(data[0]) % 16; fields >= 0 && len(data) > 2; fields-- {
				op := next(3)
				name, value := next(int(op[1])%32), next(int(op[2]))
				if bytes.IndexByte(name, 0) >= 0 { // no name that we take has one
					continue
				}
				e.field(name, value, op[0]&1 != 0)
				want = append(want, hpack.HeaderField{Name: string(name), Value: string(value), Sensitive: op[0]&1 != 0})
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
			if op := next(3); len(op) == 3 && op[0]&1 != 0 {
				e.setMax(uint32(binary.BigEndian.Uint16(op[1:])) % (tableSize + 1))
			}
			checkTable(t, e)
		}
	})
}

func checkTable(t *testing.T, e *encoder) {
	size := 0
	for _, entry := range e.entries {
		size += len(entry.key) - 1 + entryOverhead
	}
	if size != int(e.size) || e.size > e.max {
		t.Fatalf("a table of %d bytes, noted as %d; at most %d are allowed", size, e.size, e.max)
	}
}
