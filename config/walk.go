package config

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Limits of one document, against input that is small to write and large to read.
const (
	maxDepth  = 100     // nested mappings and sequences
	maxNodes  = 200_000 // after expanding anchors
	maxFaults = 100     // complaints worth making about one document
	maxStep   = 80      // bytes of a field's name in a path
)

// walker turns YAML nodes into JSON-like values while it checks them against a
// shape. It goes on after a complaint, to find all of them at once.
type walker struct {
	file     string
	offset   int // added to the nodes' line numbers
	problems Problems
	common   *common // of the file; for what builds objects
	nodes    int
	over     bool // a limit was passed and complained about
}

func (w *walker) position(n *yaml.Node) Position {
	return Position{File: w.file, Line: n.Line + w.offset, Column: n.Column}
}

func (w *walker) complain(n *yaml.Node, path, hint, format string, args ...any) {
	if len(w.problems) >= maxFaults {
		w.over = true
		return
	}
	w.problems = append(w.problems, Problem{
		Severity: Error, Code: CodeSchema.ID, Name: CodeSchema.Name,
		Field: path, Position: w.position(n), Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// enter follows aliases and keeps the limits; it returns nil when one is passed.
func (w *walker) enter(n *yaml.Node, path string, depth int) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	w.nodes++
	switch {
	case w.over:
		return nil
	case depth > maxDepth:
		w.over = true
		w.complain(n, path, "", "nested more than %d levels deep", maxDepth)
		return nil
	case w.nodes > maxNodes:
		w.over = true
		w.complain(n, path, "Split the document, or use fewer anchors", "the document has more than %d nodes once its anchors are expanded", maxNodes)
		return nil
	}
	return n
}

// value checks node n against s. It returns the value as JSON has it, and the
// skeleton with positions. ok is false when the value must be left out.
func (w *walker) value(n *yaml.Node, s shape, path string, depth int) (v any, f fieldNode, ok bool) {
	f.line, f.column = int32(n.Line+w.offset), int32(n.Column)
	if n = w.enter(n, path, depth); n == nil {
		return nil, f, false
	}
	if isNull(n) && s.class != classAny {
		return nil, f, false
	}
	switch s.class {
	case classObject, classMap:
		return w.mapping(n, s, path, depth, f)
	case classList:
		return w.sequence(n, s, path, depth, f)
	case classAny:
		return w.anything(n, path, depth, f)
	}
	if n.Kind != yaml.ScalarNode {
		w.complain(n, path, "", "want %s here, not %s", s.describe(), describeNode(n))
		return nil, f, false
	}
	v, ok = w.scalar(n, s, path)
	return v, f, ok
}

func (w *walker) mapping(n *yaml.Node, s shape, path string, depth int, f fieldNode) (any, fieldNode, bool) {
	if n.Kind != yaml.MappingNode {
		w.complain(n, path, "", "want a mapping (name: value) here, not %s", describeNode(n))
		return nil, f, false
	}
	out := make(map[string]any, len(n.Content)/2)
	var oneofs map[string]string
	entries := w.entries(n, path, depth)
	f.children = make([]fieldNode, 0, len(entries))
	for _, e := range entries {
		key := e.key.Value
		elem, name := shape{}, key
		if s.class == classMap {
			elem = s.elem()
		} else {
			fs, ok := s.field(key)
			if !ok {
				w.complain(e.key, join(path, key), didYouMean(key, s.names()), "unknown field %q", short(key))
				continue
			}
			elem, name = fs.shape, fs.name
			if fs.oneof != "" && !isNull(e.value) {
				if other, twice := oneofs[fs.oneof]; twice {
					w.complain(e.key, join(path, key), "Keep one of the two", "%q and %q exclude each other", other, key)
					continue
				}
				if oneofs == nil {
					oneofs = map[string]string{}
				}
				oneofs[fs.oneof] = key
			}
		}
		v, child, ok := w.value(e.value, elem, join(path, key), depth+1)
		child.key, child.line, child.column = key, int32(e.key.Line+w.offset), int32(e.key.Column)
		f.children = append(f.children, child)
		if _, twice := out[name]; twice {
			w.complain(e.key, join(path, key), "Keep one of the two", "field %q is given twice, in two spellings", key)
			continue
		}
		if ok {
			out[name] = v
		}
	}
	return out, f, true
}

func (w *walker) sequence(n *yaml.Node, s shape, path string, depth int, f fieldNode) (any, fieldNode, bool) {
	if n.Kind != yaml.SequenceNode {
		w.complain(n, path, "Put \"- \" before each element", "want a list here, not %s", describeNode(n))
		return nil, f, false
	}
	out := make([]any, 0, len(n.Content))
	f.children = make([]fieldNode, 0, len(n.Content))
	for i, c := range n.Content {
		p := path + "[" + strconv.Itoa(i) + "]"
		v, child, ok := w.value(c, s.elem(), p, depth+1)
		f.children = append(f.children, child)
		if ok {
			out = append(out, v)
		} else if !w.over && isNull(c) {
			w.complain(c, p, "Remove the empty element", "a list element is empty")
		}
	}
	return out, f, true
}

// anything converts a node of which no form is demanded.
func (w *walker) anything(n *yaml.Node, path string, depth int, f fieldNode) (any, fieldNode, bool) {
	free := func() shape { return shape{class: classAny} }
	switch n.Kind {
	case yaml.MappingNode:
		return w.mapping(n, shape{class: classMap, elem: free}, path, depth, f)
	case yaml.SequenceNode:
		return w.sequence(n, shape{class: classList, elem: free}, path, depth, f)
	}
	switch n.ShortTag() {
	case "!!null":
		return nil, f, true
	case "!!bool":
		v, ok := w.scalar(n, shape{class: classBool}, path)
		return v, f, ok
	case "!!int", "!!float":
		v, ok := w.scalar(n, shape{class: classFloat}, path)
		return v, f, ok
	case "!!str", "!!timestamp", "!!merge":
		return n.Value, f, true
	}
	w.complain(n, path, "", "values tagged %s can't be read", n.Tag)
	return nil, f, false
}

func (w *walker) scalar(n *yaml.Node, s shape, path string) (any, bool) {
	tag := n.ShortTag()
	switch s.class {
	case classString:
		if tag == "!!str" || tag == "!!timestamp" || tag == "!!merge" {
			return n.Value, true
		}
		w.complain(n, path, fmt.Sprintf("Put it in quotes: %q", short(n.Value)), "want text here, not %s", describeNode(n))
	case classBool:
		var b bool
		if tag == "!!bool" && n.Decode(&b) == nil {
			return b, true
		}
		w.complain(n, path, "Write true or false, without quotes", "want true or false here, not %s", describeNode(n))
	case classInt:
		return w.integer(n, s, path)
	case classFloat:
		var f float64
		if (tag == "!!int" || tag == "!!float") && n.Decode(&f) == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return f, true
		}
		w.complain(n, path, "", "want a number here, not %s", describeNode(n))
	case classEnum:
		return w.enumerated(n, s, path)
	case classDuration:
		return w.duration(n, path)
	case classPortTarget:
		if tag == "!!int" {
			return w.integer(n, shape{class: classInt, bits: 32}, path)
		}
		if tag == "!!str" {
			return n.Value, true
		}
		w.complain(n, path, "", "want a port number or a port name here, not %s", describeNode(n))
	}
	return nil, false
}

func (w *walker) integer(n *yaml.Node, s shape, path string) (any, bool) {
	tag := n.ShortTag()
	if tag == "!!str" && s.bits == 64 {
		// 64-bit numbers are text in the JSON form of protocol buffers.
		if _, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return json.Number(n.Value), true
		}
	}
	if tag == "!!str" && numeric(n.Value) {
		w.complain(n, path, "Remove the quotes", "want a whole number here, not text")
		return nil, false
	}
	low, high := int64(math.MinInt32), int64(math.MaxInt32)
	switch {
	case s.unsigned && s.bits == 32:
		low, high = 0, math.MaxUint32
	case s.unsigned:
		low, high = 0, math.MaxInt64
	case s.bits == 64:
		low, high = math.MinInt64, math.MaxInt64
	}
	var i int64
	switch {
	case tag != "!!int" || n.Decode(&i) != nil:
		w.complain(n, path, "", "want a whole number here, not %s", describeNode(n))
	case i < low || i > high:
		w.complain(n, path, "", "%d is out of range: want %d to %d", i, low, high)
	default:
		return json.Number(strconv.FormatInt(i, 10)), true
	}
	return nil, false
}

