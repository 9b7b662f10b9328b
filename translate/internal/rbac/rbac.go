// Package rbac turns AuthorizationPolicies into Envoy's RBAC filters, for HTTP and for TCP chains. It is called by
// translate for the inbound side of a proxy. Pure functions without state, safe for any number of goroutines.
//
// A policy that cannot be said in RBAC never widens access: an ALLOW rule that a chain cannot check is dropped (it
// allows nothing there), a DENY rule keeps its other conditions (it denies more), and a CUSTOM policy, whose provider
// is not asked here, denies what it selects.
//
// May import: translate/internal/pb, the Envoy and Istio API protos.
package rbac

import (
	"fmt"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbachttp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rbactcp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"
	security "istio.io/api/security/v1beta1"

	"lateen.dev/lateen/translate/internal/pb"
)

// Filter names, as Envoy registers them.
const (
	HTTPFilter = "envoy.filters.http.rbac"
	TCPFilter  = "envoy.filters.network.rbac"

	tcpStat = "tcp."
)

// Policy is one AuthorizationPolicy that selects the workload.
type Policy struct {
	Namespace, Name string
	// DryRun evaluates the policy in the shadow only (annotation istio.io/dry-run).
	DryRun bool
	Spec   *security.AuthorizationPolicy
}

// Input is everything that the filters depend on.
type Input struct {
	// Policies in order of namespace and name.
	Policies []Policy
	// TrustDomains holds the mesh's trust domain first, then its aliases. A principal of any of them means all.
	TrustDomains []string
}

// ruleSet is one filter's content: what is enforced, and what is only counted.
type ruleSet struct {
	action        security.AuthorizationPolicy_Action
	rules, shadow *rbacv3.RBAC
}

// HTTP returns the filters for an HTTP connection manager, in the order in which they must decide.
func HTTP(in Input) []*hcmv3.HttpFilter {
	var out []*hcmv3.HttpFilter
	for _, set := range build(in, false) {
		out = append(out, &hcmv3.HttpFilter{
			Name: HTTPFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: set.http()},
		})
	}
	return out
}

func (set ruleSet) http() *anypb.Any {
	return pb.Any(&rbachttp.RBAC{Rules: set.rules, ShadowRules: set.shadow, ShadowRulesStatPrefix: shadowPrefix(set.shadow)})
}

// TCP returns the filters for a TCP chain.
func TCP(in Input) []*listenerv3.Filter {
	var out []*listenerv3.Filter
	for _, set := range build(in, true) {
		out = append(out, &listenerv3.Filter{
			Name: TCPFilter, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: set.tcp()},
		})
	}
	return out
}

func (set ruleSet) tcp() *anypb.Any {
	return pb.Any(&rbactcp.RBAC{
		Rules: set.rules, ShadowRules: set.shadow, ShadowRulesStatPrefix: shadowPrefix(set.shadow), StatPrefix: tcpStat,
	})
}

// order is the one place that says which action is decided first, and as which RBAC action.
func order() []struct {
	from security.AuthorizationPolicy_Action
	as   rbacv3.RBAC_Action
} {
	return []struct {
		from security.AuthorizationPolicy_Action
		as   rbacv3.RBAC_Action
	}{
		{security.AuthorizationPolicy_CUSTOM, rbacv3.RBAC_DENY},
		{security.AuthorizationPolicy_AUDIT, rbacv3.RBAC_LOG},
		{security.AuthorizationPolicy_DENY, rbacv3.RBAC_DENY},
		{security.AuthorizationPolicy_ALLOW, rbacv3.RBAC_ALLOW},
	}
}

func build(in Input, tcp bool) []ruleSet {
	var out []ruleSet
	for _, o := range order() {
		set := ruleSet{action: o.from}
		for _, p := range in.Policies {
			if p.Spec.GetAction() != o.from {
				continue
			}
			target := &set.rules
			if p.DryRun {
				target = &set.shadow
			}
			if *target == nil {
				*target = &rbacv3.RBAC{Action: o.as, Policies: map[string]*rbacv3.Policy{}}
			}
			addPolicy(*target, p, in.TrustDomains, tcp)
		}
		if set.rules != nil || set.shadow != nil {
			out = append(out, set)
		}
	}
	return out
}

func addPolicy(to *rbacv3.RBAC, p Policy, trustDomains []string, tcp bool) {
	if len(p.Spec.GetRules()) == 0 {
		// An ALLOW policy without rules allows nothing, a DENY policy without rules denies nothing; both must be
		// present, since the mere presence of the first one turns "allow by default" off.
		to.Policies[policyName(p, 0)] = never()
		return
	}
	for i, rule := range p.Spec.GetRules() {
		c := compiler{namespace: p.Namespace, trustDomains: trustDomains, tcp: tcp, strict: to.GetAction() == rbacv3.RBAC_ALLOW}
		policy, err := c.rule(rule)
		if err != nil {
			continue // only with strict: the rule cannot be checked here, so it allows nothing
		}
		to.Policies[policyName(p, i)] = policy
	}
}

// policyName is the form that dashboards and logs of Istio's users know.
func policyName(p Policy, rule int) string {
	return fmt.Sprintf("ns[%s]-policy[%s]-rule[%d]", p.Namespace, p.Name, rule)
}

func never() *rbacv3.Policy {
	perm, prin := permissions(), principals()
	return &rbacv3.Policy{
		Permissions: []*rbacv3.Permission{perm.not(perm.any)},
		Principals:  []*rbacv3.Principal{prin.not(prin.any)},
	}
}

func shadowPrefix(shadow *rbacv3.RBAC) string {
	switch {
	case shadow == nil:
		return ""
	case shadow.GetAction() == rbacv3.RBAC_ALLOW:
		return "istio_dry_run_allow_"
	case shadow.GetAction() == rbacv3.RBAC_DENY:
		return "istio_dry_run_deny_"
	}
	return ""
}
