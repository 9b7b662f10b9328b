package route

import (
	"bytes"
	"strconv"

	"lateen.dev/lateen/proxy/plan"
)

// RewritesPath reports whether the path changes before it goes upstream.
func (d *Decision) RewritesPath() bool {
	return d.Action != nil && (d.Action.Rewrite.HasPrefix || d.Action.Rewrite.Regex != nil)
}

// AppendPath appends the path, with its query, that goes upstream. path is the request's.
func (d *Decision) AppendPath(dst, path []byte) []byte {
	rw := &d.Action.Rewrite
	switch {
	case rw.HasPrefix:
		dst = append(dst, rw.Prefix...)
		return append(dst, path[matchedLength(&d.Route.Match, path):]...)
	case rw.Regex != nil:
		bare, query := split(path)
		dst = append(dst, rw.Regex.ReplaceAll(bare, []byte(rw.Substitution))...)
		return append(dst, query...)
	}
	return append(dst, path...)
}

// matchedLength is how much of the path the route's match covered, which is what a prefix rewrite replaces: all of it
// for exact and regex matches.
func matchedLength(m *plan.RouteMatch, path []byte) int {
	bare, _ := split(path)
	if m.Kind == plan.PathPrefix || m.Kind == plan.PathSeparatedPrefix {
		return min(len(m.Path), len(bare))
	}
	return len(bare)
}

// split cuts the query (and a fragment) off.
func split(path []byte) (bare, query []byte) {
	if q := bytes.IndexAny(path, "?#"); q >= 0 {
		return path[:q], path[q:]
	}
	return path, nil
}

// Authority returns the authority that goes upstream, and whether it differs from the request's by a rewrite. It
// allocates only for regex rewrites. With Rewrite.AutoHost the endpoint's hostname takes its place later.
func (d *Decision) Authority(h plan.Head) (authority []byte, rewritten bool) {
	if d.Action == nil {
		return h.Authority(), false
	}
	rw := &d.Action.Rewrite
	switch {
	case d.Target != nil && len(d.Target.HostRewrite) > 0:
		return d.Target.HostRewrite, true
	case len(rw.Host) > 0:
		return rw.Host, true
	case rw.HostHeader != nil:
		if v, ok := rw.HostHeader.Of(h); ok && len(v) > 0 {
			return v, true
		}
	case rw.HostRegex != nil:
		bare, _ := split(h.Path())
		if v := rw.HostRegex.ReplaceAll(bare, []byte(rw.HostSubst)); len(v) > 0 {
			return v, true
		}
	}
	return h.Authority(), false
}

// AppendLocation appends the URL of a Location header: where the outcomes Redirect and RequireTLS lead, and of Direct the
// request's own.
func (d *Decision) AppendLocation(dst []byte, h plan.Head) []byte {
	rd := &plan.Redirect{}
	switch d.Outcome {
	case Redirect:
		rd = d.Route.Redirect
	case RequireTLS:
		rd.HTTPS = true
	}
	scheme := string(h.Scheme())
	switch {
	case rd.HTTPS:
		scheme = "https"
	case rd.Scheme != "":
		scheme = rd.Scheme
	}
	dst = append(dst, scheme...)
	dst = append(dst, "://"...)
	if rd.Host != "" {
		dst = append(dst, rd.Host...)
	} else {
		dst = append(dst, redirectHost(h, scheme, rd.Port != 0)...)
	}
	if rd.Port != 0 {
		dst = strconv.AppendUint(append(dst, ':'), uint64(rd.Port), 10)
	}
	return d.appendRedirectPath(dst, rd, h.Path())
}

// redirectHost is the request's host. Its port goes when another takes its place, or when it was the default port of
// a scheme that changes.
func redirectHost(h plan.Head, scheme string, otherPort bool) []byte {
	authority := h.Authority()
	bare := plan.WithoutPort(authority)
	port := authority[len(bare):]
	old := string(h.Scheme())
	if otherPort || scheme != old && (old == "https" && string(port) == ":443" || old == "http" && string(port) == ":80") {
		return bare
	}
	return authority
}

func (d *Decision) appendRedirectPath(dst []byte, rd *plan.Redirect, path []byte) []byte {
	bare, query := split(path)
	if rd.StripQuery {
		query = nil
	}
	switch {
	case rd.Path != "":
		dst = append(dst, rd.Path...)
		if bytes.IndexByte([]byte(rd.Path), '?') >= 0 {
			return dst
		}
	case rd.HasPrefix:
		dst = append(dst, rd.Prefix...)
		dst = append(dst, bare[matchedLength(&d.Route.Match, path):]...)
	case rd.Regex != nil:
		dst = append(dst, rd.Regex.ReplaceAll(bare, []byte(rd.Substitution))...)
	default:
		dst = append(dst, bare...)
	}
	return append(dst, query...)
}
