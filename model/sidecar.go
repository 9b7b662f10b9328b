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
	// Namespace is a namespace, "*" for any, "~" for none, or "." for the workload's own: a Sidecar of the root namespace
	// stands in for those that other namespaces lack.
	Namespace string
	// Host is a hostname or wildcard.
	Host string
}

// Selects reports whether one of the listener's hosts takes in the name, which stands in namespace. The listener is one that
// In returned.
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

// In returns the listener as it is meant in a workload's namespace: "." made that namespace, and short names of one
// namespace made full.
func (e *EgressListener) In(namespace, domain string) EgressListener {
	out := EgressListener{Spec: e.Spec, Hosts: make([]EgressHost, len(e.Hosts))}
	for i, h := range e.Hosts {
		if h.Namespace == "." {
			h.Namespace = namespace
		}
		if h.Namespace != "*" && h.Namespace != "~" {
			h.Host = string(host.Resolve(h.Host, h.Namespace, domain))
		}
		out.Hosts[i] = h
	}
	return out
}

// ParseEgressHost reads namespace/host.
func ParseEgressHost(s string) EgressHost {
	ns, name := host.SplitNamespaced(strings.ToLower(s))
	return EgressHost{Namespace: ns, Host: string(name)}
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
