package translate

import (
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/listener"
	"lateen.dev/lateen/translate/internal/naming"
	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

// scope is what one group sees of one Snapshot, while it is translated.
type scope struct {
	t     *Translator
	gen   *generation
	key   *groupKey
	snap  *world.Snapshot
	mesh  *model.Mesh
	env   listener.Env
	world *world.Scope
	// labels are those of the proxy that matter.
	labels map[string]string
	rules  map[*model.Service]*model.DestinationRule
	kept   *kept
	// sameServices says that services and their rules are those for which kept was made.
	sameServices bool
}

func newScope(t *Translator, gen *generation, g *group) *scope {
	s := &scope{
		t: t, gen: gen, key: &g.key, snap: gen.snap, mesh: gen.snap.Mesh(),
		labels: labelsOf(g.key.labels), rules: g.rules, kept: &g.kept,
	}
	s.env = listener.Env{Dialect: g.key.dialect, Mesh: s.mesh, Interception: g.key.interception, IPv6: g.key.ipv6, HTTP10: g.key.http10,
		Logs: listener.LogsOf(s.mesh, s.snap.Telemetries(g.key.namespace, s.labels))}
	var sidecar *model.Sidecar
	if g.key.hasSidecar {
		sidecar = s.snap.Sidecar(g.key.namespace, s.labels)
	}
	s.world = s.snap.Scope(g.key.namespace, sidecar)
	return s
}

func (s *scope) gateway() bool { return s.key.proxy == model.GatewayProxy }

// rule finds the destination rule for a service, once per group and change of rules.
func (s *scope) rule(svc *model.Service) *model.DestinationRule {
	if r, ok := s.rules[svc]; ok {
		return r
	}
	r := s.snap.DestinationRule(s.key.namespace, svc, s.labels)
	s.rules[svc] = r
	return r
}

// whole returns the service with all its ports, of which the scope may have only some. Answers are remembered under it.
func (s *scope) whole(svc *model.Service) *model.Service {
	if s.world.Sidecar == nil {
		return svc
	}
	if w := s.snap.Service(svc.Key()); w != nil {
		return w
	}
	return svc
}

// addresses are the VIPs and CIDRs under which the workload's connections to the service arrive. Allocated addresses count
// only where the workload's DNS hands them out.
func (s *scope) addresses(svc *model.Service) []string {
	var out []string
	for _, p := range svc.Addresses {
		if p.IsSingleIP() {
			out = append(out, p.Addr().String())
		} else {
			out = append(out, p.String())
		}
	}
	if len(out) > 0 || !s.key.dns || s.gateway() {
		return out
	}
	for _, a := range svc.AutoAddresses {
		if a.Is4() != s.key.ipv6 {
			out = append(out, a.String())
		}
	}
	return out
}

// unknown is the cluster for traffic to destinations that nobody declared.
func (s *scope) unknown() string {
	policy := s.outboundPolicy()
	if policy.mode != networking.OutboundTrafficPolicy_ALLOW_ANY {
		return naming.BlackHoleCluster
	}
	if e := policy.egress; e != nil {
		return naming.Outbound(e.GetPort().GetNumber(), e.GetSubset(), e.GetHost())
	}
	return naming.PassthroughCluster
}

type outboundPolicy struct {
	mode   networking.OutboundTrafficPolicy_Mode
	egress *networking.Destination
}

// outboundPolicy is the Sidecar's, else the mesh's, else ALLOW_ANY.
func (s *scope) outboundPolicy() outboundPolicy {
	if s.world.Sidecar != nil {
		if p := s.world.Sidecar.Spec.GetOutboundTrafficPolicy(); p != nil {
			return outboundPolicy{p.GetMode(), p.GetEgressProxy()}
		}
	}
	// The enumerations of both APIs have names in common, not numbers.
	switch p := s.mesh.Config.GetOutboundTrafficPolicy(); {
	case p == nil, strings.HasPrefix(p.GetMode().String(), "ALLOW_ANY"):
		return outboundPolicy{mode: networking.OutboundTrafficPolicy_ALLOW_ANY}
	default:
		return outboundPolicy{mode: networking.OutboundTrafficPolicy_REGISTRY_ONLY}
	}
}

// target finds the service and port that a destination of a route means, on a listener for the given port: the port named,
// else the listener's if the service has it, else the service's only one.
func (s *scope) target(d *networking.Destination, listen uint32) (svc *model.Service, host string, port uint32) {
	host, port = d.GetHost(), listen
	svc = s.world.Service(host)
	if svc != nil && svc.Resolution == model.Alias {
		host = svc.ExternalName
		svc = s.world.Service(host)
	}
	if d.GetPort().GetNumber() != 0 {
		return svc, host, d.GetPort().GetNumber()
	}
	if svc != nil {
		if p, _ := svc.Port(listen); p == nil {
			if all := s.whole(svc).Ports; len(all) == 1 {
				port = all[0].Number
			}
		}
	}
	return svc, host, port
}

// resource packs a message as the resource of that name.
func resource(name string, m proto.Message) *xds.Resource { return xds.FromAny(name, pb.Any(m)) }
