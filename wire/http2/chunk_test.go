package http2

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestChunkQueue pushes and takes random amounts and expects the bytes in order.
func TestChunkQueue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var q chunkQueue
	var want, got []byte
	next := byte(0)
	for range 2000 {
		p := make([]byte, random.IntN(1+random.IntN(3*chunkBytes)))
		for i := range p {
			p[i] = next
			next++
		}
		q.push(p)
		want = append(want, p...)
		for q.size > 0 && random.IntN(3) > 0 {
			head := q.head.bytes()
			if n := 1 + random.IntN(len(head)); n < len(head) {
				got = append(got, head[:n]...)
				q.skip(n)
				continue
			}
			got = append(got, head...)
			k := q.pop()
			k.from -= frameHeaderLen // where the header goes must be in front of it
			k.give()
		}
		if q.size != len(want)-len(got) {
			t.Fatalf("%d bytes wait, the queue says %d", len(want)-len(got), q.size)
		}
	}
	for q.size > 0 {
		got = append(got, q.head.bytes()...)
		q.skip(len(q.head.bytes()))
	}
	if !bytes.Equal(got, want) || q.head != nil || q.tail != nil {
		t.Errorf("%d of %d bytes came out, or others", len(got), len(want))
	}
}

// TestPiecesKeepWhatIsLeft cuts a list of pieces, some of which are chunks, at every point.
func TestPiecesKeepWhatIsLeft(t *testing.T) {
	var all []byte
	build := func() *pieces {
		g := &pieces{}
		all = all[:0]
		for i, n := range []int{9, chunkBytes, 40, 5000, 1, 100} {
			p := bytes.Repeat([]byte{byte('a' + i)}, n)
			all = append(all, p...)
			if n >= minChunk {
				k := takeChunk(n)
				k.fill(p)
				g.add(k.bytes(), k)
			} else {
				g.add(p, nil)
			}
		}
		return g
	}
	build()
	for n := 0; n <= len(all); n += 7 {
		g, rest := build(), pieces{}
		v := advance(append([][]byte(nil), g.list...), n)
		if got := bytes.Join(v, nil); !bytes.Equal(got, all[n:]) {
			t.Fatalf("after %d bytes: %d are left to write, want %d", n, len(got), len(all)-n)
		}
		g.moveRest(&rest, n)
		rest.keep([]byte("end"))
		if got := bytes.Join(rest.list, nil); !bytes.Equal(got, append(all[n:len(all):len(all)], "end"...)) {
			t.Fatalf("after %d bytes: %d are left, want %d", n, len(got), len(all)-n+3)
		}
		if len(g.list) != 0 {
			t.Fatalf("%d pieces stayed", len(g.list))
		}
		rest.drop()
	}
}
