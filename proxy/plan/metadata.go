package plan

import "lateen.dev/lateen/telemetry"

// Metadata is Envoy's filter_metadata: values under a filter's name. The values are strings, float64, bool, nil,
// []any and map[string]any, as in JSON. It is read when configuration changes and by admin, not per request.
type Metadata map[string]map[string]any

// Get returns a value, or nil.
func (m Metadata) Get(filter, key string) any { return m[filter][key] }

// String returns a value that is a string, or "".
func (m Metadata) String(filter, key string) string {
	s, _ := m[filter][key].(string)
	return s
}

// Origin is where a route or cluster comes from in the user's own words, for explain.
type Origin struct {
	Config string // Istio's config source, /apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews
	File   string // Lateen's own: path of the YAML file
	Line   int    // line of the rule in File
	Rule   string // name of the rule, or its place such as http[1]
}

// Format is a header value or similar with Envoy's command operators, compiled.
type Format struct {
	// Literal is the value when Text is nil.
	Literal string
	Text    *telemetry.TextFormat
}

// Append appends the value. Only formats with operators look at r.
func (f *Format) Append(dst []byte, r *telemetry.Record) []byte {
	if f.Text == nil {
		return append(dst, f.Literal...)
	}
	return f.Text.Append(dst, r)
}

// AppendAction is what adding a header does with one that is there.
type AppendAction uint8

// The append actions, as Envoy's HeaderAppendAction.
const (
	AppendIfExistsOrAdd AppendAction = iota
	AddIfAbsent
	OverwriteIfExistsOrAdd
	OverwriteIfExists
)

// HeaderMutation adds a header to a head, or removes one from it.
type HeaderMutation struct {
	// Name is never a pseudo header's, nor host.
	Name   HeaderName
	Remove bool
	Action AppendAction
	Value  Format
	// KeepEmpty adds the header even when the value comes out empty.
	KeepEmpty bool
}

// HeaderMutations are applied in order to a request and to its response. Removals come first, as in Envoy.
type HeaderMutations struct {
	Request  []HeaderMutation
	Response []HeaderMutation
}