func (w *walker) enumerated(n *yaml.Node, s shape, path string) (any, bool) {
	if s.enum.Values().ByName(protoreflect.Name(n.Value)) != nil {
		return n.Value, true
	}
	var names []string
	for i := range s.enum.Values().Len() {
		names = append(names, string(s.enum.Values().Get(i).Name()))
	}
	w.complain(n, path, didYouMean(n.Value, names), "%q is none of the values allowed here", short(n.Value))
	return nil, false
}

// duration accepts the durations of Go ("1m30s") as Istio does, and hands them
// on in the form that protocol buffers have ("90s").
func (w *walker) duration(n *yaml.Node, path string) (any, bool) {
	d, err := time.ParseDuration(n.Value)
	if err != nil {
		hint := "Write a number and a unit: 500ms, 10s, 5m or 1h"
		if numeric(n.Value) {
			hint = fmt.Sprintf("A unit is missing: write %ss for seconds", n.Value)
		}
		w.complain(n, path, hint, "%q is no duration", short(n.Value))
		return nil, false
	}
	sign := ""
	if d < 0 {
		sign = "-"
	}
	return fmt.Sprintf("%s%d.%09ds", sign, (d / time.Second).Abs(), (d % time.Second).Abs()), true
}

// entry is a key and its value in a mapping.
type entry struct{ key, value *yaml.Node }

