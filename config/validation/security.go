package validation

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"
	policy "istio.io/api/type/v1beta1"
)

// targets checks how a policy chooses workloads.
func (c *checker) targets(s *policy.WorkloadSelector, ref *policy.PolicyTargetReference, refs []*policy.PolicyTargetReference) {
	c.selector("spec.selector.matchLabels", s.GetMatchLabels())
	set := 0
	for _, b := range []bool{s != nil, ref != nil, len(refs) > 0} {
		if b {
			set++
		}
	}
	if set > 1 {
		c.fault("spec.targetRefs", "Keep one", "selector, targetRef and targetRefs exclude each other")
	}
	if ref != nil {
		c.targetRef("spec.targetRef", ref)
	}
	for i, r := range refs {
		c.targetRef(path("spec.targetRefs").at(i), r)
	}
}

func (c *checker) targetRef(at path, r *policy.PolicyTargetReference) {
	if r.GetName() == "" {
		c.fault(at.to("name"), "Name the target", "the target has no name")
	}
	if r.GetNamespace() != "" && r.GetNamespace() != c.object.Namespace {
		c.fault(at.to("namespace"), "Move the policy there", "a target must be in the policy's own namespace")
	}
	kind := r.GetGroup() + "/" + r.GetKind()
	if !slices.Contains([]string{"gateway.networking.k8s.io/Gateway", "gateway.networking.k8s.io/GatewayClass", "/Service", "core/Service", "networking.istio.io/ServiceEntry"}, kind) {
		c.fault(at.to("kind"), "Gateway, GatewayClass, Service or ServiceEntry, with their group", "a policy can't target %q", kind)
	}
}

func (c *checker) peerAuthentication(p *security.PeerAuthentication) {
	c.selector("spec.selector.matchLabels", p.Selector.GetMatchLabels())
	if len(p.PortLevelMtls) == 0 {
		return
	}
	at := field("spec.portLevelMtls")
	if len(p.Selector.GetMatchLabels()) == 0 {
		c.fault(at, "Add a selector", "portLevelMtls needs a selector: ports are a workload's")
	}
	for port := range p.PortLevelMtls {
		c.port(at.key(strconv.FormatUint(uint64(port), 10)), port)
	}
}

func (c *checker) requestAuthentication(r *security.RequestAuthentication) {
	c.targets(r.Selector, r.TargetRef, r.TargetRefs)
	for i, rule := range r.JwtRules {
		c.jwtRule(path("spec.jwtRules").at(i), rule)
	}
}

func (c *checker) jwtRule(at path, r *security.JWTRule) {
	if r.Issuer == "" && r.Jwks == "" && r.JwksUri == "" {
		c.fault(at.to("issuer"), "Name the issuer, or give jwks or jwksUri", "nothing says whose tokens are accepted")
	}
	if r.Jwks != "" && r.JwksUri != "" {
		c.fault(at.to("jwksUri"), "Keep one", "jwks and jwksUri exclude each other")
	}
	if r.JwksUri != "" {
		u, err := url.Parse(r.JwksUri)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			c.fault(at.to("jwksUri"), "Write https://HOST/PATH", "%q is no address to fetch keys from", r.JwksUri)
		}
	}
	if r.Jwks != "" {
		var set struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := json.Unmarshal([]byte(r.Jwks), &set); err != nil || len(set.Keys) == 0 {
			c.fault(at.to("jwks"), "Give a JSON object with a list of keys", "jwks holds no keys")
		}
	}
	for i, a := range r.Audiences {
		if a == "" {
			c.fault(at.to("audiences").at(i), "Remove it", "the audience is empty")
		}
	}
	for i, h := range r.FromHeaders {
		c.headerName(at.to("fromHeaders").at(i).to("name"), h.Name)
	}
	for name, list := range map[string][]string{"fromParams": r.FromParams, "fromCookies": r.FromCookies} {
		for i, s := range list {
			if s == "" {
				c.fault(at.to(name).at(i), "Remove it", "the name is empty")
			}
		}
	}
	for i, o := range r.OutputClaimToHeaders {
		at := at.to("outputClaimToHeaders").at(i)
		c.headerName(at.to("header"), o.Header)
		if o.Claim == "" {
			c.fault(at.to("claim"), "Name the claim", "the claim is empty")
		}
	}
	c.duration(at.to("timeout"), r.Timeout)
}

