package http2

import "golang.org/x/net/http2/hpack"

// encoder compresses header sections (RFC 7541) with a dynamic table that is
// found with one look for each field that has been sent before. It belongs to
// the connection's lock.
type encoder struct {
	block []byte // the section that is being made

	// The dynamic table, oldest first. added numbers its entries from 1: the
	// newest has the index of the first after the static table.
	entries []tableEntry
	added   uint64
	size    uint32
	max     uint32

	// known gives the place of a field, by its key: up to staticSize the static
	// table's index, beyond it an entry's number. names does so for names alone.
	known, names map[string]uint64
	key          []byte

	// What the peer has to be told of changes of max: the lowest since.
	lowest  uint32
	changed bool
}

// tableEntry is one of the dynamic table's.
type tableEntry struct {
	key  string // name, NUL, value
	name int    // length of the name
}

const (
	// staticSize is the number of entries of the static table.
	staticSize = 61
	// entryOverhead is what RFC 7541 section 4.1 adds to an entry's size.
	entryOverhead = 32
)

func newEncoder() *encoder {
	return &encoder{max: tableSize, known: map[string]uint64{}, names: map[string]uint64{}}
}

// begin begins a section.
func (e *encoder) begin() {
	e.block = e.block[:0]
	if !e.changed {
		return
	}
	e.changed = false
	if e.lowest < e.max {
		e.block = appendInteger(e.block, 0x20, 5, uint64(e.lowest))
	}
	e.block = appendInteger(e.block, 0x20, 5, uint64(e.max))
}

// setMax bounds the dynamic table, as the peer asks.
func (e *encoder) setMax(n uint32) {
	if !e.changed || n < e.lowest {
		e.lowest = n
	}
	e.changed, e.max = true, n
	e.shrink(0)
}

// field adds a field to the section. A passing one is not put into the table,
// nor may others who compress it again.
func (e *encoder) field(name, value []byte, passing bool) {
	if passing {
		e.name(0x10, 4, name)
		// Not worth Huffman's work: mostly short, and random.
		e.block = append(appendInteger(e.block, 0, 7, uint64(len(value))), value...)
		return
	}
	e.key = append(append(append(e.key[:0], name...), 0), value...)
	if at, ok := e.known[string(e.key)]; ok {
		e.block = appendInteger(e.block, 0x80, 7, e.index(at))
		return
	}
	if at, ok := staticFields[string(e.key)]; ok {
		e.known[string(e.key)] = at
		e.block = appendInteger(e.block, 0x80, 7, at)
		return
	}
	size := uint32(len(name) + len(value) + entryOverhead)
	if size > e.max/2 {
		e.name(0, 4, name)
		e.block = appendHuffman(e.block, value)
		return
	}
	e.name(0x40, 6, name)
	e.block = appendHuffman(e.block, value)
	e.insert(len(name), size)
}

// name begins a literal field.
func (e *encoder) name(pattern byte, bits uint, name []byte) {
	at := e.nameIndex(name)
	e.block = appendInteger(e.block, pattern, bits, at)
	if at == 0 {
		e.block = appendHuffman(e.block, name)
	}
}

// nameIndex is the index of an entry with the name, or 0.
func (e *encoder) nameIndex(name []byte) uint64 {
	if at, ok := staticNames[string(name)]; ok {
		return at
	}
	if at, ok := e.names[string(name)]; ok {
		return e.index(staticSize + at)
	}
	return 0
}

// index turns a place into an index as of now.
func (e *encoder) index(at uint64) uint64 {
	if at <= staticSize {
		return at
	}
	return staticSize + 1 + e.added - (at - staticSize)
}

// insert puts the field in key into the table.
func (e *encoder) insert(name int, size uint32) {
	e.shrink(size)
	t := tableEntry{key: string(e.key), name: name}
	e.added++
	e.entries = append(e.entries, t)
	e.size += size
	e.known[t.key] = staticSize + e.added
	e.names[t.key[:name]] = e.added
}

// shrink makes room for size bytes more.
func (e *encoder) shrink(size uint32) {
	gone := 0
	for e.size+size > e.max && gone < len(e.entries) {
		t := &e.entries[gone]
		number := e.added - uint64(len(e.entries)-gone-1)
		if e.known[t.key] == staticSize+number {
			delete(e.known, t.key)
		}
		if e.names[t.key[:t.name]] == number {
			delete(e.names, t.key[:t.name])
		}
		e.size -= uint32(len(t.key) - 1 + entryOverhead)
		gone++
	}
	if gone > 0 {
		n := copy(e.entries, e.entries[gone:])
		clear(e.entries[n:])
		e.entries = e.entries[:n]
	}
}

// appendInteger appends n behind the bits of a representation (RFC 7541 section
// 5.1).
func appendInteger(dst []byte, pattern byte, bits uint, n uint64) []byte {
	limit := uint64(1)<<bits - 1
	if n < limit {
		return append(dst, pattern|byte(n))
	}
	dst = append(dst, pattern|byte(limit))
	for n -= limit; n >= 0x80; n >>= 7 {
		dst = append(dst, 0x80|byte(n))
	}
	return append(dst, byte(n))
}

// appendHuffman appends a string literal in its shorter form.
func appendHuffman(dst, s []byte) []byte {
	if n := hpack.HuffmanEncodeLength(view(s)); n < uint64(len(s)) {
		return hpack.AppendHuffmanString(appendInteger(dst, 0x80, 7, n), view(s))
	}
	return append(appendInteger(dst, 0, 7, uint64(len(s))), s...)
}

// staticTable is that of RFC 7541 appendix A, from index 1.
var staticTable = [staticSize][2]string{
	{":authority", ""}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"},
	{":scheme", "http"}, {":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"},
	{":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"}, {"accept-charset", ""},
	{"accept-encoding", "gzip, deflate"}, {"accept-language", ""}, {"accept-ranges", ""}, {"accept", ""},
	{"access-control-allow-origin", ""}, {"age", ""}, {"allow", ""}, {"authorization", ""}, {"cache-control", ""},
	{"content-disposition", ""}, {"content-encoding", ""}, {"content-language", ""}, {"content-length", ""},
	{"content-location", ""}, {"content-range", ""}, {"content-type", ""}, {"cookie", ""}, {"date", ""}, {"etag", ""},
	{"expect", ""}, {"expires", ""}, {"from", ""}, {"host", ""}, {"if-match", ""}, {"if-modified-since", ""},
	{"if-none-match", ""}, {"if-range", ""}, {"if-unmodified-since", ""}, {"last-modified", ""}, {"link", ""},
	{"location", ""}, {"max-forwards", ""}, {"proxy-authenticate", ""}, {"proxy-authorization", ""}, {"range", ""},
	{"referer", ""}, {"refresh", ""}, {"retry-after", ""}, {"server", ""}, {"set-cookie", ""},
	{"strict-transport-security", ""}, {"transfer-encoding", ""}, {"user-agent", ""}, {"vary", ""}, {"via", ""},
	{"www-authenticate", ""},
}

var staticFields, staticNames = func() (fields, names map[string]uint64) {
	fields, names = map[string]uint64{}, map[string]uint64{}
	for i, f := range staticTable {
		at := uint64(i + 1)
		fields[f[0]+"\x00"+f[1]] = at
		if _, ok := names[f[0]]; !ok {
			names[f[0]] = at
		}
	}
	return fields, names
}()
