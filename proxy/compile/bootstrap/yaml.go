package bootstrap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// maxDepth bounds nesting, and with it what aliases may unfold to; maxJSON bounds the result.
const (
	maxDepth = 64
	maxJSON  = 64 << 20
)

// unmarshal reads YAML (of which JSON is a part) into a message.
func unmarshal(file string, data []byte, m proto.Message) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return fmt.Errorf("%s: the file is empty", file)
	}
	w := &jsonWriter{file: file}
	if err := w.write(doc.Content[0], 0); err != nil {
		return err
	}
	if err := protojson.Unmarshal(w.out.Bytes(), m); err != nil {
		return w.explain(err)
	}
	return nil
}

// jsonWriter writes JSON with every key and value on a line of its own, and remembers the line of the source for each,
// so that the decoder's complaints can be traced back.
type jsonWriter struct {
	file  string
	out   bytes.Buffer
	lines []int // source line by line of the JSON, from 0
}

func (w *jsonWriter) newline(source int) {
	w.out.WriteByte('\n')
	w.lines = append(w.lines, source)
}

func (w *jsonWriter) write(n *yaml.Node, depth int) error {
	if depth > maxDepth || w.out.Len() > maxJSON {
		return fmt.Errorf("%s:%d: nested too deeply, or aliases unfold to too much", w.file, n.Line)
	}
	switch n.Kind {
	case yaml.MappingNode:
		return w.object(n, depth)
	case yaml.SequenceNode:
		w.out.WriteByte('[')
		for i, e := range n.Content {
			if i > 0 {
				w.out.WriteByte(',')
			}
			w.newline(e.Line)
			if err := w.write(e, depth+1); err != nil {
				return err
			}
		}
		w.out.WriteByte(']')
		return nil
	case yaml.AliasNode:
		return w.write(n.Alias, depth+1)
	}
	return w.scalar(n)
}

func (w *jsonWriter) object(n *yaml.Node, depth int) error {
	w.out.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s:%d: a key must be a plain word", w.file, key.Line)
		}
		if i > 0 {
			w.out.WriteByte(',')
		}
		w.newline(key.Line)
		quoted, err := json.Marshal(key.Value)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", w.file, key.Line, err)
		}
		w.out.Write(quoted)
		w.out.WriteByte(':')
		if err := w.write(value, depth+1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return nil
}

func (w *jsonWriter) scalar(n *yaml.Node) error {
	var v any = n.Value
	if n.ShortTag() != "!!str" && n.ShortTag() != "!!timestamp" && n.ShortTag() != "!!binary" {
		if err := n.Decode(&v); err != nil {
			return fmt.Errorf("%s:%d: %w", w.file, n.Line, err)
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s:%d: %w", w.file, n.Line, err)
	}
	w.out.Write(b)
	return nil
}

var jsonLine = regexp.MustCompile(`\(line (\d+):\d+\):?\s*`)

// explain puts the source's line in front of a decoder's error.
func (w *jsonWriter) explain(err error) error {
	text := strings.Map(func(r rune) rune {
		if r == '\u00a0' { // the decoder varies its messages with it on purpose
			return ' '
		}
		return r
	}, err.Error())
	text = strings.TrimSpace(strings.TrimPrefix(text, "proto:"))
	m := jsonLine.FindStringSubmatchIndex(text)
	if m == nil {
		return fmt.Errorf("%s: %s", w.file, text)
	}
	line, convErr := strconv.Atoi(text[m[2]:m[3]])
	text = text[:m[0]] + text[m[1]:]
	// Line 1 of the JSON is the opening brace.
	if convErr != nil || line < 2 || line-2 >= len(w.lines) {
		return fmt.Errorf("%s: %s", w.file, text)
	}
	return fmt.Errorf("%s:%d: %s", w.file, w.lines[line-2], text)
}
