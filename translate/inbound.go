package translate

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/cluster"
	"lateen.dev/lateen/translate/internal/dialect"
	"lateen.dev/lateen/translate/internal/listener"
	"lateen.dev/lateen/translate/internal/rbac"
	"lateen.dev/lateen/world"
)

// dryRunAnnotation makes an AuthorizationPolicy count without deciding.
const dryRunAnnotation = "istio.io/dry-run"

// policyInput collects the policies for a workload.
func policyInput(snap *world.Snapshot, namespace string, labels map[string]string) policies {
	mesh := snap.Mesh()
	out := policies{keep: snap.AuthorizationPolicies(namespace, labels)}
	out.TrustDomains = append([]string{mesh.TrustDomain}, mesh.Config.GetTrustDomainAliases()...)
	var refs strings.Builder
	for _, p := range out.keep {
		dry, err := strconv.ParseBool(p.Annotations[dryRunAnnotation])
		out.Policies = append(out.Policies, rbac.Policy{
			Namespace: p.Config.Namespace, Name: p.Config.Name, DryRun: err == nil && dry, Spec: p.Spec,
		})
		fmt.Fprintf(&refs, "%p,", p)
	}
	out.refs = refs.String()
	return out
}

// inboundInput is everything that a workload's own side depends on.
type inboundInput struct {
	env      listener.Env
	mesh     *model.Mesh
	chains   listener.Inbound
	clusters []cluster.InboundInput
	policies policies
	peer     *model.PeerAuth
	// grpc is set for a server that speaks xDS itself.
	grpc *grpcServer
	// served are the services whose ports these are.
	served []model.ServiceKey
}

// inboundOf collects what a sidecar's inbound side is made of.
func (t *Translator) inboundOf(gen *generation, p *model.Proxy, sidecar *model.Sidecar) *inboundInput {
	mesh := gen.snap.Mesh()
	d := dialect.Of(p)
	in := &inboundInput{
		env: listener.Env{Dialect: d, Mesh: mesh, Interception: p.Interception, IPv6: onlyIPv6(p.IPs), HTTP10: p.HTTP10,
			Logs: listener.LogsOf(mesh, gen.snap.Telemetries(p.Namespace, p.Labels))},
		mesh:     mesh,
		policies: policyInput(gen.snap, p.Namespace, p.Labels),
		peer:     gen.snap.PeerAuth(p.Namespace, p.Labels),
	}
	in.chains = listener.Inbound{
		Default:  in.peer.Default,
		Capture:  p.Interception != model.InterceptNone && !p.BindAddress.IsValid(),
		Policies: in.policies.Input,
	}
	if d.Flavor == model.GRPCClient {
		in.grpc = grpcServerOf(p)
	}
	switch {
	case in.grpc == nil && sidecar != nil && len(sidecar.Spec.GetIngress()) > 0:
		in.fromSidecar(p, sidecar)
	case p.Interception != model.InterceptNone || p.BindAddress.IsValid():
		in.fromServices(gen, p)
	}
	for _, port := range slices.Sorted(maps.Keys(in.peer.Ports)) {
		declared := slices.ContainsFunc(in.chains.Ports, func(q listener.InboundPort) bool { return q.Target == port })
		if !declared && in.chains.Capture {
			in.chains.Modes = append(in.chains.Modes, listener.InboundPort{Target: port, Mode: in.peer.Mode(port)})
		}
	}
	slices.SortFunc(in.chains.Ports, func(a, b listener.InboundPort) int { return int(a.Target) - int(b.Target) })
	return in
}

