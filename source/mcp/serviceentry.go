package mcp

import (
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/config/protocol"
	"lateen.dev/lateen/source"
)

// syntheticPrefix is istiod's, for ServiceEntries that stand for Services.
const syntheticPrefix = "synthetic-"

// serviceEntry is a Service's change as one of the ServiceEntry that stands for
// it: its endpoints are the WorkloadEntries that the Service selects.
func serviceEntry(c source.Change) source.Change {
	key := config.Key{Kind: config.ServiceEntry, Namespace: c.Key.Namespace, Name: syntheticPrefix + c.Key.Name}
	spec := (*config.ServiceSpec)(nil)
	if c.Object != nil {
		spec = config.As[*config.ServiceSpec](c.Object)
	}
	if spec == nil || len(spec.Ports) == 0 {
		return source.Drop(key)
	}
	se := &networking.ServiceEntry{
		Hosts:     []string{c.Key.Name + "." + c.Key.Namespace + ".svc." + host.DefaultDomain},
		Addresses: spec.Addresses(), Location: networking.ServiceEntry_MESH_INTERNAL, Resolution: networking.ServiceEntry_STATIC,
	}
	switch {
	case spec.Type == "ExternalName":
		se.Resolution = networking.ServiceEntry_DNS
		se.Endpoints = []*networking.WorkloadEntry{{Address: spec.ExternalName}}
	case len(spec.Selector) > 0:
		se.WorkloadSelector = &networking.WorkloadSelector{Labels: spec.Selector}
	}
	for _, p := range spec.Ports {
		port := &networking.ServicePort{Number: uint32(p.Port), Name: p.Name, Protocol: protocolName(p), TargetPort: uint32(p.TargetPort.Number)}
		if port.Name == "" {
			port.Name = "port-" + config.PortTarget{Number: p.Port}.String()
		}
		se.Ports = append(se.Ports, port)
	}
	o := *c.Object
	o.Key, o.Spec = key, se
	return source.Put(&o)
}

// protocolName is the port's as a ServiceEntry has it; TCP if nothing was said,
// as istiod says it.
func protocolName(p config.ServicePort) string {
	if known := protocol.OfPort(p.Protocol, p.Name, p.AppProtocol, uint32(p.Port)); known != protocol.Unsupported {
		return known.String()
	}
	return protocol.TCP.String()
}
