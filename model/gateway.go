package model

import (
	"maps"
	"slices"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
)

// Gateway is Istio's Gateway with its servers' hosts split and its names resolved.
type Gateway struct {
	Config       config.Key
	Origin       config.Origin
	CreationTime time.Time
	// Selector chooses the gateway proxies by their labels. An empty one chooses all.
	Selector map[string]string
	Servers  []*Server
	Spec     *networking.Gateway
}

// Name returns namespace/name, as VirtualServices refer to it.
func (g *Gateway) Name() string { return g.Config.Namespace + "/" + g.Config.Name }

// Server is one server of a Gateway.
type Server struct {
	// Index is the server's position in its Gateway.
	Index    int
	Port     uint32
	PortName string
	Protocol Protocol
	Bind     string
	Hosts    []ServerHost
	TLS      *networking.ServerTLSSettings
	Spec     *networking.Server
}

// ServerHost is a host that a server takes, and from which namespace a VirtualService may bind to it.
type ServerHost struct {
	// Namespace is a namespace, or "*" for any. "." was resolved to the Gateway's own.
	Namespace string
	Host      string
}

// Admits returns which of a route's hosts the server takes, narrowed to what both stand for: of two overlapping names the
// more specific one.
func (s *Server) Admits(v *VirtualService) []string {
	var out []string
	for _, host := range v.Hosts {
		for _, h := range s.Hosts {
			if h.Namespace != "*" && h.Namespace != v.Namespace {
				continue
			}
			switch {
			case HostSubsetOf(host, h.Host):
				out = appendNew(out, host)
			case HostSubsetOf(h.Host, host):
				out = appendNew(out, h.Host)
			}
		}
	}
	return out
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// ParseServerHost reads namespace/host or host.
func ParseServerHost(s, namespace string) ServerHost {
	ns, host, found := strings.Cut(s, "/")
	if !found {
		return ServerHost{Namespace: "*", Host: strings.ToLower(s)}
	}
	if ns == "." {
		ns = namespace
	}
	return ServerHost{Namespace: ns, Host: strings.ToLower(host)}
}

// CompareAge orders gateways by age, name and namespace.
func (g *Gateway) CompareAge(o *Gateway) int {
	return CompareAge(g.CreationTime, g.Config, o.CreationTime, o.Config)
}

// Equal reports whether both say the same.
func (g *Gateway) Equal(o *Gateway) bool {
	if g == o {
		return true
	}
	if g == nil || o == nil {
		return false
	}
	return g.Config == o.Config && samePlace(g.Origin, o.Origin) && g.CreationTime.Equal(o.CreationTime) &&
		maps.Equal(g.Selector, o.Selector) && equalMessages(g.Spec, o.Spec)
}
