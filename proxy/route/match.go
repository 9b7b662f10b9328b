package route

import (
	"bytes"

	"lateen.dev/lateen/proxy/plan"
)

// criterion is what a route was not matched by.
type criterion uint8

const (
	matched criterion = iota
	byPath
	byHeader
	byQuery
	byGRPC
	byTLS
	byFraction
	byMetadata
	byMethod
)

// mismatch says why a route doesn't match: the criterion, and which of several.
type mismatch struct {
	kind  criterion
	index int
}

// matcher is a request being compared with routes.
type matcher struct {
	in    *Input
	path  []byte // without query
	query []byte // with its question mark
}

// match compares in Envoy's order; every criterion must hold.
func (m *matcher) match(r *plan.RouteMatch) mismatch {
	if connect := string(m.in.Head.Method()) == "CONNECT"; r.Kind == plan.ConnectMatch != connect && (!connect || len(m.path) == 0) {
		return mismatch{kind: byMethod}
	}
	if !matchPath(r, m.path) {
		return mismatch{kind: byPath}
	}
	if r.Never {
		return mismatch{kind: byMetadata}
	}
	if r.Fraction != nil && !r.Fraction.Hit(mix(^m.in.Random)) {
		return mismatch{kind: byFraction}
	}
	for i := range r.Headers {
		if !r.Headers[i].Match(m.in.Head) {
			return mismatch{byHeader, i}
		}
	}
	for i := range r.Query {
		if !matchQuery(&r.Query[i], m.query) {
			return mismatch{byQuery, i}
		}
	}
	if r.GRPC && !isGRPC(m.in.Head) {
		return mismatch{kind: byGRPC}
	}
	if r.TLSPresented != nil && *r.TLSPresented != m.in.Conn.CertPresented ||
		r.TLSValidated != nil && *r.TLSValidated != m.in.Conn.CertValidated {
		return mismatch{kind: byTLS}
	}
	return mismatch{}
}

func matchPath(r *plan.RouteMatch, path []byte) bool {
	n := len(r.Path)
	switch r.Kind {
	case plan.PathPrefix:
		return len(path) >= n && equalPath(r, path[:n])
	case plan.PathExact:
		return equalPath(r, path)
	case plan.PathSeparatedPrefix:
		return len(path) >= n && (len(path) == n || path[n] == '/') && equalPath(r, path[:n])
	case plan.PathRegex:
		return r.Regex.Match(path)
	}
	return r.Kind == plan.ConnectMatch
}

func equalPath(r *plan.RouteMatch, path []byte) bool {
	if r.IgnoreCase {
		return plan.EqualFold(path, r.Path)
	}
	return string(path) == r.Path
}

// matchQuery looks at the parameter's first value, undecoded as in Envoy.
func matchQuery(q *plan.QueryMatch, query []byte) bool {
	v, ok := queryValue(query, q.Name)
	return ok && (q.Value == nil || q.Value.Match(v))
}

func queryValue(query []byte, name string) ([]byte, bool) {
	if len(query) == 0 || query[0] != '?' {
		return nil, false
	}
	query = query[1:]
	if f := bytes.IndexByte(query, '#'); f >= 0 {
		query = query[:f]
	}
	for len(query) > 0 {
		pair := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			query = nil
		}
		key, value := pair, []byte(nil)
		if i := bytes.IndexByte(pair, '='); i >= 0 {
			key, value = pair[:i], pair[i+1:]
		}
		if string(key) == name {
			return value, true
		}
	}
	return nil, false
}

func isGRPC(h plan.Head) bool {
	v, _ := h.Header(contentType)
	const grpc = "application/grpc"
	return len(v) >= len(grpc) && string(v[:len(grpc)]) == grpc && (len(v) == len(grpc) || v[len(grpc)] == '+' || v[len(grpc)] == ';')
}
