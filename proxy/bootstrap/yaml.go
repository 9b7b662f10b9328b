package bootstrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"

	"go.yaml.in/yaml/v3"

	"lateen.dev/lateen/lib/quickyaml"
)

// toJSON turns YAML into JSON in which everything stands on the line on which
// it stood in the YAML, so that a complaint about the JSON points there.
func toJSON(text []byte) ([]byte, error) {
	root, err := parseYAML(text)
	if err != nil {
		return nil, err
	}
	w := &lineWriter{line: 1}
	if err := w.node(root, 0); err != nil {
		return nil, err
	}
	return w.out.Bytes(), nil
}

// parseYAML reads the first document.
func parseYAML(text []byte) (*yaml.Node, error) {
	if !hasMarkers(text) {
		if root := new(quickyaml.Parser).Parse(string(text)); root != nil {
			return root, nil
		}
	}
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&doc); err != nil {
		return nil, err
	}
	if len(doc.Content) != 1 {
		return nil, errors.New("the file is empty")
	}
	return doc.Content[0], nil
}

// hasMarkers says whether a line looks like the beginning or end of a document.
func hasMarkers(text []byte) bool {
	for _, marker := range [2]string{"---", "..."} {
		if bytes.HasPrefix(text, []byte(marker)) || bytes.Contains(text, []byte("\n"+marker)) {
			return true
		}
	}
	return false
}

// Limits against files made to exhaust memory.
const (
	maxDepth = 100
	maxNodes = 2_000_000
)

// lineWriter writes JSON and knows on which line it is.
type lineWriter struct {
	out   bytes.Buffer
	line  int
	nodes int
}

// advance goes on to the line, if it lies ahead.
func (w *lineWriter) advance(line int) {
	for w.line < line {
		w.out.WriteByte('\n')
		w.line++
	}
}

func (w *lineWriter) node(n *yaml.Node, depth int) error {
	if w.nodes++; depth > maxDepth || w.nodes > maxNodes {
		return fmt.Errorf("line %d: nested too deeply, or too large", n.Line)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return w.node(n.Alias, depth+1)
	case yaml.MappingNode:
		return w.mapping(n, depth)
	case yaml.SequenceNode:
		w.advance(n.Line)
		w.out.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				w.out.WriteByte(',')
			}
			if err := w.node(c, depth+1); err != nil {
				return err
			}
		}
		w.out.WriteByte(']')
		return nil
	}
	return w.scalar(n)
}

func (w *lineWriter) mapping(n *yaml.Node, depth int) error {
	w.advance(n.Line)
	w.out.WriteByte('{')
	first := true
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			return fmt.Errorf("line %d: merge keys (<<) are not supported", key.Line)
		}
		if seen[key.Value] {
			return fmt.Errorf("line %d: the key %q is there twice", key.Line, key.Value)
		}
		seen[key.Value] = true
		if !first {
			w.out.WriteByte(',')
		}
		first = false
		w.advance(key.Line)
		quoted, err := json.Marshal(key.Value)
		if err != nil {
			return fmt.Errorf("line %d: %w", key.Line, err)
		}
		w.out.Write(quoted)
		w.out.WriteByte(':')
		if err := w.node(value, depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

func (w *lineWriter) scalar(n *yaml.Node) error {
	var v any = n.Value
	if n.Tag != "!!str" {
		if err := n.Decode(&v); err != nil {
			return fmt.Errorf("line %d: %w", n.Line, err)
		}
	}
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		v = n.Value
	}
	if n.Tag == "!!timestamp" {
		v = n.Value
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	w.advance(n.Line)
	w.out.Write(b)
	return nil
}

// protoLine finds the position in protojson's complaints. Its text is not
// promised to stay, so one without a position is passed on as it is.
var protoLine = regexp.MustCompile(`\(line (\d+):\d+\): *`)

// what is the kind of file.
func withLine(what, name string, err error) error {
	text := err.Error()
	m := protoLine.FindStringSubmatchIndex(text)
	if m == nil {
		return fmt.Errorf("%s %s: %w", what, name, err)
	}
	return fmt.Errorf("%s %s:%s: %s", what, name, text[m[2]:m[3]], text[m[1]:])
}
