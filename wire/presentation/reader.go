// Package presentation takes apart what is written in TLS's presentation language (RFC 8446 section 3): numbers, and vectors
// that have their length before them.
//
// wire/sniff and wire/tlsconn read ClientHellos with it. It is bounded by the bytes that it is given, copies nothing and
// allocates nothing. A Reader belongs to one goroutine at a time; the package starts none.
//
// May import: nothing of ours.
package presentation

// Reader reads from the front of some bytes. After something that isn't all there it is bad, and everything that is read
// from it later is empty.
type Reader struct {
	b   []byte
	bad bool
}

// Of returns a Reader of b. What is read from it are views into b.
func Of(b []byte) Reader { return Reader{b: b} }

// Bad says that something was not all there.
func (r *Reader) Bad() bool { return r.bad }

// More says that there is something left to read.
func (r *Reader) More() bool { return len(r.b) > 0 }

// Take reads n bytes.
func (r *Reader) Take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *Reader) number(size int) int {
	n := 0
	for _, c := range r.Take(size) {
		n = n<<8 | int(c)
	}
	return n
}

// Uint8 reads a number of one byte.
func (r *Reader) Uint8() int { return r.number(1) }

// Uint16 reads a number of two bytes.
func (r *Reader) Uint16() int { return r.number(2) }

// Vector8 reads a vector whose length is a number of one byte.
func (r *Reader) Vector8() []byte { return r.Take(r.number(1)) }

// Vector16 reads a vector whose length is a number of two bytes.
func (r *Reader) Vector16() []byte { return r.Take(r.number(2)) }

// Vector24 reads a vector whose length is a number of three bytes.
func (r *Reader) Vector24() []byte { return r.Take(r.number(3)) }

// Within reads a vector whose length is a number of two bytes, for reading what is in it. It is bad if r is.
func (r *Reader) Within() Reader {
	b := r.Vector16()
	return Reader{b: b, bad: r.bad}
}
