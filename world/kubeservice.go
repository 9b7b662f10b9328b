package world

import (
	"net/netip"
	"strings"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/config/protocol"
	"lateen.dev/lateen/model"
)

// Annotations of Services that have behaviour in them.
const (
	annotationExportTo            = "networking.istio.io/exportTo"
	annotationTrafficDistribution = "networking.istio.io/traffic-distribution"
)

// fromKubernetes reads a Kubernetes Service.
func fromKubernetes(o *config.Object, mesh *model.Mesh) *model.Service {
	spec := config.As[*config.ServiceSpec](o)
	if spec == nil {
		return nil
	}
	s := &model.Service{
		Hostname: string(host.FQDN(o.Name, o.Namespace, mesh.Domain)), Namespace: o.Namespace, Name: o.Name,
		Registry: model.KubernetesRegistry, Resolution: model.Static,
		ExportTo:            model.ParseExportTo(splitList(o.Annotations[annotationExportTo]), o.Namespace, mesh.DefaultServiceExportTo),
		PublishNotReady:     spec.PublishNotReadyAddresses,
		NodeLocal:           spec.InternalTrafficPolicy == "Local",
		SessionAffinity:     spec.SessionAffinity == "ClientIP",
		TrafficDistribution: o.Annotations[annotationTrafficDistribution],
		Labels:              o.Labels, CreationTime: o.Created, Config: o.Key, Origin: o.Origin,
	}
	if s.TrafficDistribution == "" {
		s.TrafficDistribution = spec.TrafficDistribution
	}
	if len(spec.Selector) > 0 {
		s.Selector = spec.Selector
	}
	switch {
	case spec.Type == "ExternalName":
		s.Resolution, s.ExternalName, s.Selector = model.DNS, strings.ToLower(strings.TrimSuffix(spec.ExternalName, ".")), nil
	case spec.Headless():
		s.Resolution, s.Headless = model.Passthrough, true
	}
	s.Addresses = parsePrefixes(spec.Addresses())
	for _, p := range spec.Ports {
		s.Ports = append(s.Ports, kubernetesPort(p))
	}
	return s
}

func kubernetesPort(p config.ServicePort) model.Port {
	number := uint32(p.Port)
	target := p.Target()
	return model.Port{
		Name: p.Name, Number: number, Protocol: protocol.OfPort(p.Protocol, p.Name, p.AppProtocol, number),
		TargetPort: uint32(target.Number), TargetName: target.Name, NodePort: uint32(p.NodePort),
	}
}

func splitList(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// parsePrefixes reads IP addresses and CIDRs and leaves out what is neither.
func parsePrefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if ip, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
		} else if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}
