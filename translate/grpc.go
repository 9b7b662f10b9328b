package translate

import (
	"net"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/cluster"
	"lateen.dev/lateen/translate/internal/listener"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/translate/internal/rbac"
	"lateen.dev/lateen/translate/internal/tlsctx"
	"lateen.dev/lateen/xds"
)

// This file is for client libraries that speak xDS without a proxy (GENERATOR:
// grpc). They ask for a listener by the name that they dial, and follow it to a
// route configuration, clusters and endpoints, each by name. A server asks for a
// listener by the address at which it listens.

// grpcServerListener begins the names of servers' listeners.
const grpcServerListener = "xds.istio.io/grpc/lds/inbound/"

// updateGRPC is update for a client library.
func (g *group) updateGRPC(s *scope, w work) {
	if w.clusters {
		g.sets.clusters = replace(g.sets.clusters, xds.NewSet(xds.ClusterType, s.grpcClusters()))
	}
	g.updateEndpoints(s, w)
	if w.listeners || w.routes {
		listeners, routes := s.grpcListeners()
		g.sets.listeners = replace(g.sets.listeners, xds.NewSet(xds.ListenerType, listeners))
		g.sets.routes = replace(g.sets.routes, xds.NewSet(xds.RouteType, routes))
	}
}

// grpcClusters are those of services whose endpoints are known: the library
// resolves no names.
func (s *scope) grpcClusters() []*xds.Resource {
	return s.forSubsets(func(svc *model.Service, port *model.Port, rule *model.DestinationRule, subset string) *xds.Resource {
		policy := rule.Policy(subset, port.Number)
		if cluster.Type(svc, policy, s.gateway()) != clusterv3.Cluster_EDS {
			return nil
		}
		c := &clusterv3.Cluster{
			Name:                 naming.Outbound(port.Number, subset, svc.Hostname),
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			LbPolicy:             clusterv3.Cluster_ROUND_ROBIN,
		}
		c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{ServiceName: c.Name, EdsConfig: pb.ADS()}
		if policy.GetLoadBalancer().GetConsistentHash() != nil {
			c.LbPolicy = clusterv3.Cluster_RING_HASH
		}
		// A library that was made without credentials of its own for xDS ignores the
		// socket, and can't speak to those that take both: it is there when asked for.
		if policy.GetTls().GetMode() == networking.ClientTLSSettings_ISTIO_MUTUAL {
			c.TransportSocket = tlsctx.Socket(&tlsv3.UpstreamTlsContext{CommonTlsContext: grpcTLS(s.snap.Endpoints(svc.Key()).Identities())})
		}
		return resource(c.Name, c)
	})
}

// grpcTLS names certificate and roots as instances of the library's bootstrap
// file, which istio-agent writes.
func grpcTLS(identities []string) *tlsv3.CommonTlsContext {
	const instance = "default"
	roots := &tlsv3.CertificateValidationContext{
		CaCertificateProviderInstance: &tlsv3.CertificateProviderPluginInstance{InstanceName: instance, CertificateName: "ROOTCA"},
	}
	for _, id := range identities {
		//lint:ignore SA1019 the client library reads this field and not the one that follows it
		roots.MatchSubjectAltNames = append(roots.MatchSubjectAltNames, pb.Exact(id))
	}
	return &tlsv3.CommonTlsContext{
		TlsCertificateProviderInstance: &tlsv3.CertificateProviderPluginInstance{InstanceName: instance, CertificateName: "default"},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{DefaultValidationContext: roots},
		},
	}
}

// grpcListeners are a listener for each name under which a port can be dialled,
// and a route configuration for each port.
func (s *scope) grpcListeners() (listeners, routes []*xds.Resource) {
	dialled := map[string]bool{}
	for _, e := range s.world.Egress {
		for _, svc := range e.Services {
			if svc.Resolution == model.Alias {
				continue
			}
			for i := range svc.Ports {
				port := &svc.Ports[i]
				table := naming.Outbound(port.Number, "", svc.Hostname)
				if port.Protocol == model.UDP || listener.KindOf(port.Protocol) == listener.KindTCP || dialled[table] {
					continue
				}
				dialled[table] = true
				routes = append(routes, s.grpcRoutes(table, svc, port))
				for _, host := range s.shortNames(svc.Hostname) {
					name := net.JoinHostPort(host, strconv.Itoa(int(port.Number)))
					if !dialled[name] {
						dialled[name] = true
						listeners = append(listeners, grpcListener(name, table))
					}
				}
			}
		}
	}
	return listeners, routes
}

