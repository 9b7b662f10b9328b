package config

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// fieldNode is a field of a document that is being decoded: names and positions
// without values.
type fieldNode struct {
	key          string // name in a mapping; "" in a sequence
	line, column int32
	children     []fieldNode
}

// skeleton holds a tree of fieldNodes packed tightly, because objects are kept
// for long and have a hundred fields each. Each field is written as the number
// of its key (0 for none; a number not seen before is followed by the key's
// length and bytes), its line less its parent's, its column, its number of
// children, and the children. Lines count from the object's first, so that an
// object that moves in its file keeps its skeleton. Empty means that nothing is
// known.
type skeleton string

// pack makes the skeleton of a tree in an object that begins at a line.
func (n *fieldNode) pack(line int) skeleton {
	p := packer{keys: map[string]uint64{"": 0}, out: make([]byte, 0, 512)}
	p.node(n, int32(line))
	return skeleton(p.out)
}

type packer struct {
	keys map[string]uint64
	out  []byte
}

func (p *packer) node(n *fieldNode, parent int32) {
	number, known := p.keys[n.key]
	if !known {
		number = uint64(len(p.keys))
		p.keys[n.key] = number
	}
	p.out = binary.AppendUvarint(p.out, number)
	if !known {
		p.out = binary.AppendUvarint(p.out, uint64(len(n.key)))
		p.out = append(p.out, n.key...)
	}
	p.out = binary.AppendVarint(p.out, int64(n.line-parent))
	p.out = binary.AppendUvarint(p.out, uint64(n.column))
	p.out = binary.AppendUvarint(p.out, uint64(len(n.children)))
	for i := range n.children {
		p.node(&n.children[i], n.line)
	}
}

// at finds the longest part of the path that the tree of an object at a line
// has. The position is 0:0 when not even the path's first step is there.
func (s skeleton) at(first int, path string) (line, column int) {
	if s == "" {
		return 0, 0
	}
	u := unpacker{rest: string(s), keys: []string{""}}
	node := u.header(first)
	for _, step := range SplitPath(path) {
		next, found := u.child(node, step)
		if !found {
			break
		}
		node, line, column = next, next.line, next.column
	}
	return line, column
}

// unpacker reads a skeleton from its beginning. What it reads was packed by
// this process, so there is nothing to be wary of.
type unpacker struct {
	rest string
	keys []string
}

type fieldHeader struct {
	key          string
	line, column int
	children     int
}

func (u *unpacker) uvarint() uint64 {
	var v uint64
	for shift, i := 0, 0; i < len(u.rest); shift, i = shift+7, i+1 {
		b := u.rest[i]
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			u.rest = u.rest[i+1:]
			return v
		}
	}
	u.rest = ""
	return 0
}

func (u *unpacker) header(parent int) fieldHeader {
	number := int(u.uvarint())
	if number == len(u.keys) {
		size := int(u.uvarint())
		u.keys = append(u.keys, u.rest[:size])
		u.rest = u.rest[size:]
	}
	zigzag := u.uvarint()
	line := parent + int(int64(zigzag>>1)^-int64(zigzag&1))
	return fieldHeader{key: u.keys[number], line: line, column: int(u.uvarint()), children: int(u.uvarint())}
}

// child reads on to the child of n that the step names; n's header has just been read.
func (u *unpacker) child(n fieldHeader, step string) (fieldHeader, bool) {
	index, name := -1, step
	if inside, ok := strings.CutPrefix(step, "["); ok {
		name = strings.TrimSuffix(inside, "]")
		if i, err := strconv.Atoi(name); err == nil {
			index = i
		}
	}
	for i := range n.children {
		c := u.header(n.line)
		if c.key == "" && i == index || c.key == name || camel(c.key) == name {
			return c, true
		}
		u.skip(c)
	}
	return fieldHeader{}, false
}

func (u *unpacker) skip(n fieldHeader) {
	for range n.children {
		u.skip(u.header(n.line))
	}
}