func (c *checker) authorizationPolicy(p *security.AuthorizationPolicy) {
	c.targets(p.Selector, p.TargetRef, p.TargetRefs)
	custom := p.Action == security.AuthorizationPolicy_CUSTOM
	switch {
	case custom && p.GetProvider().GetName() == "":
		c.fault("spec.provider", "Name one of MeshConfig's extensionProviders", "action CUSTOM needs a provider")
	case !custom && p.GetProvider() != nil:
		c.fault("spec.provider", "Set action: CUSTOM, or remove it", "action %s has no provider", p.Action)
	case custom && len(p.Rules) == 0:
		c.fault("spec.rules", "Add rules; [{}] matches every request", "action CUSTOM without rules never asks its provider")
	}
	if p.Action == security.AuthorizationPolicy_DENY && len(p.Rules) == 0 {
		c.fault("spec.rules", "Add rules; [{}] matches every request", "action DENY without rules denies nothing")
	}
	for i, r := range p.Rules {
		at := path("spec.rules").at(i)
		if r == nil {
			c.fault(at, "Write {} to match every request", "the rule is empty")
			continue
		}
		c.authorizationRule(at, r, p.Action)
	}
}

func (c *checker) authorizationRule(at path, r *security.Rule, action security.AuthorizationPolicy_Action) {
	for i, f := range r.From {
		at := at.to("from").at(i).to("source")
		if f.GetSource() == nil {
			c.fault(at, "Add source with principals, namespaces or ipBlocks", "the source is empty")
			continue
		}
		c.authorizationSource(at, f.Source, action)
	}
	for i, t := range r.To {
		at := at.to("to").at(i).to("operation")
		if t.GetOperation() == nil {
			c.fault(at, "Add operation with hosts, ports, methods or paths", "the operation is empty")
			continue
		}
		c.operation(at, t.Operation)
	}
	for i, w := range r.When {
		c.condition(at.to("when").at(i), w, action)
	}
}

// value lists of a source or operation, by field.
type lists map[string][]string

func (c *checker) noneEmpty(at path, what string, all lists) {
	any := false
	for name, list := range all {
		any = any || len(list) > 0
		for i, s := range list {
			if s == "" {
				c.fault(at.to(name).at(i), "Remove it", "the value is empty")
			}
		}
	}
	if !any {
		c.fault(at, "Add a field, or remove it", "the %s says nothing", what)
	}
}

func (c *checker) authorizationSource(at path, s *security.Source, action security.AuthorizationPolicy_Action) {
	c.noneEmpty(at, "source", lists{
		"principals": s.Principals, "notPrincipals": s.NotPrincipals, "requestPrincipals": s.RequestPrincipals,
		"notRequestPrincipals": s.NotRequestPrincipals, "namespaces": s.Namespaces, "notNamespaces": s.NotNamespaces,
		"serviceAccounts": s.ServiceAccounts, "notServiceAccounts": s.NotServiceAccounts, "ipBlocks": s.IpBlocks, "notIpBlocks": s.NotIpBlocks,
		"remoteIpBlocks": s.RemoteIpBlocks, "notRemoteIpBlocks": s.NotRemoteIpBlocks, "trustDomains": s.TrustDomains, "notTrustDomains": s.NotTrustDomains,
	})
	for name, list := range (lists{"ipBlocks": s.IpBlocks, "notIpBlocks": s.NotIpBlocks, "remoteIpBlocks": s.RemoteIpBlocks, "notRemoteIpBlocks": s.NotRemoteIpBlocks}) {
		for i, b := range list {
			if b != "" && !isIP(b) && !isPrefix(b) {
				c.fault(at.to(name).at(i), "Write 10.1.2.3 or 10.0.0.0/8", "%q is neither an address nor a subnet", b)
			}
		}
	}
	accounts := len(s.ServiceAccounts)+len(s.NotServiceAccounts) > 0
	if accounts && len(s.Principals)+len(s.NotPrincipals)+len(s.Namespaces)+len(s.NotNamespaces) > 0 {
		c.fault(at.to("serviceAccounts"), "Keep one", "serviceAccounts excludes principals and namespaces")
	}
	for name, list := range (lists{"serviceAccounts": s.ServiceAccounts, "notServiceAccounts": s.NotServiceAccounts}) {
		for i, a := range list {
			if strings.Count(a, "/") > 1 || strings.Contains(a, "*") {
				c.fault(at.to(name).at(i), "Write NAMESPACE/NAME or NAME", "%q is no service account", a)
			}
		}
	}
	if action == security.AuthorizationPolicy_CUSTOM && len(s.RequestPrincipals)+len(s.NotRequestPrincipals) > 0 {
		c.fault(at.to("requestPrincipals"), "Remove it", "action CUSTOM runs before tokens are read, so it can't use request principals")
	}
}