func grpcListener(name, table string) *xds.Resource {
	return resource(name, &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: pb.Any(&hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: pb.ADS(), RouteConfigName: table}},
		HttpFilters: []*hcmv3.HttpFilter{
			{Name: "envoy.filters.http.fault", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pb.Any(&faultv3.HTTPFault{})}},
			grpcRouter(),
		},
	})}})
}

func grpcRouter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pb.Any(&routerv3.Router{})}}
}

// grpcRoutes is the route configuration of one port: one virtual host, whose
// routes hold the service's rules.
func (s *scope) grpcRoutes(name string, svc *model.Service, port *model.Port) *xds.Resource {
	out := &routev3.RouteConfiguration{Name: name}
	for _, h := range s.virtualHosts(routeTableName{name: name, egress: -1, port: port.Number, only: svc.Hostname}) {
		host := &routev3.VirtualHost{}
		unmarshal(h.body(), host)
		host.Domains = []string{"*"}
		for _, r := range host.GetRoutes() {
			if a := r.GetRoute(); a.GetTimeout().AsDuration() > 0 {
				// What a proxy takes from a header, the library knows itself.
				a.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: a.GetTimeout()}
			}
		}
		out.VirtualHosts = append(out.VirtualHosts, host)
	}
	return resource(name, out)
}

// grpcServer is what a server that speaks xDS itself listens with.
type grpcServer struct {
	addresses []string
	// secured: clients know that it takes mutual TLS, so that it takes nothing else;
	// the library can't tell the two apart.
	secured bool
}

func grpcServerOf(p *model.Proxy) *grpcServer {
	out := &grpcServer{addresses: []string{anyIPv4, anyIPv6}, secured: p.Labels["security.istio.io/tlsMode"] == model.TLSModeIstio}
	for _, ip := range p.IPs {
		out.addresses = append(out.addresses, ip.String())
	}
	return out
}

// grpcListeners are a server's, for each port under each address by which it may
// ask.
func (in *inboundInput) grpcListeners() []*xds.Resource {
	var out []*xds.Resource
	for _, port := range in.chains.Ports {
		chain := in.grpcChain(port.Mode == model.MTLSStrict || in.grpc.secured && port.Mode != model.MTLSDisable)
		for _, address := range in.grpc.addresses {
			name := grpcServerListener + net.JoinHostPort(address, strconv.Itoa(int(port.Target)))
			out = append(out, resource(name, &listenerv3.Listener{Name: name, FilterChains: []*listenerv3.FilterChain{chain},
				Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
					Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port.Target}}}}}))
		}
	}
	return out
}

func (in *inboundInput) grpcChain(mtls bool) *listenerv3.FilterChain {
	var filters []*hcmv3.HttpFilter
	for i, f := range rbac.HTTP(in.chains.Policies) {
		if i > 0 {
			f.Name += "." + strconv.Itoa(i) // the library wants different names
		}
		filters = append(filters, f)
	}
	all := &routev3.Route{Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_NonForwardingAction{NonForwardingAction: &routev3.NonForwardingAction{}}}
	manager := &hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{Name: "inbound",
			VirtualHosts: []*routev3.VirtualHost{{Name: "inbound", Domains: []string{"*"}, Routes: []*routev3.Route{all}}}}},
		HttpFilters: append(filters, grpcRouter()),
	}
	out := &listenerv3.FilterChain{Name: "inbound-plaintext", Filters: []*listenerv3.Filter{{
		Name: "envoy.filters.network.http_connection_manager", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pb.Any(manager)}}}}
	if mtls {
		out.Name = "inbound-mtls"
		out.TransportSocket = tlsctx.Socket(&tlsv3.DownstreamTlsContext{CommonTlsContext: grpcTLS(nil), RequireClientCertificate: pb.Bool(true)})
	}
	return out
}
