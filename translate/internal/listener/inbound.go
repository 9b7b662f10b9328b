package listener

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/translate/internal/rbac"
	"lateen.dev/lateen/translate/internal/route"
	"lateen.dev/lateen/translate/internal/tlsctx"
)

// InboundPort is one of the workload's ports as its clients know it.
type InboundPort struct {
	// Target is the workload's port, Service the service's; Host is the service's name for traces.
	Target, Service uint32
	Host            string
	Protocol        model.Protocol
	Mode            model.MTLSMode
	// TLS is what a Sidecar's ingress listener terminates itself. It holds only where mutual TLS is off.
	TLS *networking.ServerTLSSettings
	// Bind is the address of a listener of its own, and Listen its port; without, the port is a part of virtualInbound.
	Bind   string
	Listen uint32
	// Owner is the Sidecar that declared the port, if one did.
	Owner  *model.ConfigKey
	Origin model.Origin
}

// Inbound is everything on the side where others call the workload.
type Inbound struct {
	Ports []InboundPort
	// Default is the mode of ports that nobody declared; Modes are undeclared ports that differ from it.
	Default model.MTLSMode
	Modes   []InboundPort
	// Capture says that connections are redirected to virtualInbound.
	Capture  bool
	Policies rbac.Input
}

// Inbound makes the inbound listeners of a sidecar.
func (e Env) Inbound(in Inbound) []*listenerv3.Listener {
	var chains []*listenerv3.FilterChain
	var out []*listenerv3.Listener
	for _, p := range in.Ports {
		made := e.portChains(p, in.Policies)
		if p.Bind != "" {
			out = append(out, e.inboundListener(naming.Listener(p.Bind, p.Listen), p.Bind, p.Listen, false, made))
			continue
		}
		chains = append(chains, made...)
	}
	if !in.Capture {
		return out
	}
	port := uint32(e.Mesh.Config.GetProxyInboundListenPort())
	all := []*listenerv3.FilterChain{e.blackHole(naming.InboundBlackHole, port, InboundSide)}
	all = append(all, e.passthroughChains(in)...)
	all = append(all, chains...)
	return append([]*listenerv3.Listener{e.inboundListener(naming.VirtualInbound, e.Wildcard(), port, true, all)}, out...)
}

func (e Env) inboundListener(name, bind string, port uint32, captured bool, chains []*listenerv3.FilterChain) *listenerv3.Listener {
	out := &listenerv3.Listener{
		Name:                             name,
		Address:                          pb.Address(bind, port),
		TrafficDirection:                 corev3.TrafficDirection_INBOUND,
		FilterChains:                     chains,
		ContinueOnListenerFiltersTimeout: true,
		ListenerFiltersTimeout:           e.Mesh.Config.GetProtocolDetectionTimeout(),
		AccessLog:                        e.listenerLog(InboundSide),
	}
	if captured {
		out.ListenerFilters = append(out.ListenerFilters, originalDst())
		if e.Interception == model.InterceptTProxy {
			out.Transparent = pb.Bool(true)
			out.ListenerFilters = append(out.ListenerFilters, originalSrc())
		}
	}
	out.ListenerFilters = append(out.ListenerFilters, inspectors(chains)...)
	return out
}

// match is one chain of a port: what selects it, whether it terminates mutual TLS, what it speaks.
type match struct {
	alpn      []string
	transport string
	mtls      bool
	http      bool
}

// The ALPN names by which proxies of the mesh announce what they send.
func meshHTTP() []string { return []string{"istio-http/1.0", "istio-http/1.1", "istio-h2"} }
func meshTCP() []string  { return []string{"istio-peer-exchange", "istio"} }
func meshAny() []string {
	return []string{"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"}
}
func plainHTTP() []string { return []string{"http/1.1", "h2c"} }

// matches is the table of Istio's inbound chains by mode and by what the port speaks.
func matches(mode model.MTLSMode, k Kind) []match {
	switch mode {
	case model.MTLSStrict:
		return strictMatches(k)
	case model.MTLSPermissive:
		return permissiveMatches(k)
	default:
		return plainMatches(k)
	}
}

func strictMatches(k Kind) []match {
	switch k {
	case KindHTTP:
		return []match{{transport: tls, mtls: true, http: true}}
	case KindTCP:
		return []match{{transport: tls, mtls: true}}
	default:
		return []match{
			{alpn: meshHTTP(), transport: tls, mtls: true, http: true},
			{transport: tls, mtls: true},
		}
	}
}