func (c *checker) operation(at path, o *security.Operation) {
	c.noneEmpty(at, "operation", lists{
		"hosts": o.Hosts, "notHosts": o.NotHosts, "ports": o.Ports, "notPorts": o.NotPorts,
		"methods": o.Methods, "notMethods": o.NotMethods, "paths": o.Paths, "notPaths": o.NotPaths,
	})
	for name, list := range (lists{"ports": o.Ports, "notPorts": o.NotPorts}) {
		for i, p := range list {
			if n, err := strconv.Atoi(p); p != "" && (err != nil || n < 1 || n > 65535) {
				c.fault(at.to(name).at(i), "Ports are 1 to 65535", "%q is no port number", p)
			}
		}
	}
	for name, list := range (lists{"paths": o.Paths, "notPaths": o.NotPaths}) {
		for i, p := range list {
			c.pathTemplate(at.to(name).at(i), p)
		}
	}
}

// pathTemplate: {*} stands for one whole segment, {**} for the rest.
func (c *checker) pathTemplate(at path, s string) {
	if !strings.ContainsAny(s, "{}") {
		return
	}
	segments := strings.Split(s, "/")
	for i, seg := range segments {
		switch {
		case seg == "{*}", seg == "{**}" && i == len(segments)-1:
		case seg == "{**}":
			c.fault(at, "Move {**} to the end", "{**} isn't the last part of %q", s)
		case strings.ContainsAny(seg, "{}"):
			c.fault(at, "{*} for one segment, {**} at the end for the rest", "%q is no path template", s)
		case strings.Contains(seg, "*"):
			c.fault(at, "Write {*} instead of *", "the template %q mixes in a plain wildcard", s)
		}
	}
}

// conditionKeys are the attributes a condition may name; those ending in "["
// take a name in brackets.
var conditionKeys = []string{
	"request.headers[", "source.ip", "remote.ip", "source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal",
	"request.auth.principal", "request.auth.audiences", "request.auth.presenter", "request.auth.claims[", "destination.ip",
	"destination.port", "connection.sni", "experimental.envoy.filters.",
}

func (c *checker) condition(at path, w *security.Condition, action security.AuthorizationPolicy_Action) {
	known := slices.ContainsFunc(conditionKeys, func(k string) bool {
		switch k[len(k)-1] {
		case '[':
			return strings.HasPrefix(w.Key, k) && strings.HasSuffix(w.Key, "]") && len(w.Key) > len(k)+1
		case '.':
			return strings.HasPrefix(w.Key, k)
		}
		return w.Key == k
	})
	if !known {
		c.fault(at.to("key"), "Known: "+strings.Join(conditionKeys, " "), "%q is no attribute for a condition", w.Key)
	}
	if len(w.Values)+len(w.NotValues) == 0 {
		c.fault(at, "Add values or notValues", "the condition has no values")
	}
	if action == security.AuthorizationPolicy_CUSTOM && strings.HasPrefix(w.Key, "request.auth.") {
		c.fault(at.to("key"), "Remove it", "action CUSTOM runs before tokens are read, so it can't use %q", w.Key)
	}
	for name, list := range (lists{"values": w.Values, "notValues": w.NotValues}) {
		for i, v := range list {
			at := at.to(name).at(i)
			switch w.Key {
			case "source.ip", "remote.ip", "destination.ip":
				if !isIP(v) && !isPrefix(v) {
					c.fault(at, "Write 10.1.2.3 or 10.0.0.0/8", "%q is neither an address nor a subnet", v)
				}
			case "destination.port":
				if n, err := strconv.Atoi(v); err != nil || n < 1 || n > 65535 {
					c.fault(at, "Ports are 1 to 65535", "%q is no port number", v)
				}
			}
			if v == "" {
				c.fault(at, "Remove it", "the value is empty")
			}
		}
	}
}
