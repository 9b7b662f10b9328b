package analysis

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
)

// sameWorkloads says whether one of two selectors' workloads are among the
// other's.
func sameWorkloads(a, b map[string]string) bool { return matches(a, b) || matches(b, a) }

// gateways looks for servers of different Gateways that want the same host on
// the same port of the same workloads.
func gateways(f *facts) {
	all := f.kinds[config.Gateway]
	for _, a := range f.subjects(config.Gateway) {
		ga := config.As[*networking.Gateway](a)
		for i, s := range ga.Servers {
			var rivals []string
			for _, b := range all {
				gb := config.As[*networking.Gateway](b)
				if a.Key == b.Key || !sameWorkloads(ga.Selector, gb.Selector) {
					continue
				}
				if slices.ContainsFunc(gb.Servers, func(t *networking.Server) bool { return conflict(s, a.Namespace, t, b.Namespace) }) {
					rivals = append(rivals, b.Namespace+"/"+b.Name)
				}
			}
			if len(rivals) > 0 {
				f.report(conflictingGateways, a, fmt.Sprintf("spec.servers[%d]", i), "Give them different hosts, ports or selectors",
					"Gateway %s has a server for the same hosts on port %d of the same workloads", strings.Join(rivals, ", "), s.GetPort().GetNumber())
			}
		}
	}
}

func conflict(a *networking.Server, nsA string, b *networking.Server, nsB string) bool {
	if a.GetPort().GetNumber() != b.GetPort().GetNumber() || a.Bind != b.Bind {
		return false
	}
	if a.GetPort().GetProtocol() != b.GetPort().GetProtocol() {
		return true // one port can't speak two protocols
	}
	for _, x := range a.Hosts {
		for _, y := range b.Hosts {
			nx, hx := host.SplitNamespaced(x)
			ny, hy := host.SplitNamespaced(y)
			nx, ny = dot(nx, nsA), dot(ny, nsB)
			// Wildcards beside exact hosts are told apart by precedence; only
			// the same name is a conflict.
			if strings.EqualFold(string(hx), string(hy)) && (nx == ny || nx == "*" || ny == "*") {
				return true
			}
		}
	}
	return false
}

func dot(namespace, own string) string {
	if namespace == "." {
		return own
	}
	return namespace
}

// certificates looks for one certificate used by several Gateways of the same
// workloads, with which browsers reuse a connection for the wrong Gateway.
func certificates(f *facts) {
	users := map[string][]*config.Object{}
	for _, o := range f.kinds[config.Gateway] {
		gw := config.As[*networking.Gateway](o)
		mine := map[string]bool{}
		for _, s := range gw.Servers {
			name := s.GetTls().GetCredentialName()
			if name == "" {
				name = s.GetTls().GetServerCertificate()
			}
			if name != "" && !mine[name] {
				mine[name] = true
				users[name] = append(users[name], o)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(users)) {
		for _, o := range users[name] {
			if !f.judged(o) {
				continue
			}
			var others []string
			for _, p := range users[name] {
				if p != o && sameWorkloads(config.As[*networking.Gateway](o).Selector, config.As[*networking.Gateway](p).Selector) {
					others = append(others, p.Namespace+"/"+p.Name)
				}
			}
			if len(others) > 0 {
				f.report(duplicateCertificate, o, "spec.servers", "Use one Gateway for all hosts of a certificate",
					"the certificate %q is also used by Gateway %s; clients that reuse HTTP/2 connections then get 404", name, strings.Join(others, ", "))
			}
		}
	}
}

// claims looks for routes by the claims of tokens on gateways that read no
// tokens. A gateway's workloads have at least the labels of its selector.
func claims(f *facts) {
	for _, o := range f.subjects(config.VirtualService) {
		vs := config.As[*networking.VirtualService](o)
		at := claimMatch(vs)
		if at == "" {
			continue
		}
		for _, name := range vs.Gateways {
			gw := f.byKey[gatewayKey(name, o.Namespace)]
			if gw != nil && !f.readsTokens(gw) {
				f.report(claimsWithoutTokens, o, at, "Add a RequestAuthentication for the gateway's workloads",
					"Gateway %s/%s has no RequestAuthentication, so no request has claims to be routed by", gw.Namespace, gw.Name)
			}
		}
	}
}

// claimMatch is the first header match that names a claim, "" if there is none.
func claimMatch(vs *networking.VirtualService) string {
	for i, r := range vs.Http {
		for j, m := range r.Match {
			for field, headers := range map[string]map[string]*networking.StringMatch{"headers": m.Headers, "withoutHeaders": m.WithoutHeaders} {
				for name := range headers {
					if strings.HasPrefix(name, "@request.auth.claims") {
						return fmt.Sprintf("spec.http[%d].match[%d].%s[%s]", i, j, field, name)
					}
				}
			}
		}
	}
	return ""
}

func (f *facts) readsTokens(gw *config.Object) bool {
	labels := config.As[*networking.Gateway](gw).Selector
	return slices.ContainsFunc(f.kinds[config.RequestAuthentication], func(o *config.Object) bool {
		ra := config.As[*security.RequestAuthentication](o)
		here := o.Namespace == gw.Namespace || o.Namespace == f.mesh.GetRootNamespace()
		return here && len(ra.JwtRules) > 0 && matches(ra.GetSelector().GetMatchLabels(), labels)
	})
}
