// Package host holds the arithmetic of host names as Istio's API has them:
// exact names, "*.suffix" wildcards and "*", short names that mean a service of
// the same namespace, and "namespace/host" pairs.
//
// It is called by config's validation and analysis, by world and by source. All
// functions are pure; the package starts no goroutines.
//
// May import: lib.
package host

import (
	"strings"
)

// Name is a host name, perhaps with a wildcard: "reviews", "reviews.default.svc.cluster.local",
// "*.example.com" or "*". Comparison is exact; callers pass lower case.
type Name string

// DefaultDomain is the DNS suffix of services unless configured otherwise.
const DefaultDomain = "cluster.local"

// IsWildcard says whether the name stands for more than one host.
func (n Name) IsWildcard() bool { return strings.HasPrefix(string(n), "*") }

// Matches says whether some host is covered by both names.
func (n Name) Matches(o Name) bool {
	switch nw, ow := n.IsWildcard(), o.IsWildcard(); {
	case nw && ow:
		return strings.HasSuffix(string(n[1:]), string(o[1:])) || strings.HasSuffix(string(o[1:]), string(n[1:]))
	case nw:
		return o.within(n)
	case ow:
		return n.within(o)
	}
	return n == o
}

// SubsetOf says whether every host that n covers is also covered by o.
func (n Name) SubsetOf(o Name) bool {
	if !o.IsWildcard() {
		return n == o
	}
	if n.IsWildcard() {
		return strings.HasSuffix(string(n[1:]), string(o[1:]))
	}
	return n.within(o)
}

// within: a wildcard stands for at least one character, so "*.a.b" doesn't
// cover ".a.b" itself.
func (n Name) within(wild Name) bool {
	suffix := string(wild[1:])
	return len(n) > len(suffix) && strings.HasSuffix(string(n), suffix)
}

// MoreSpecific orders names from the most to the least specific: exact before
// wildcard, longer before shorter, then by the alphabet. It reports whether n
// comes before o.
func (n Name) MoreSpecific(o Name) bool {
	if nw, ow := n.IsWildcard(), o.IsWildcard(); nw != ow {
		return ow
	}
	if len(n) != len(o) {
		return len(n) > len(o)
	}
	return n < o
}

// FQDN is the full name of a service: NAME.NAMESPACE.svc.DOMAIN.
func FQDN(service, namespace, domain string) Name {
	if domain == "" {
		domain = DefaultDomain
	}
	return Name(service + "." + namespace + ".svc." + domain)
}

// Resolve turns a host as written in a rule of the given namespace into a full
// name: a name without dots is a service of that namespace, anything else
// (wildcards too) is already full.
func Resolve(name, namespace, domain string) Name {
	if name == "" || strings.ContainsAny(name, ".*") || strings.Contains(name, ":") {
		return Name(name)
	}
	return FQDN(name, namespace, domain)
}

// SplitNamespaced cuts "ns/host" into its parts. Without a slash the namespace
// is "*", as in the hosts of a Gateway.
func SplitNamespaced(s string) (namespace string, name Name) {
	if ns, h, ok := strings.Cut(s, "/"); ok {
		return ns, Name(h)
	}
	return "*", Name(s)
}
