package telemetry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Formatter renders a record as one line, newline included.
type Formatter interface {
	Append(dst []byte, r *Record) []byte
}

// DefaultTextFormat is Istio's access log format.
const DefaultTextFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% ` +
	`%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" ` +
	`%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" ` +
	`"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% ` +
	`%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"

// DefaultJSONFormat returns the keys and values of Istio's JSON access log.
func DefaultJSONFormat() map[string]string {
	return map[string]string{
		"start_time": "%START_TIME%", "route_name": "%ROUTE_NAME%", "method": "%REQ(:METHOD)%",
		"path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "protocol": "%PROTOCOL%", "response_code": "%RESPONSE_CODE%",
		"response_flags": "%RESPONSE_FLAGS%", "response_code_details": "%RESPONSE_CODE_DETAILS%",
		"connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%", "bytes_received": "%BYTES_RECEIVED%",
		"bytes_sent": "%BYTES_SENT%", "duration": "%DURATION%",
		"upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
		"user_agent": "%REQ(USER-AGENT)%", "request_id": "%REQ(X-REQUEST-ID)%", "authority": "%REQ(:AUTHORITY)%",
		"upstream_host": "%UPSTREAM_HOST%", "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
		"upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%", "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
		"downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%", "requested_server_name": "%REQUESTED_SERVER_NAME%",
		"upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
	}
}

// piece is a literal or an operator of a compiled format.
type piece struct {
	literal string
	render  operator // nil for a literal
	numeric bool
}

// TextFormat is a compiled format string.
type TextFormat struct {
	pieces    []piece
	omitEmpty bool
}

// CompileText compiles a format string of Envoy's command operators. hostname
// is the value of %HOSTNAME%. With omitEmpty missing values are empty, else
// they are "-".
func CompileText(format, hostname string, omitEmpty bool) (*TextFormat, error) {
	pieces, err := compilePieces(format, hostname)
	if err != nil {
		return nil, fmt.Errorf("access log format: %w", err)
	}
	return &TextFormat{pieces: pieces, omitEmpty: omitEmpty}, nil
}

// Append implements Formatter. A format without a newline at its end yields
// none, as in Envoy.
func (f *TextFormat) Append(dst []byte, r *Record) []byte {
	for i := range f.pieces {
		p := &f.pieces[i]
		if p.render == nil {
			dst = append(dst, p.literal...)
			continue
		}
		at := len(dst)
		var ok bool
		if dst, ok = p.render(dst, r); ok {
			continue
		}
		if dst = dst[:at]; !f.omitEmpty {
			dst = append(dst, '-')
		}
	}
	return dst
}

func compilePieces(format, hostname string) ([]piece, error) {
	var pieces []piece
	table := operatorTable(hostname)
	for format != "" {
		n := strings.IndexByte(format, '%')
		if n != 0 {
			if n < 0 {
				n = len(format)
			}
			pieces = append(pieces, piece{literal: format[:n]})
			format = format[n:]
			continue
		}
		if strings.HasPrefix(format, "%%") {
			pieces, format = append(pieces, piece{literal: "%"}), format[2:]
			continue
		}
		p, rest, err := compileOperator(format[1:], table)
		if err != nil {
			return nil, err
		}
		pieces, format = append(pieces, p), rest
	}
	return pieces, nil
}

// compileOperator compiles one NAME, NAME(ARG) or NAME(ARG):MAX up to the
// closing percent sign, and returns what follows it. s begins after the
// opening one.
func compileOperator(s string, table map[string]plainOperator) (piece, string, error) {
	end := strings.IndexAny(s, "(%:")
	if end < 0 {
		return piece{}, "", fmt.Errorf("operator %%%.20s has no closing %%", s)
	}
	name, rest := s[:end], s[end:]
	arg := ""
	if rest[0] == '(' {
		closing := strings.IndexByte(rest, ')')
		if closing < 0 {
			return piece{}, "", fmt.Errorf("operator %%%s( has no closing parenthesis", name)
		}
		arg, rest = rest[1:closing], rest[closing+1:]
	}
	limit, rest, ok := strings.Cut(rest, "%")
	if !ok {
		return piece{}, "", fmt.Errorf("operator %%%s has no closing %%", name)
	}
	maxBytes := 0
	if limit != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(limit, ":"))
		if err != nil || n < 0 || limit[0] != ':' {
			return piece{}, "", fmt.Errorf("operator %%%s has %q where a length such as :10 is allowed", name, limit)
		}
		maxBytes = n
	}
	p, err := newOperator(name, arg, maxBytes, table)
	return p, rest, err
}

func newOperator(name, arg string, maxBytes int, table map[string]plainOperator) (piece, error) {
	request := func(r *Record) Headers { return r.Request }
	response := func(r *Record) Headers { return r.Response }
	trailer := func(r *Record) Headers { return r.Trailers }
	switch name {
	case "REQ":
		return piece{render: headerOperator(request, arg, maxBytes)}, nil
	case "REQ_WITHOUT_QUERY":
		return piece{render: pathWithoutQuery(arg, maxBytes)}, nil
	case "RESP":
		return piece{render: headerOperator(response, arg, maxBytes)}, nil
	case "TRAILER":
		return piece{render: headerOperator(trailer, arg, maxBytes)}, nil
	case "START_TIME":
		op, err := startTimeOperator(arg)
		return piece{render: op}, err
	case "DYNAMIC_METADATA", "FILTER_STATE", "CLUSTER_METADATA", "UPSTREAM_METADATA", "METADATA", "ENVIRONMENT":
		// Nothing in this proxy sets these, so they are always missing.
		return piece{render: func(dst []byte, _ *Record) ([]byte, bool) { return dst, false }}, nil
	}
	op, ok := table[name]
	if !ok {
		return piece{}, fmt.Errorf("operator %%%s%% is not known", name)
	}
	return piece{render: op.render, numeric: op.numeric}, nil
}

// JSONFormat is a compiled set of JSON fields, written in the order of their
// keys.
type JSONFormat struct{ fields []jsonField }

type jsonField struct {
	key    string // quoted, with the colon and what precedes it
	pieces []piece
}

// CompileJSON compiles a flat JSON format: key → format string. A value that is
// a single operator keeps its type (number, or null when missing).
func CompileJSON(fields map[string]string, hostname string) (*JSONFormat, error) {
	f := &JSONFormat{}
	for i, key := range slices.Sorted(maps.Keys(fields)) {
		pieces, err := compilePieces(fields[key], hostname)
		if err != nil {
			return nil, fmt.Errorf("access log format, key %q: %w", key, err)
		}
		quoted, err := json.Marshal(key)
		if err != nil {
			return nil, fmt.Errorf("access log format, key %q: %w", key, err)
		}
		before := ","
		if i == 0 {
			before = "{"
		}
		f.fields = append(f.fields, jsonField{key: before + string(quoted) + ":", pieces: pieces})
	}
	return f, nil
}

// Append implements Formatter.
func (f *JSONFormat) Append(dst []byte, r *Record) []byte {
	for i := range f.fields {
		dst = append(dst, f.fields[i].key...)
		dst = f.fields[i].appendValue(dst, r)
	}
	if len(f.fields) == 0 {
		dst = append(dst, '{')
	}
	return append(dst, "}\n"...)
}

func (f *jsonField) appendValue(dst []byte, r *Record) []byte {
	at := len(dst)
	if len(f.pieces) == 1 && f.pieces[0].render != nil {
		p := &f.pieces[0]
		dst, ok := p.render(dst, r)
		switch {
		case !ok:
			return append(dst[:at], "null"...)
		case p.numeric:
			return dst
		}
		return quoteTail(dst, at)
	}
	text := TextFormat{pieces: f.pieces}
	return quoteTail(text.Append(dst, r), at)
}

// quoteTail turns dst[at:] into a JSON string. Text without anything to escape
// is only moved by one byte.
func quoteTail(dst []byte, at int) []byte {
	tail := dst[at:]
	if plainJSON(tail) {
		dst = append(dst, 0, '"')
		copy(dst[at+1:len(dst)-1], tail)
		dst[at] = '"'
		return dst
	}
	quoted, err := json.Marshal(string(tail))
	if err != nil { // a string always marshals
		return append(dst[:at], `""`...)
	}
	return append(dst[:at], quoted...)
}

func plainJSON(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

var (
	_ Formatter = (*TextFormat)(nil)
	_ Formatter = (*JSONFormat)(nil)
)