// entries lists a mapping's entries with merge keys ("<<") resolved, complaining
// about keys that aren't text and about repeated keys.
func (w *walker) entries(n *yaml.Node, path string, depth int) []entry {
	var merged []entry
	own := make([]entry, 0, len(n.Content)/2)
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			merged = append(merged, w.mergeEntries(value, path, depth+1)...)
			continue
		}
		if key = w.enter(key, path, depth); key == nil {
			return nil
		}
		if key.Kind != yaml.ScalarNode {
			w.complain(key, path, "", "a field name must be text, not %s", describeNode(key))
			continue
		}
		if line, twice := seen[key.Value]; twice {
			w.complain(key, join(path, key.Value), "Keep one of the two", "%q is given twice; the first is on line %d", short(key.Value), line+w.offset)
			continue
		}
		seen[key.Value] = key.Line
		own = append(own, entry{key, value})
	}
	for _, e := range merged {
		if _, overridden := seen[e.key.Value]; !overridden {
			seen[e.key.Value] = e.key.Line
			own = append(own, e)
		}
	}
	return own
}

func (w *walker) mergeEntries(n *yaml.Node, path string, depth int) []entry {
	n = w.enter(n, path, depth)
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.MappingNode:
		return w.entries(n, path, depth)
	case n.Kind == yaml.SequenceNode:
		var all []entry
		for _, c := range n.Content {
			if w.over {
				return nil
			}
			all = append(all, w.mergeEntries(c, path, depth+1)...)
		}
		return all
	}
	w.complain(n, path, "", "\"<<\" wants a mapping to merge, not %s", describeNode(n))
	return nil
}
