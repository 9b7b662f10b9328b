// Package naming holds the names that Istio gives to Envoy resources and that tools, dashboards and other proxies of the
// mesh rely on. It is called throughout room translate. Pure; safe for any number of goroutines.
//
// May import: model, translate/internal/pb.
package naming

import (
	"net"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/pb"
)

// Clusters, virtual hosts, listeners and chains that exist once in a proxy.
const (
	PassthroughCluster        = "PassthroughCluster"
	BlackHoleCluster          = "BlackHoleCluster"
	InboundPassthroughCluster = "InboundPassthroughCluster"
	AllowAny                  = "allow_any"
	BlockAll                  = "block_all"

	VirtualOutbound          = "virtualOutbound"
	VirtualInbound           = "virtualInbound"
	OutboundCatchAll         = "virtualOutbound-catchall-tcp"
	OutboundBlackHole        = "virtualOutbound-blackhole"
	InboundCatchAllHTTP      = "virtualInbound-catchall-http"
	InboundBlackHole         = "virtualInbound-blackhole"
	PassthroughFilterChain   = "PassthroughFilterChain"
	HTTPProxyRoute           = "http_proxy"
	IstioMetadata            = "istio"
	LateenMetadata           = "lateen"
	TransportSocketMatchMeta = "envoy.transport_socket_match"
)

// Outbound is the cluster of a service's port and subset ("" for all endpoints).
func Outbound(port uint32, subset, host string) string {
	return "outbound|" + itoa(port) + "|" + subset + "|" + host
}

// OutboundSNI is the server name by which the cluster's traffic is recognised on the wire; like Outbound, but without
// characters that a DNS name may not have.
func OutboundSNI(port uint32, subset, host string) string {
	return "outbound_." + itoa(port) + "_." + subset + "_." + host
}

// Inbound is the cluster of one of the workload's own ports.
func Inbound(port uint32) string { return "inbound|" + itoa(port) + "||" }

// Listener is the name of a listener at host and port.
func Listener(host string, port uint32) string { return host + "_" + itoa(port) }

// VirtualHost is host:port, with brackets around an IPv6 address.
func VirtualHost(host string, port uint32) string { return net.JoinHostPort(host, itoa(port)) }

// Stat marks the end of a stat prefix, so that names with dots in them can be told from the rest.
func Stat(name string) string { return name + ";" }

// Config is the path of a configuration object as Istio writes it into metadata.
func Config(k model.ConfigKey) string {
	api := k.Kind.Version()
	if k.Kind.Group() != "" {
		api = k.Kind.Group() + "/" + api
	}
	return "/apis/" + api + "/namespaces/" + k.Namespace + "/" + kebab(k.Kind.String()) + "/" + k.Name
}

// kebab writes VirtualService as virtual-service.
func kebab(s string) string {
	var b strings.Builder
	for i, r := range s {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// Describe adds what explain tells about a resource: the object that made it, where that was read, and which of its rules
// ("http[0].match[1]") it is.
func Describe(md *corev3.Metadata, key model.ConfigKey, origin model.Origin, rule string) *corev3.Metadata {
	md = pb.SetMetadata(md, LateenMetadata, "object", pb.String(key.String()))
	place := origin.Position
	if rule != "" {
		md = pb.SetMetadata(md, LateenMetadata, "rule", pb.String(rule))
		place = origin.At("spec." + rule)
	}
	place.Column = 0
	if at := place.String(); at != "" {
		md = pb.SetMetadata(md, LateenMetadata, "origin", pb.String(at))
	}
	return md
}
