package model

import (
	"maps"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
)

// Sidecar is Istio's Sidecar with its egress hosts parsed.
type Sidecar struct {
	Config       config.Key
	Origin       config.Origin
	CreationTime time.Time
	Namespace    string
	// Selector chooses workloads of the namespace. Nil makes it the default of its namespace.
	Selector map[string]string
	// Egress is parallel to Spec.Egress. Nil means that no egress was written: everything visible is in scope.
	Egress []EgressListener
	Spec   *networking.Sidecar
}

// EgressListener is one egress listener of a Sidecar.
type EgressListener struct {
	Hosts []EgressHost
	Spec  *networking.IstioEgressListener
}

// EgressHost is one entry of an egress listener's hosts.
type EgressHost struct {
	// Namespace is a namespace, "*" for any, or "~" for none. "." was resolved to the Sidecar's own.
	Namespace string
	// Host is a hostname or wildcard.
	Host string
}

// Selects reports whether one of the listener's hosts takes in the name, which stands in namespace.
func (e *EgressListener) Selects(namespace, host string) bool {
	for _, h := range e.Hosts {
		if h.Namespace != "*" && h.Namespace != namespace {
			continue
		}
		if HostSubsetOf(host, h.Host) {
			return true
		}
	}
	return false
}

// Imports reports whether one of the listener's hosts overlaps with the name, which stands in namespace: the question asked
// about a route, of whose hosts a part may be in scope.
func (e *EgressListener) Imports(namespace, host string) bool {
	for _, h := range e.Hosts {
		if (h.Namespace == "*" || h.Namespace == namespace) && HostMatches(host, h.Host) {
			return true
		}
	}
	return false
}

// ParseEgressHost reads namespace/host of a Sidecar in namespace.
func ParseEgressHost(s, namespace, domain string) EgressHost {
	ns, name := host.SplitNamespaced(strings.ToLower(s))
	if ns == "." {
		ns = namespace
	}
	out := EgressHost{Namespace: ns, Host: string(name)}
	if ns != "*" && ns != "~" {
		out.Host = string(host.Resolve(out.Host, ns, domain))
	}
	return out
}

// Equal reports whether both say the same.
func (s *Sidecar) Equal(o *Sidecar) bool {
	if s == o {
		return true
	}
	if s == nil || o == nil {
		return false
	}
	return s.Config == o.Config && samePlace(s.Origin, o.Origin) && s.CreationTime.Equal(o.CreationTime) &&
		(s.Selector == nil) == (o.Selector == nil) && maps.Equal(s.Selector, o.Selector) && equalMessages(s.Spec, o.Spec)
}
