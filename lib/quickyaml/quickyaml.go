// Package quickyaml reads the YAML that nearly all configuration is written in, in a tenth of the time and memory of the YAML
// library, which is left what is rare.
//
// config reads objects with it, and the proxy its bootstrap. A Parser is for one goroutine; the package starts none.
//
// May import: nothing of ours, and of the YAML library the type of its nodes.
package quickyaml

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// Parser reads the YAML that nearly all configuration is written in: block
// mappings and lists, flow collections that end on their line, and scalars of
// one line, all in ASCII. It makes the same nodes as the YAML library, in a
// tenth of the time and memory. Whatever else a document has (anchors, tags,
// block scalars, escapes, empty values, tabs, errors) it doesn't try to read:
// then the library has to. A fuzz test compares the two.
//
// A Parser is for one goroutine. Its nodes are good until its next parse;
// their strings are parts of the text.
type Parser struct {
	text string

	// The present line: its number from 1, where it begins, the next one begins,
	// and where its content begins and ends without spaces around it.
	line, start, next int
	pos, end          int
	// indent is the column at which the present block's content stands, from 0;
	// -1 after the last line.
	indent int
	depth  int

	stack  []*yaml.Node // children of the collections that aren't complete yet
	chunks [][]yaml.Node
	used   int // nodes of chunks that this document has
	slab   []*yaml.Node
}

// Sizes that suit an object of a few hundred nodes.
const (
	quickChunk = 128
	quickSlab  = 512
	quickDepth = 64
	// quickKey is the longest key; the library takes 1024.
	quickKey = 256
)

// Parse returns the mapping of a text that is one document, without marker lines, or nil if it isn't one that can be read
// here.
func (q *Parser) Parse(text string) *yaml.Node {
	for i := range len(text) {
		if c := text[i]; (c < ' ' || c > '~') && c != '\n' {
			return nil
		}
	}
	*q = Parser{text: text, stack: q.stack[:0], chunks: q.chunks, slab: q.slab[:0]}
	q.advance()
	if q.indent < 0 || q.dash() {
		return nil
	}
	root := q.mapping(q.indent)
	if q.indent >= 0 {
		return nil
	}
	return root
}

// advance goes to the next line that has content.
func (q *Parser) advance() {
	for q.next < len(q.text) {
		q.line++
		q.start = q.next
		end := len(q.text)
		if i := strings.IndexByte(q.text[q.start:], '\n'); i >= 0 {
			end = q.start + i
		}
		q.next = end + 1
		q.pos = q.start
		for q.pos < end && q.text[q.pos] == ' ' {
			q.pos++
		}
		if q.pos == end || q.text[q.pos] == '#' {
			continue
		}
		for q.text[end-1] == ' ' {
			end--
		}
		q.end, q.indent = end, q.pos-q.start
		return
	}
	q.indent = -1
}

// dash says whether an item of a list begins here.
func (q *Parser) dash() bool {
	return q.text[q.pos] == '-' && (q.pos+1 == q.end || q.text[q.pos+1] == ' ')
}

func (q *Parser) block() *yaml.Node {
	if !q.dash() {
		return q.mapping(q.indent)
	}
	indent := q.indent
	n := q.sequence(indent)
	if q.indent == indent {
		return nil
	}
	return n
}

// mapping reads a block mapping whose keys stand at indent, the first one here.
func (q *Parser) mapping(indent int) *yaml.Node {
	if q.depth++; q.depth > quickDepth {
		return nil
	}
	n := q.node(yaml.MappingNode, "!!map", q.pos)
	base := len(q.stack)
	for q.indent == indent {
		if q.dash() {
			return nil
		}
		key := q.key()
		if key == nil {
			return nil
		}
		q.stack = append(q.stack, key)
		value := q.blockValue(indent)
		if value == nil {
			return nil
		}
		q.stack = append(q.stack, value)
	}
	q.depth--
	return q.complete(n, base, indent)
}

// blockValue reads what stands after "key:", on the line or below it.
func (q *Parser) blockValue(indent int) *yaml.Node {
	if q.pos < q.end && q.text[q.pos] != '#' {
		return q.lineValue()
	}
	q.advance()
	switch {
	case q.indent > indent:
		return q.block()
	case q.indent == indent && q.dash():
		return q.sequence(indent)
	}
	return nil
}

