package config

import (
	"bytes"
)

// chunk is one document of a YAML stream, cut out by its markers.
type chunk struct {
	// start and end delimit the document's bytes. A marker line that holds
	// nothing but "---" stands before start.
	start, end int
	// line is the number of the line on which start lies, from 1.
	line int
}

// splitDocuments cuts a YAML stream at its document markers, before parsing, so
// that a document with a syntax error doesn't hide those after it. YAML forbids
// a marker at the start of a line anywhere inside a document, so this is exact.
func splitDocuments(data []byte) []chunk {
	var chunks []chunk
	current := chunk{line: 1}
	for pos, line := 0, 1; pos < len(data); line++ {
		next := len(data)
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			next = pos + i + 1
		}
		text := data[pos:next]
		switch {
		case isMarker(text, "---"):
			current.end = pos
			chunks = append(chunks, current)
			current = chunk{start: pos, line: line}
			if blank(text[len("---"):]) {
				current = chunk{start: next, line: line + 1}
			}
		case isMarker(text, "..."):
			current.end = pos
			chunks = append(chunks, current)
			current = chunk{start: next, line: line + 1}
		}
		pos = next
	}
	current.end = len(data)
	return append(chunks, current)
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// blank says whether a text holds only white space, comments and directives.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}

// withoutDirectives blanks out "%YAML" lines, which belong to the marker that
// our cutting took away.
func withoutDirectives(text []byte) []byte {
	if !bytes.Contains(text, []byte("%")) {
		return text
	}
	text = bytes.Clone(text)
	for pos := 0; pos < len(text); {
		next := len(text)
		if i := bytes.IndexByte(text[pos:], '\n'); i >= 0 {
			next = pos + i + 1
		}
		switch line := bytes.TrimSpace(text[pos:next]); {
		case len(line) > 0 && line[0] == '%' && text[pos] == '%':
			text[pos] = '#'
		case len(line) > 0 && line[0] != '#':
			return text
		}
		pos = next
	}
	return text
}
