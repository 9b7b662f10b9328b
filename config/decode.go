package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"lateen.dev/lateen/lib/quickyaml"
)

// Limits of what Decode reads.
const (
	MaxFileBytes     = 16 << 20
	MaxDocumentBytes = 2 << 20
	maxDocuments     = 20_000
)

// DecodeOptions say how to read a file.
type DecodeOptions struct {
	// File is the name that positions carry; "-" suits standard input.
	File string
	// Source becomes Origin.Source; "file" when empty.
	Source string
	// Namespace is given to namespaced objects that name none; "default" when empty.
	Namespace string
	// Known, if set, returns the items of a document that begins at a line if
	// they are known from before, else nil; the document isn't read then.
	Known func(text []byte, line int) []Item
}

// Decoded is a file as read: its documents in order, empty ones left out.
type Decoded struct {
	Documents []Document
	// FileProblems are about the file as a whole, such as its size.
	FileProblems Problems
}

// Document is one document of a file.
type Document struct {
	// Start and End delimit its bytes in the file. A marker line of nothing but
	// "---" stands before Start.
	Start, End int
	// Line is the number of the line at Start.
	Line int
	// Items are its objects: one, or several for a List.
	Items []Item
	// Known says that the items are those which DecodeOptions.Known returned.
	Known bool
}

// Item is one object of a document, good or bad.
type Item struct {
	// Ref and Key say which object it is, as far as could be read. When Key.Kind
	// is UnknownKind or Key.Name is empty, it can't be told which live object
	// the document was about.
	Ref Ref
	Key Key
	// Object is nil when the item has an error or is Ignored.
	Object *Object
	// Ignored marks a well-known kind that means nothing to the mesh.
	Ignored  bool
	Position Position
	Problems Problems
}

// Moved is the item when the text before its document has so many more lines.
// What its problems say may name lines, so ok is false if it has any.
func (i Item) Moved(lines int) (moved Item, ok bool) {
	if len(i.Problems) > 0 || i.Object == nil {
		return i, false
	}
	o := *i.Object
	o.Origin = o.Origin.moved(lines)
	i.Object, i.Position = &o, o.Origin.Position
	return i, true
}

// Decode reads a file of YAML or JSON documents. It checks everything that can
// be checked against the kinds' schemas; rules beyond them are the business of
// package validation. A bad document never hides the others. The result doesn't
// refer to data.
func Decode(data []byte, o DecodeOptions) Decoded {
	if o.Source == "" {
		o.Source = "file"
	}
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	d := decoder{DecodeOptions: o, quick: &quickyaml.Parser{}, common: newCommon()}
	if problem, ok := d.unreadable(data); ok {
		return Decoded{FileProblems: Problems{problem}}
	}
	var out Decoded
	body := bytes.TrimPrefix(data, []byte("\ufeff"))
	skipped := len(data) - len(body)
	for _, c := range splitDocuments(body) {
		text := body[c.start:c.end]
		if blank(text) || blank(bytes.TrimPrefix(text, []byte("---"))) {
			continue
		}
		if len(out.Documents) == maxDocuments {
			out.FileProblems = append(out.FileProblems, d.problem(CodeUnreadable, Position{File: o.File, Line: c.line},
				fmt.Sprintf("the file has more than %d documents; the rest isn't read", maxDocuments), "Split the file"))
			break
		}
		doc := Document{Start: c.start + skipped, End: c.end + skipped, Line: c.line}
		if o.Known != nil {
			doc.Items = o.Known(text, c.line)
			doc.Known = doc.Items != nil
		}
		if !doc.Known {
			doc.Items = d.document(text, c.line-1)
		}
		out.Documents = append(out.Documents, doc)
	}
	return out
}

// Objects are the good objects of all documents, in order.
func (d Decoded) Objects() []*Object {
	var objects []*Object
	for _, item := range d.Items() {
		if item.Object != nil {
			objects = append(objects, item.Object)
		}
	}
	return objects
}

// Items are the items of all documents, in order.
func (d Decoded) Items() []Item {
	var items []Item
	for _, doc := range d.Documents {
		items = append(items, doc.Items...)
	}
	return items
}

// Problems are the complaints about the file and everything in it.
func (d Decoded) Problems() Problems {
	ps := append(Problems(nil), d.FileProblems...)
	for _, item := range d.Items() {
		ps = append(ps, item.Problems...)
	}
	return ps
}

type decoder struct {
	DecodeOptions
	quick  *quickyaml.Parser
	common *common
}

func (d decoder) problem(code Code, pos Position, message, hint string) Problem {
	return Problem{Severity: Error, Code: code.ID, Name: code.Name, Position: pos, Message: message, Hint: hint}
}