// fromServices takes the ports of the services that the workload serves. Of two services on one port the older one decides
// the protocol.
func (in *inboundInput) fromServices(gen *generation, p *model.Proxy) {
	instances := gen.snap.InstancesOf(p)
	slices.SortStableFunc(instances, func(a, b model.Instance) int { return a.Service.CompareAge(b.Service) })
	at := map[uint32]int{}
	for _, inst := range instances {
		in.served = append(in.served, inst.Service.Key())
		for _, port := range inst.Ports {
			if port.Port.Protocol == model.UDP {
				continue
			}
			if i, ok := at[port.Target]; ok {
				if port.Port.Number == in.chains.Ports[i].Service {
					in.clusters[i].Services = append(in.clusters[i].Services, inst.Service)
				}
				continue
			}
			at[port.Target] = len(in.chains.Ports)
			in.chains.Ports = append(in.chains.Ports, in.servicePort(p, inst.Service, port))
			c := cluster.InboundInput{
				Dialect: in.env.Dialect, Mesh: in.mesh, Target: port.Target, Port: port.Port,
				Services: []*model.Service{inst.Service}, IPv6: in.env.IPv6,
				Pool: gen.snap.DestinationRule(p.Namespace, inst.Service, p.Labels).Policy("", port.Port.Number).GetConnectionPool(),
			}
			if p.BindAddress.IsValid() {
				// The proxy stands outside; the address that clients dial is its own, not the workload's.
				c.EndpointHost, c.EndpointPort = in.env.Loopback(), port.Target
			}
			in.clusters = append(in.clusters, c)
		}
	}
}

func (in *inboundInput) servicePort(p *model.Proxy, svc *model.Service, port model.InstancePort) listener.InboundPort {
	out := listener.InboundPort{
		Target: port.Target, Service: port.Port.Number, Host: svc.Hostname, Protocol: port.Port.Protocol,
		Mode: in.peer.Mode(port.Target),
	}
	if p.BindAddress.IsValid() {
		out.Bind, out.Listen = p.BindAddress.String(), p.BindPort(port.Target)
	}
	return out
}

// fromSidecar takes the ports that the Sidecar declares, instead of those of services.
func (in *inboundInput) fromSidecar(p *model.Proxy, sidecar *model.Sidecar) {
	for _, i := range sidecar.Spec.GetIngress() {
		number := i.GetPort().GetNumber()
		if slices.ContainsFunc(in.chains.Ports, func(q listener.InboundPort) bool { return q.Target == number }) {
			continue
		}
		owner := sidecar.Config
		port := listener.InboundPort{
			Target: number, Service: number, Host: sidecar.Config.Name + "." + sidecar.Config.Namespace,
			Protocol: sidecarProtocol(i.GetPort()), Mode: in.peer.Mode(number), TLS: i.GetTls(), Owner: &owner, Origin: sidecar.Origin,
		}
		none := p.Interception == model.InterceptNone && i.GetCaptureMode() == networking.CaptureMode_DEFAULT
		switch {
		case p.BindAddress.IsValid():
			port.Bind, port.Listen = p.BindAddress.String(), p.BindPort(number)
		case none || i.GetCaptureMode() == networking.CaptureMode_NONE:
			port.Bind, port.Listen = i.GetBind(), number
			if port.Bind == "" {
				port.Bind = in.env.Wildcard()
			}
		}
		in.chains.Ports = append(in.chains.Ports, port)
		in.clusters = append(in.clusters, in.sidecarCluster(p, sidecar, i))
	}
}

