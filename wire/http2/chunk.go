package http2

import "sync"

// A chunk holds bytes that can't go out before the buffer that they were read into is used again: body bytes that the
// peer's windows or its socket don't let through. It holds a DATA frame at most, is written from where it stands, and
// serves again, so that a peer that reads slowly costs one copy and no new memory.
type chunk struct {
	next *chunk
	b    []byte
	// b[from:to] is what it holds. There is room for a frame's header in front of it.
	from, to int
}

const (
	// chunkBytes is how much a chunk holds, and smallChunkBytes how much one that was made for little.
	chunkBytes      = minMaxFrameSize
	smallChunkBytes = 2 << 10
	// minChunk is how long a body's part must be to get a chunk in front of a socket; shorter ones are gathered in the
	// connection's buffer.
	minChunk = 4 << 10
)

var chunkPool = sync.Pool{New: func() any { return &chunk{b: make([]byte, frameHeaderLen+chunkBytes)} }}

// takeChunk returns an empty chunk for n bytes or the first of them.
func takeChunk(n int) *chunk {
	if n <= smallChunkBytes/2 {
		return &chunk{b: make([]byte, frameHeaderLen+smallChunkBytes), from: frameHeaderLen, to: frameHeaderLen}
	}
	k, ok := chunkPool.Get().(*chunk)
	if !ok {
		panic("the pool of chunks holds something else")
	}
	k.next, k.from, k.to = nil, frameHeaderLen, frameHeaderLen
	return k
}

func (k *chunk) give() {
	if len(k.b) == frameHeaderLen+chunkBytes {
		chunkPool.Put(k)
	}
}

// fill appends as much of p as there is room for.
func (k *chunk) fill(p []byte) int {
	n := copy(k.b[k.to:], p)
	k.to += n
	return n
}

func (k *chunk) bytes() []byte { return k.b[k.from:k.to] }

// chunkQueue is bytes in order. Its zero value is empty.
type chunkQueue struct {
	head, tail *chunk
	size       int
}

func (q *chunkQueue) push(p []byte) {
	q.size += len(p)
	for len(p) > 0 {
		if q.tail == nil || q.tail.to == len(q.tail.b) {
			k := takeChunk(len(p))
			if q.tail == nil {
				q.head = k
			} else {
				q.tail.next = k
			}
			q.tail = k
		}
		p = p[q.tail.fill(p):]
	}
}

// pop takes the first chunk off.
func (q *chunkQueue) pop() *chunk {
	k := q.head
	if q.head = k.next; q.head == nil {
		q.tail = nil
	}
	k.next = nil
	q.size -= k.to - k.from
	return k
}

// skip takes n bytes off, which the first chunk has.
func (q *chunkQueue) skip(n int) {
	k := q.head
	k.from += n
	q.size -= n
	if k.from == k.to {
		q.pop().give()
	}
}

func (q *chunkQueue) clear() {
	for q.head != nil {
		q.pop().give()
	}
}