func (d decoder) unreadable(data []byte) (Problem, bool) {
	pos := Position{File: d.File}
	if len(data) > MaxFileBytes {
		return d.problem(CodeUnreadable, pos, fmt.Sprintf("the file is larger than %d MiB", MaxFileBytes>>20), "Split the file"), true
	}
	for line := 1; len(data) > 0; line++ {
		text := data
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			text = data[:i+1]
		}
		if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
			pos.Line = line
			return d.problem(CodeUnreadable, pos, "the file isn't UTF-8 text", "Save it as UTF-8"), true
		}
		data = data[len(text):]
	}
	return Problem{}, false
}

// document reads one document that begins after offset lines.
func (d decoder) document(text []byte, offset int) []Item {
	bad := func(line int, message, hint string) []Item {
		pos := Position{File: d.File, Line: line}
		return []Item{{Position: pos, Problems: Problems{d.problem(CodeSyntax, pos, message, hint)}}}
	}
	if len(text) > MaxDocumentBytes {
		return bad(offset+1, fmt.Sprintf("the document is larger than %d MiB", MaxDocumentBytes>>20), "Split it")
	}
	root := d.quick.Parse(string(text))
	if root == nil {
		var err error
		if root, err = parse(plainJSON(withoutDirectives(text))); err != nil {
			line, message := syntaxError(err)
			return bad(offset+line, message, "Check the indentation and quotes around this line")
		}
	}
	for root != nil && root.Kind == yaml.DocumentNode && len(root.Content) > 0 {
		root = root.Content[0]
	}
	if root == nil || isNull(root) {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		return bad(offset+root.Line, "the document isn't an object but "+describeNode(root), "An object begins with apiVersion and kind")
	}
	return d.node(root, offset)
}

// parse reads the one document in text. The parser's own panics on hostile
// input, should it have any left, become errors.
func parse(text []byte) (root *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, fmt.Errorf("yaml: %v", r)
		}
	}()
	var node yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&node); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	return &node, nil
}

// jsonEscape finds the escapes of JSON that YAML lacks: an escaped slash, and
// a character beyond the first plane as a pair of surrogates.
var jsonEscape = regexp.MustCompile(`(\\\\)|\\/|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`)

// plainJSON rewrites those escapes if text is JSON, so that the YAML parser,
// which knows positions, can read it.
func plainJSON(text []byte) []byte {
	if start := bytes.TrimSpace(text); len(start) == 0 || start[0] != '{' || !json.Valid(text) {
		return text
	}
	return jsonEscape.ReplaceAllFunc(text, func(escape []byte) []byte {
		if bytes.Equal(escape, []byte(`\\`)) {
			return escape
		}
		var s string
		if json.Unmarshal([]byte(`"`+string(escape)+`"`), &s) != nil {
			return escape
		}
		return []byte(s)
	})
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// syntaxError takes the parser's message apart: the line within the document,
// and the message without it.
func syntaxError(err error) (line int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	line = 1
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line, message = n, message[len(m[0]):]
		}
	}
	return line, message
}

// node reads the object at a mapping: one of a kind, a List of them, or a bare
// MeshConfig.
func (d decoder) node(n *yaml.Node, offset int) []Item {
	h, bad := d.head(n, offset)
	if bad != nil {
		return []Item{*bad}
	}
	switch {
	case h.apiVersion == "" && h.kind == "" && looksLikeMeshConfig(n):
		return []Item{d.bareMeshConfig(n, offset)}
	case h.kind == "List" && h.apiVersion == "v1", strings.HasSuffix(h.kind, "List") && child(n, "items") != nil:
		return d.list(n, offset)
	case h.kind == "ConfigMap" && h.apiVersion == "v1":
		if data := child(child(n, "data"), "mesh"); data != nil && h.name == MeshConfigName {
			return []Item{d.configMap(data, h, offset)}
		}
	}
	return []Item{d.object(n, h, offset)}
}

func (d decoder) list(n *yaml.Node, offset int) []Item {
	items := child(n, "items")
	w := walker{file: d.File, offset: offset}
	if items == nil || items.Kind != yaml.SequenceNode {
		w.complain(n, "items", "", "a List wants a sequence of items")
		return []Item{{Ref: Ref{Kind: "List"}, Position: w.position(n), Problems: w.problems}}
	}
	var out []Item
	for i, c := range items.Content {
		if c = follow(c); c.Kind != yaml.MappingNode {
			w.complain(c, fmt.Sprintf("items[%d]", i), "", "a List's item must be an object, not %s", describeNode(c))
			out = append(out, Item{Ref: Ref{Kind: "List"}, Position: w.position(c), Problems: w.problems})
			w.problems = nil
			continue
		}
		if kind := child(c, "kind"); kind != nil && kind.Value == "List" {
			w.complain(c, fmt.Sprintf("items[%d]", i), "Put its items into the outer List", "a List inside a List isn't read")
			out = append(out, Item{Ref: Ref{Kind: "List"}, Position: w.position(c), Problems: w.problems})
			w.problems = nil
			continue
		}
		out = append(out, d.node(c, offset)...)
	}
	return out
}

// follow resolves an alias, which may stand for a list's item.
func follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// child finds a key of a mapping without complaining about anything.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return follow(n.Content[i+1])
		}
	}
	return nil
}
