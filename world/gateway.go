package world

import (
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/protocol"
	"lateen.dev/lateen/model"
)

// gatewayOf reads a Gateway.
func gatewayOf(o *config.Object) (*model.Gateway, bool) {
	spec := config.As[*networking.Gateway](o)
	if spec == nil {
		return nil, false
	}
	g := &model.Gateway{Config: o.Key, Origin: o.Origin, CreationTime: o.Created, Selector: spec.GetSelector(), Spec: spec}
	for i, s := range spec.GetServers() {
		server := &model.Server{
			Index: i, Port: s.GetPort().GetNumber(), PortName: s.GetPort().GetName(),
			Protocol: protocol.Parse(s.GetPort().GetProtocol()), Bind: s.GetBind(), TLS: s.GetTls(), Spec: s,
		}
		for _, h := range s.GetHosts() {
			server.Hosts = append(server.Hosts, model.ParseServerHost(h, o.Namespace))
		}
		g.Servers = append(g.Servers, server)
	}
	return g, true
}

// sidecarOf reads a Sidecar.
func sidecarOf(o *config.Object) (*model.Sidecar, bool) {
	spec := config.As[*networking.Sidecar](o)
	if spec == nil {
		return nil, false
	}
	s := &model.Sidecar{
		Config: o.Key, Origin: o.Origin, CreationTime: o.Created, Namespace: o.Namespace,
		Selector: matchLabels(spec.GetWorkloadSelector().GetLabels()), Spec: spec,
	}
	for _, e := range spec.GetEgress() {
		l := model.EgressListener{Spec: e}
		for _, h := range e.GetHosts() {
			l.Hosts = append(l.Hosts, model.ParseEgressHost(h))
		}
		s.Egress = append(s.Egress, l)
	}
	return s, true
}

// matchLabels returns nil for a selector that says nothing, which is as if it had not been written.
func matchLabels(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}