// lineValue reads a value that is all of the rest of the line.
func (q *Parser) lineValue() *yaml.Node {
	n := q.inline(false)
	if n == nil {
		return nil
	}
	if rest := q.text[q.pos:q.end]; rest != "" {
		if comment := strings.TrimLeft(rest, " "); comment[0] != '#' || len(comment) == len(rest) {
			return nil
		}
	}
	q.advance()
	return n
}

// sequence reads a block list whose dashes stand at indent, the first one here.
func (q *Parser) sequence(indent int) *yaml.Node {
	if q.depth++; q.depth > quickDepth {
		return nil
	}
	n := q.node(yaml.SequenceNode, "!!seq", q.pos)
	base := len(q.stack)
	for q.indent == indent && q.dash() {
		q.pos++
		q.blanks()
		if q.pos >= q.end || q.text[q.pos] == '#' || q.dash() {
			return nil
		}
		var item *yaml.Node
		if _, _, ok := q.scanKey(); ok {
			q.indent = q.pos - q.start
			item = q.mapping(q.indent)
		} else {
			item = q.lineValue()
		}
		if item == nil {
			return nil
		}
		q.stack = append(q.stack, item)
	}
	q.depth--
	return q.complete(n, base, indent)
}

// complete takes n's children from the stack. What follows must stand no deeper than n.
func (q *Parser) complete(n *yaml.Node, base, indent int) *yaml.Node {
	if q.indent > indent {
		return nil
	}
	children := q.stack[base:]
	if cap(q.slab)-len(q.slab) < len(children) {
		q.slab = make([]*yaml.Node, 0, max(quickSlab, len(children)))
	}
	from := len(q.slab)
	q.slab = append(q.slab, children...)
	n.Content = q.slab[from:len(q.slab):len(q.slab)]
	q.stack = q.stack[:base]
	return n
}

func (q *Parser) blanks() {
	for q.pos < q.end && q.text[q.pos] == ' ' {
		q.pos++
	}
}

// key reads a key of a block mapping and its colon.
func (q *Parser) key() *yaml.Node {
	end, after, ok := q.scanKey()
	if !ok {
		return nil
	}
	var n *yaml.Node
	if c := q.text[q.pos]; c == '"' || c == '\'' {
		n = q.quoted()
	} else {
		n = q.scalar(q.pos, end)
	}
	q.pos = after
	q.blanks()
	return n
}

// scanKey looks whether a key of a block mapping begins here: where it ends, and
// where its colon does.
func (q *Parser) scanKey() (end, after int, ok bool) {
	i := q.pos
	if c := q.text[i]; c == '"' || c == '\'' {
		closing := strings.IndexByte(q.text[i+1:q.end], c)
		if closing < 0 {
			return 0, 0, false
		}
		i += closing + 2
	} else if !word(c) {
		return 0, 0, false
	}
	for i < q.end && (word(q.text[i]) || q.text[i] == '.' || q.text[i] == '/' || q.text[i] == '-') {
		i++
	}
	if i >= q.end || q.text[i] != ':' || i-q.pos > quickKey || i+1 < q.end && q.text[i+1] != ' ' {
		return 0, 0, false
	}
	if c := q.text[i-1]; (q.text[q.pos] == '"' || q.text[q.pos] == '\'') && c != q.text[q.pos] {
		return 0, 0, false
	}
	return i, i + 1, true
}

