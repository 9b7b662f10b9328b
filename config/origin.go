package config

import (
	"fmt"
	"strings"
)

// Position is a place in a file. Line and Column count from 1; 0 means unknown.
type Position struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String gives "FILE:LINE:COLUMN" as far as they are known.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	file := p.File
	if file == "" {
		file = "-"
	}
	if p.Column == 0 {
		return fmt.Sprintf("%s:%d", file, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", file, p.Line, p.Column)
}

// Origin says where an object came from: a place in a file, or a source that
// has no files ("workload registration"). It is an immutable value.
type Origin struct {
	// Source names who brought the object: "file", "api", "workload", "default".
	Source string
	// Position is the object's first line.
	Position
	// fields holds the positions inside the object.
	fields skeleton
}

// String gives the place if there is one, else the source's name.
func (o Origin) String() string {
	if s := o.Position.String(); s != "" {
		return s
	}
	return o.Source
}

// At returns the position of a field path such as
// "spec.http[0].route[1].destination.host". When the document doesn't have the
// whole path, it is the position of the longest part that it has.
func (o Origin) At(path string) Position {
	pos := o.Position
	if line, column := o.fields.at(pos.Line, path); line > 0 {
		pos.Line, pos.Column = line, column
	}
	return pos
}

// moved is the origin when the text before it has so many more lines.
func (o Origin) moved(lines int) Origin {
	o.Line += lines
	return o
}

// Equal compares origins including the positions of all fields, so that an
// object which only moved within its file counts as moved.
func (o Origin) Equal(p Origin) bool {
	return o.Source == p.Source && o.Position == p.Position && o.fields == p.fields
}

// SplitPath cuts "spec.http[0].match" into "spec", "http", "[0]", "match". A
// map key that holds dots is written in brackets: "metadata.labels[a.b/c]".
func SplitPath(path string) []string {
	var steps []string
	for path != "" {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				end = len(path) - 1
			}
			steps = append(steps, path[:end+1])
			path = path[end+1:]
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			steps = append(steps, path[:end])
			path = path[end:]
		}
	}
	return steps
}

// camel turns a proto field name (http_1_max) into its JSON name.
func camel(s string) string {
	if !strings.Contains(s, "_") {
		return s
	}
	var b strings.Builder
	up := false
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '_':
			up = true
		case up && 'a' <= c && c <= 'z':
			b.WriteByte(c - 'a' + 'A')
			up = false
		default:
			b.WriteByte(c)
			up = false
		}
	}
	return b.String()
}