func permissiveMatches(k Kind) []match {
	switch k {
	case KindHTTP:
		return []match{
			{alpn: meshAny(), transport: tls, mtls: true, http: true},
			{transport: rawBuffer, http: true},
		}
	case KindTCP:
		return []match{
			{alpn: meshAny(), transport: tls, mtls: true},
			{transport: rawBuffer},
			{transport: tls}, // the application's own TLS
		}
	default:
		return []match{
			{alpn: meshHTTP(), transport: tls, mtls: true, http: true},
			{alpn: plainHTTP(), transport: rawBuffer, http: true},
			{alpn: meshTCP(), transport: tls, mtls: true},
			{transport: rawBuffer},
			{transport: tls},
		}
	}
}

func plainMatches(k Kind) []match {
	switch k {
	case KindHTTP:
		return []match{{transport: rawBuffer, http: true}}
	case KindTCP:
		// The application may speak TLS of its own, so no transport is asked for.
		return []match{{}}
	default:
		return []match{
			{alpn: plainHTTP(), transport: rawBuffer, http: true},
			{},
		}
	}
}

func (e Env) portChains(p InboundPort, policies rbac.Input) []*listenerv3.FilterChain {
	bind := p.Bind
	if bind == "" {
		bind = e.Wildcard()
	}
	c := chain{
		name:     naming.Listener(bind, p.Target),
		cluster:  naming.Inbound(p.Target),
		stat:     httpStat(InboundSide, naming.Listener(bind, p.Target)),
		port:     p,
		policies: policies,
	}
	table := matches(p.Mode, KindOf(p.Protocol))
	if p.TLS != nil && p.Mode == model.MTLSDisable {
		c.terminate = tlsctx.Terminate(e.Dialect, e.Mesh, p.TLS, p.Protocol.IsHTTP() || p.Protocol == model.HTTPS)
		table = []match{{transport: tls, mtls: true, http: p.Protocol.IsHTTP() || p.Protocol == model.HTTPS}}
	}
	var out []*listenerv3.FilterChain
	for _, m := range table {
		out = append(out, e.inboundChain(c, m))
	}
	if p.Owner != nil {
		for _, fc := range out {
			fc.Metadata = pb.SetMetadata(nil, naming.IstioMetadata, "config", pb.String(naming.Config(*p.Owner)))
			fc.Metadata = naming.Describe(fc.Metadata, *p.Owner, p.Origin, "")
		}
	}
	return out
}

// passthroughChains take what no declared port takes. A port of its own mode gets its own chains, so that a port that is
// STRICT in a PeerAuthentication is so even when no service declares it.
func (e Env) passthroughChains(in Inbound) []*listenerv3.FilterChain {
	ports := append([]InboundPort{{Mode: in.Default}}, in.Modes...)
	var out []*listenerv3.FilterChain
	for _, p := range ports {
		c := chain{
			cluster:  naming.InboundPassthroughCluster,
			stat:     naming.Stat(naming.InboundPassthroughCluster),
			port:     p,
			policies: in.Policies,
		}
		for _, m := range matches(p.Mode, KindAuto) {
			c.name = naming.VirtualInbound
			if m.http {
				c.name = naming.InboundCatchAllHTTP
			}
			out = append(out, e.inboundChain(c, m))
		}
	}
	return out
}

// chain is what the chains of one port have in common.
type chain struct {
	name, cluster, stat string
	port                InboundPort
	policies            rbac.Input
	terminate           *tlsv3.DownstreamTlsContext
}

func (e Env) inboundChain(c chain, m match) *listenerv3.FilterChain {
	out := &listenerv3.FilterChain{
		Name:             c.name,
		FilterChainMatch: &listenerv3.FilterChainMatch{ApplicationProtocols: m.alpn, TransportProtocol: m.transport},
	}
	if c.port.Target > 0 && c.port.Bind == "" {
		out.FilterChainMatch.DestinationPort = wrapPort(c.port.Target)
	}
	switch {
	case c.terminate != nil:
		out.TransportSocket = tlsctx.Socket(c.terminate)
	case m.mtls:
		out.TransportSocket = tlsctx.Socket(tlsctx.Server(e.Dialect, e.Mesh, m.http))
	}
	if !m.http {
		out.Filters = e.tcpFilters(TCP{Side: InboundSide, Stat: c.cluster, Clusters: To(c.cluster), Policies: c.policies})
		return out
	}
	out.Filters = append(e.networkMetadata(), e.connectionManager(HTTP{
		Side:     InboundSide,
		Stat:     c.stat,
		Protocol: c.port.Protocol,
		Policies: c.policies,
		Routes:   inboundRoutes(c.cluster, c.port),
	}))
	return out
}

func inboundRoutes(cluster string, p InboundPort) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: cluster,
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    "inbound|http|" + itoa(p.Service),
			Domains: []string{"*"},
			Routes:  []*routev3.Route{route.Inbound(cluster, p.Host+":"+itoa(p.Service)+"/*")},
		}},
		ValidateClusters: pb.Bool(false),
	}
}

func wrapPort(port uint32) *wrapperspb.UInt32Value { return pb.UInt32(port) }