func word(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// inline reads a value that ends on its line.
func (q *Parser) inline(flow bool) *yaml.Node {
	switch q.text[q.pos] {
	case '{', '[':
		return q.flow()
	case '"', '\'':
		return q.quoted()
	}
	return q.plain(flow)
}

// quoted reads a quoted scalar without escapes.
func (q *Parser) quoted() *yaml.Node {
	quote := q.text[q.pos]
	length := strings.IndexByte(q.text[q.pos+1:q.end], quote)
	if length < 0 {
		return nil
	}
	from, to := q.pos+1, q.pos+1+length
	value := q.text[from:to]
	style := yaml.DoubleQuotedStyle
	if quote == '\'' {
		style = yaml.SingleQuotedStyle
	}
	if to+1 < q.end && q.text[to+1] == quote || strings.IndexByte(value, '\\') >= 0 {
		return nil
	}
	n := q.node(yaml.ScalarNode, "!!str", q.pos)
	n.Value, n.Style = value, style
	q.pos = to + 1
	return n
}

// plain reads a scalar without quotes. In a flow collection it ends at the
// collection's own signs.
func (q *Parser) plain(flow bool) *yaml.Node {
	from := q.pos
	switch c := q.text[from]; {
	case c == '-':
		if from+1 >= q.end || !word(q.text[from+1]) {
			return nil
		}
	case !word(c) && c != '/' && c != '.' && c != '^' && c != '$' && c != '(':
		return nil
	}
	end := q.plainEnd(flow)
	if end < 0 {
		return nil
	}
	q.pos = end
	for q.text[end-1] == ' ' {
		end--
	}
	return q.scalar(from, end)
}

// plainEnd is where the plain scalar here ends, with spaces after it; -1 if there
// is something about it that is better left to the library.
func (q *Parser) plainEnd(flow bool) int {
	for i := q.pos; i < q.end; i++ {
		switch q.text[i] {
		case ':':
			switch {
			case i+1 == q.end:
				return -1
			case q.text[i+1] == ' ' && flow:
				return i
			case q.text[i+1] == ' ', flow && strings.IndexByte(",[]{}", q.text[i+1]) >= 0:
				return -1
			}
		case '#':
			if q.text[i-1] == ' ' {
				if flow {
					return -1
				}
				return i - 1
			}
		case ',', ']', '}':
			if flow {
				return i
			}
		case '[', '{', '?':
			if flow {
				return -1
			}
		}
	}
	if flow {
		return -1
	}
	return q.end
}

// flow reads a flow mapping or list that ends on this line.
func (q *Parser) flow() *yaml.Node {
	if q.depth++; q.depth > quickDepth {
		return nil
	}
	kind, tag, closing := yaml.SequenceNode, "!!seq", byte(']')
	if q.text[q.pos] == '{' {
		kind, tag, closing = yaml.MappingNode, "!!map", '}'
	}
	n := q.node(kind, tag, q.pos)
	n.Style = yaml.FlowStyle
	base := len(q.stack)
	q.pos++
	q.blanks()
	for first := true; ; first = false {
		if q.pos >= q.end {
			return nil
		}
		if first && q.text[q.pos] == closing {
			break
		}
		if kind == yaml.MappingNode && !q.flowKey() || !q.flowItem() {
			return nil
		}
		if q.pos < q.end && q.text[q.pos] == closing {
			break
		}
		if q.pos >= q.end || q.text[q.pos] != ',' {
			return nil
		}
		q.pos++
		q.blanks()
	}
	q.pos++
	q.depth--
	return q.complete(n, base, q.indent)
}

func (q *Parser) flowKey() bool {
	if c := q.text[q.pos]; c == '{' || c == '[' {
		return false
	}
	from := q.pos
	key := q.inline(true)
	if key == nil || q.pos-from > quickKey || q.pos+1 >= q.end || q.text[q.pos] != ':' || q.text[q.pos+1] != ' ' {
		return false
	}
	q.pos++
	q.blanks()
	q.stack = append(q.stack, key)
	return q.pos < q.end
}

func (q *Parser) flowItem() bool {
	item := q.inline(true)
	if item == nil {
		return false
	}
	q.stack = append(q.stack, item)
	q.blanks()
	return true
}

func (q *Parser) node(kind yaml.Kind, tag string, pos int) *yaml.Node {
	if q.used == len(q.chunks)*quickChunk {
		q.chunks = append(q.chunks, make([]yaml.Node, quickChunk))
	}
	n := &q.chunks[q.used/quickChunk][q.used%quickChunk]
	q.used++
	*n = yaml.Node{Kind: kind, Tag: tag, Line: q.line, Column: pos - q.start + 1}
	return n
}

// scalar makes the node of a plain scalar and finds its type.
func (q *Parser) scalar(from, to int) *yaml.Node {
	n := q.node(yaml.ScalarNode, "", from)
	n.Value = q.text[from:to]
	if n.Tag = plainTag(n.Value); n.Tag == "" {
		n.Tag = n.ShortTag()
	}
	return n
}

// plainTag is the type of a plain scalar where it is quickly told, else "".
func plainTag(s string) string {
	const longest = len("false")
	switch c := s[0]; {
	case strings.IndexByte("yYnNtTfFoO", c) >= 0:
		if len(s) > longest {
			return "!!str"
		}
	case word(c) && c > '9', c == '/', c == '^', c == '$', c == '(':
		return "!!str"
	case '1' <= c && c <= '9':
		dots := 0
		for i := range len(s) {
			if s[i] == '.' {
				dots++
			} else if s[i] < '0' || s[i] > '9' {
				return ""
			}
		}
		if dots > 1 {
			return "!!str"
		}
		if dots == 0 && len(s) < 18 {
			return "!!int"
		}
	}
	return ""
}
