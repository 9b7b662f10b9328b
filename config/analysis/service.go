package analysis

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/config/protocol"
)

// portNames looks for Service ports whose protocol can only be guessed.
func portNames(f *facts) {
	for _, o := range f.subjects(config.Service) {
		s := config.As[*config.ServiceSpec](o)
		for i, p := range s.Ports {
			if p.Protocol == "UDP" || p.AppProtocol != "" || protocol.OfPort("TCP", p.Name, "", 0) != protocol.Unsupported {
				continue
			}
			at := fmt.Sprintf("spec.ports[%d]", i)
			if s.Type == "ExternalName" {
				f.report(externalNamePort, o, at, "Name it PROTOCOL or PROTOCOL-SUFFIX, such as tcp or http-web",
					"the port name %q says no protocol, which a service of type ExternalName needs", p.Name)
				continue
			}
			f.report(portNaming, o, at, "Name it PROTOCOL or PROTOCOL-SUFFIX, such as http or tcp-db, or set appProtocol",
				"the port name %q (port %d) says no protocol; it is detected at run time", p.Name, p.Port)
		}
	}
}

// addresses looks for TCP ports of ServiceEntries that can't be told apart from
// other destinations: there is no address, and none can be given either.
func addresses(f *facts) {
	for _, o := range f.subjects(config.ServiceEntry) {
		se := config.As[*networking.ServiceEntry](o)
		wild := slices.ContainsFunc(se.Hosts, func(h string) bool { return strings.HasPrefix(h, "*") })
		if len(se.Addresses) > 0 || !wild && se.Resolution != networking.ServiceEntry_NONE {
			continue
		}
		for i, p := range se.Ports {
			if proto := protocol.Parse(p.Protocol); proto == protocol.TCP || p.Protocol == "" {
				f.report(addressesRequired, o, fmt.Sprintf("spec.ports[%d]", i), "Add addresses, use protocol TLS, or name the hosts with resolution DNS",
					"port %d is TCP without addresses, so all TCP traffic on that port, to anywhere, is taken for it", p.Number)
			}
		}
	}
}

// protocols looks for ServiceEntries that disagree about a host's port.
func protocols(f *facts) {
	for _, o := range f.subjects(config.ServiceEntry) {
		se := config.As[*networking.ServiceEntry](o)
		for _, h := range se.Hosts {
			for i, p := range se.Ports {
				all := f.spoken[hostPort{strings.ToLower(h), p.Number}]
				mine := protocol.Parse(p.Protocol).String()
				if k := slices.IndexFunc(all, func(c portClaim) bool { return c.object != o && c.protocol != mine }); k >= 0 {
					f.report(conflictingProtocols, o, fmt.Sprintf("spec.ports[%d]", i), "Make them agree",
						"ServiceEntry %s/%s says that port %d of %q is %s", all[k].object.Namespace, all[k].object.Name, p.Number, strings.ToLower(h), all[k].protocol)
				}
			}
		}
	}
}

// hostPort is a port of a host of ServiceEntries, portClaim what one of them
// says of it.
type (
	hostPort struct {
		host   string
		number uint32
	}
	portClaim struct {
		object   *config.Object
		port     int // its place in the ServiceEntry
		protocol string
	}
)

// destinationRules looks for hosts and subsets that don't exist.
func destinationRules(f *facts) {
	for _, o := range f.subjects(config.DestinationRule) {
		dr := config.As[*networking.DestinationRule](o)
		services := f.services(dr.Host, o.Namespace)
		if len(services) == 0 {
			f.report(unknownDestinationRuleHost, o, "spec.host", "Create a Service or ServiceEntry for it, or mend the name", "no service has the host %q", dr.Host)
			continue
		}
		if host.Name(dr.Host).IsWildcard() {
			continue
		}
		workloads := f.workloads(services[0])
		for i, s := range dr.Subsets {
			chosen := slices.ContainsFunc(workloads, func(labels map[string]string) bool { return matches(s.Labels, labels) })
			if len(workloads) > 0 && !chosen {
				f.report(subsetSelectsNothing, o, fmt.Sprintf("spec.subsets[%d]", i), "Start such a workload, or mend the labels",
					"none of the %d workload(s) of %q has the labels of subset %q", len(workloads), dr.Host, s.Name)
			}
		}
	}
}

// workloads are the labels of the workloads behind a service.
func (f *facts) workloads(s service) []map[string]string {
	var selector map[string]string
	var found []map[string]string
	switch spec := s.object.Spec.(type) {
	case *config.ServiceSpec:
		selector = spec.Selector
	case *networking.ServiceEntry:
		for _, e := range spec.Endpoints {
			found = append(found, e.Labels)
		}
		selector = spec.GetWorkloadSelector().GetLabels()
	}
	if len(selector) == 0 {
		return found
	}
	for _, w := range f.chosen(s.object.Namespace, selector) {
		found = append(found, w.labels)
	}
	return found
}

// labelsOf a WorkloadEntry are those of its spec, over those of its metadata.
func labelsOf(o *config.Object) map[string]string {
	all := maps.Clone(o.Labels)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, config.As[*networking.WorkloadEntry](o).GetLabels())
	return all
}

// verification looks for TLS to servers whose certificates nobody checks.
func verification(f *facts) {
	for _, o := range f.subjects(config.DestinationRule) {
		dr := config.As[*networking.DestinationRule](o)
		f.verified(o, "spec.trafficPolicy", dr.TrafficPolicy)
		for i, s := range dr.Subsets {
			f.verified(o, fmt.Sprintf("spec.subsets[%d].trafficPolicy", i), s.TrafficPolicy)
		}
	}
}

func (f *facts) verified(o *config.Object, at string, p *networking.TrafficPolicy) {
	const hint = "Set caCertificates, or insecureSkipVerify: true if it is meant"
	if unverified(p.GetTls()) {
		f.report(noVerification, o, at+".tls", hint, "mode %s without caCertificates: the server's certificate is checked against the system's authorities only, if at all", p.Tls.Mode)
	}
	for i, port := range p.GetPortLevelSettings() {
		if unverified(port.GetTls()) {
			f.report(noVerificationOnPort, o, fmt.Sprintf("%s.portLevelSettings[%d].tls", at, i), hint,
				"mode %s without caCertificates on port %d: the server's certificate is checked against the system's authorities only, if at all", port.Tls.Mode, port.GetPort().GetNumber())
		}
	}
}

func unverified(t *networking.ClientTLSSettings) bool {
	if t == nil || t.Mode != networking.ClientTLSSettings_SIMPLE && t.Mode != networking.ClientTLSSettings_MUTUAL {
		return false
	}
	return t.CaCertificates == "" && t.CredentialName == "" && !t.InsecureSkipVerify.GetValue()
}
