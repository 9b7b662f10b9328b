// Package rbac decides whether a connection or request may pass: Envoy's role
// based access control, for HTTP and for TCP.
//
// Who calls it: the proxy's engine, once per connection for the network filter
// and once per request for the HTTP filter. It is pure, allocates nothing, and
// may be called by any goroutine.
//
// May import: proxy/plan.
package rbac

import (
	"net/netip"

	"lateen.dev/lateen/proxy/plan"
)

// Facts are what policies may ask about. For the network filter Head is nil:
// rules about requests are then false.
type Facts struct {
	Head plan.Head
	// Destination is where the connection was going.
	Destination netip.AddrPort
	// Direct is the connection's peer, Source the same after PROXY protocol, and
	// Remote the client as x-forwarded-for tells it.
	Direct, Source, Remote netip.Addr
	ServerName             []byte
	// Authenticated: the peer has presented a certificate that was verified.
	Authenticated bool
	// Names are the certificate's URI names, or else its DNS names, or else its
	// subject.
	Names [][]byte
}

// Verdict is what the rules say.
type Verdict struct {
	Allowed bool
	// Policy is the name of the policy that matched, if one did.
	Policy string
}

// Decide applies rules. Without rules everything passes.
func Decide(r *plan.RBACRules, f *Facts) Verdict {
	if r == nil {
		return Verdict{Allowed: true}
	}
	for i := range r.Policies {
		p := &r.Policies[i]
		if anyOf(p.Permissions, f) && anyOf(p.Principals, f) {
			return Verdict{Allowed: r.Action != plan.RBACDeny, Policy: p.Name}
		}
	}
	return Verdict{Allowed: r.Action != plan.RBACAllow}
}

func anyOf(rules []plan.RBACRule, f *Facts) bool {
	for i := range rules {
		if matches(&rules[i], f) {
			return true
		}
	}
	return false
}

func allOf(rules []plan.RBACRule, f *Facts) bool {
	for i := range rules {
		if !matches(&rules[i], f) {
			return false
		}
	}
	return true
}

func matches(r *plan.RBACRule, f *Facts) bool {
	switch r.Kind {
	case plan.RBACAny:
		return true
	case plan.RBACAnd:
		return allOf(r.Rules, f)
	case plan.RBACOr:
		return anyOf(r.Rules, f)
	case plan.RBACNot:
		return !allOf(r.Rules, f)
	case plan.RBACHeader:
		return f.Head != nil && r.Header.Match(f.Head)
	case plan.RBACPath:
		return f.Head != nil && r.String.Match(pathOnly(f.Head.Path()))
	case plan.RBACServerName:
		return r.String.Match(f.ServerName)
	case plan.RBACAuthenticated, plan.RBACFilterStatePeer:
		return authenticated(r, f)
	case plan.RBACMetadata:
		return r.Invert
	}
	return matchesAddress(r, f)
}

func matchesAddress(r *plan.RBACRule, f *Facts) bool {
	switch r.Kind {
	case plan.RBACDestinationIP:
		return within(r.Prefix, f.Destination.Addr())
	case plan.RBACDestinationPort:
		port := f.Destination.Port()
		return port >= r.PortLow && port <= r.PortHigh
	case plan.RBACDirectRemoteIP:
		return within(r.Prefix, f.Direct)
	case plan.RBACRemoteIP:
		return within(r.Prefix, f.Remote)
	case plan.RBACSourceIP:
		return within(r.Prefix, f.Source)
	}
	return false
}

// within compares addresses as IPv4 where they are that, however written.
func within(p netip.Prefix, a netip.Addr) bool { return a.IsValid() && p.Contains(a.Unmap()) }

func authenticated(r *plan.RBACRule, f *Facts) bool {
	if !f.Authenticated {
		return false
	}
	if r.String == nil {
		return true
	}
	for _, name := range f.Names {
		if r.String.Match(name) {
			return true
		}
	}
	return false
}

func pathOnly(path []byte) []byte {
	for i, c := range path {
		if c == '?' || c == '#' {
			return path[:i]
		}
	}
	return path
}