func (in *inboundInput) sidecarCluster(p *model.Proxy, sidecar *model.Sidecar, i *networking.IstioIngressListener) cluster.InboundInput {
	pool := i.GetConnectionPool()
	if pool == nil {
		pool = sidecar.Spec.GetInboundConnectionPool()
	}
	out := cluster.InboundInput{
		Dialect: in.env.Dialect, Mesh: in.mesh, Target: i.GetPort().GetNumber(), Pool: pool, IPv6: in.env.IPv6,
		Port: &model.Port{Name: i.GetPort().GetName(), Number: i.GetPort().GetNumber(), Protocol: sidecarProtocol(i.GetPort())},
	}
	endpoint := i.GetDefaultEndpoint()
	if strings.HasPrefix(endpoint, unix) {
		out.EndpointHost = endpoint
		return out
	}
	host, port, _ := strings.Cut(endpoint, ":")
	if strings.HasPrefix(endpoint, "[") {
		if ap, err := netip.ParseAddrPort(endpoint); err == nil {
			host, port = ap.Addr().String(), strconv.Itoa(int(ap.Port()))
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil && !p.BindAddress.IsValid():
	case err != nil:
		out.EndpointHost, out.EndpointPort = in.env.Loopback(), out.Target
	default:
		out.EndpointHost, out.EndpointPort = host, uint32(n)
		if a, err := netip.ParseAddr(host); err == nil && a.IsUnspecified() {
			// 0.0.0.0 means the workload's own address.
			out.EndpointHost = in.env.Loopback()
			if len(p.IPs) > 0 && !p.BindAddress.IsValid() {
				out.EndpointHost = p.IPs[0].String()
			}
		}
	}
	return out
}

// ownPorts lists the ports on which the workload listens.
func (in *inboundInput) ownPorts() string {
	var out []string
	for _, p := range in.chains.Ports {
		out = append(out, itoa(p.Target))
	}
	return strings.Join(out, ",")
}

// made makes the inbound side, or finds it made of the same.
func (in *inboundInput) made(t *Translator, gen *generation) *inbound {
	return t.answers.inbounds.get(gen.seq, in.describe(func(name string) string { return name }), func() *inbound {
		shape, names, ok := in.shape()
		if !ok {
			return in.make()
		}
		known := t.answers.inboundShapes.get(gen.seq, shape, func() *inboundShape { return &inboundShape{keep: in} })
		return known.inbound(in, names)
	})
}

func (in *inboundInput) make() *inbound {
	out := &inbound{keep: in}
	if in.grpc != nil {
		out.listeners = in.grpcListeners()
		return out
	}
	listeners, clusters := in.messages()
	for _, l := range listeners {
		out.listeners = append(out.listeners, resource(l.GetName(), l))
	}
	for _, c := range clusters {
		out.clusters = append(out.clusters, resource(c.GetName(), c))
	}
	return out
}

func (in *inboundInput) messages() (listeners []*listenerv3.Listener, clusters []*clusterv3.Cluster) {
	listeners = in.env.Inbound(in.chains)
	if in.chains.Capture {
		clusters = append(clusters, cluster.InboundPassthrough(in.mesh, in.env.IPv6))
	}
	for _, c := range in.clusters {
		clusters = append(clusters, cluster.Inbound(c))
	}
	return listeners, clusters
}

// describe writes down everything the inbound side depends on, for a memo's key. What its pointers stand for is kept alive
// by the answer. The names of services go through name.
func (in *inboundInput) describe(name func(string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v %p %t %t %v %+v %s", in.env.Dialect, in.mesh, in.env.IPv6, in.env.HTTP10, in.env.Interception, in.env.Logs, in.policies.in(in.env.Dialect))
	fmt.Fprintf(&b, "|%v %t", in.chains.Default, in.chains.Capture)
	if in.grpc != nil {
		fmt.Fprintf(&b, " %v", *in.grpc)
	}
	for _, list := range [][]listener.InboundPort{in.chains.Ports, in.chains.Modes} {
		b.WriteByte('|')
		for _, p := range list {
			fmt.Fprintf(&b, "%d %d %q %v %v %p %q %d", p.Target, p.Service, name(p.Host), p.Protocol, p.Mode, p.TLS, p.Bind, p.Listen)
			if p.Owner != nil {
				fmt.Fprintf(&b, " %s %s", p.Owner, p.Origin)
			}
			b.WriteByte(',')
		}
	}
	for _, c := range in.clusters {
		fmt.Fprintf(&b, "|%d %v %p %q %d", c.Target, c.Port.Protocol, c.Pool, c.EndpointHost, c.EndpointPort)
		for _, s := range c.Services {
			fmt.Fprintf(&b, " %q %q %q", name(s.Namespace), name(s.Hostname), name(s.Name))
		}
	}
	return b.String()
}
