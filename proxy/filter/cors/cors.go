// Package cors decides about requests from other origins: which answers get
// CORS headers, and which preflights are answered here.
//
// Who calls it: the proxy's engine. It is pure, allocates nothing, and may be
// called by any goroutine.
//
// May import: proxy/plan, wire/header.
package cors

import (
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

// Verdict is what is to be done. The zero Verdict is nothing.
type Verdict struct {
	// Preflight: answer 200 with PreflightHeaders, without asking the upstream.
	Preflight bool
	// Allowed: the upstream's answer gets ResponseHeaders.
	Allowed bool
}

var (
	origin        = header.NewName("origin")
	requestMethod = header.NewName("access-control-request-method")
)

// Decide looks at a request. policy is the route's, and may be nil; random are
// fresh random bits.
func Decide(policy *plan.CORS, h plan.Head, random uint64) Verdict {
	if policy == nil {
		return Verdict{}
	}
	from, ok := h.Header(origin)
	if !ok || !policy.Enabled.Hit(random) {
		return Verdict{}
	}
	_, asks := h.Header(requestMethod)
	preflight := asks && string(h.Method()) == "OPTIONS"
	for i := range policy.Origins {
		if policy.Origins[i].Match(from) {
			return Verdict{Preflight: preflight, Allowed: true}
		}
	}
	if preflight && !policy.ForwardNotMatching {
		return Verdict{Preflight: true}
	}
	return Verdict{}
}

// Values as bytes, so that adding them converts nothing.
var yes = []byte("true")

// ResponseHeaders adds to an answer what lets the origin read it.
func ResponseHeaders(l *header.List, policy *plan.CORS, from []byte) {
	l.SetKnown(header.AccessControlAllowOrigin, from)
	if policy.AllowCredentials {
		l.SetKnown(header.AccessControlAllowCredentials, yes)
	}
	if policy.ExposeHeaders != "" {
		l.SetKnown(header.AccessControlExposeHeaders, []byte(policy.ExposeHeaders))
	}
}

// PreflightHeaders adds to the answer of a preflight what the origin may do.
// It adds nothing where the origin is not allowed.
func PreflightHeaders(l *header.List, policy *plan.CORS, v Verdict, from []byte) {
	if !v.Allowed {
		return
	}
	ResponseHeaders(l, policy, from)
	for _, f := range []struct {
		id    header.ID
		value string
	}{{header.AccessControlAllowMethods, policy.AllowMethods}, {header.AccessControlAllowHeaders, policy.AllowHeaders},
		{header.AccessControlMaxAge, policy.MaxAge}} {
		if f.value != "" {
			l.SetKnown(f.id, []byte(f.value))
		}
	}
	if policy.AllowPrivateNetwork {
		l.SetKnown(header.AccessControlAllowPrivateNetwork, yes)
	}
}

// Origin is the request's origin.
func Origin(h plan.Head) []byte {
	v, _ := h.Header(origin)
	return v
}
