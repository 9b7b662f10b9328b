package compile

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"lateen.dev/lateen/proxy/plan"
)

// maxRBACDepth bounds nesting of rules, since they are compiled and evaluated recursively.
const maxRBACDepth = 32

var (
	httpRBACFields = fields("rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix track_per_rule_stats")
	netRBACFields  = fields("rules shadow_rules shadow_rules_stat_prefix stat_prefix enforcement_type")
	policyFields   = fields("permissions principals")
)

func httpRBAC(m *httprbacv3.RBAC) (*plan.RBAC, error) {
	if err := httpRBACFields.only(m); err != nil {
		return nil, err
	}
	out := &plan.RBAC{StatPrefix: m.GetRulesStatPrefix(), ShadowPrefix: m.GetShadowRulesStatPrefix()}
	return out, rbacRules(out, m.GetRules(), m.GetShadowRules(), rbacEnv{})
}

func networkRBAC(m *netrbacv3.RBAC) (*plan.NetworkRBAC, error) {
	if err := netRBACFields.only(m); err != nil {
		return nil, err
	}
	out := &plan.NetworkRBAC{Continuous: m.GetEnforcementType() == netrbacv3.RBAC_CONTINUOUS}
	out.StatPrefix, out.ShadowPrefix = m.GetStatPrefix(), m.GetShadowRulesStatPrefix()
	return out, rbacRules(&out.RBAC, m.GetRules(), m.GetShadowRules(), rbacEnv{})
}

// rbacEnv says how deep rules are nested.
type rbacEnv struct{ depth int }

func rbacRules(out *plan.RBAC, rules, shadow *rbacv3.RBAC, env rbacEnv) error {
	var err error
	if out.Rules, err = env.rules(rules); err != nil {
		return at(err, "rules")
	}
	out.Shadow, err = env.rules(shadow)
	return at(err, "shadow_rules")
}

func (env rbacEnv) rules(m *rbacv3.RBAC) (*plan.RBACRules, error) {
	if m == nil {
		return nil, nil
	}
	out := &plan.RBACRules{}
	switch m.GetAction() {
	case rbacv3.RBAC_ALLOW:
		out.Action = plan.RBACAllow
	case rbacv3.RBAC_DENY:
		out.Action = plan.RBACDeny
	case rbacv3.RBAC_LOG:
		out.Action = plan.RBACLog
	default:
		return nil, fmt.Errorf("action %v is unknown", m.GetAction())
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		p := m.GetPolicies()[name]
		if err := policyFields.only(p); err != nil {
			return nil, at(err, "policies[%q]", name)
		}
		perms, err := all(p.GetPermissions(), env.permission)
		if err != nil {
			return nil, at(err, "policies[%q]: permissions", name)
		}
		ids, err := all(p.GetPrincipals(), env.principal)
		if err != nil {
			return nil, at(err, "policies[%q]: principals", name)
		}
		out.Policies = append(out.Policies, plan.RBACPolicy{Name: name, Permissions: perms, Principals: ids})
	}
	return out, nil
}

func all[T any](in []T, one func(T) (plan.RBACRule, error)) ([]plan.RBACRule, error) {
	out := make([]plan.RBACRule, 0, len(in))
	for i, m := range in {
		r, err := one(m)
		if err != nil {
			return nil, at(err, "[%d]", i)
		}
		out = append(out, r)
	}
	return out, nil
}

func (env rbacEnv) deeper() (rbacEnv, error) {
	env.depth++
	if env.depth > maxRBACDepth {
		return env, errors.New("rules are nested too deeply")
	}
	return env, nil
}

func (env rbacEnv) permission(m *rbacv3.Permission) (plan.RBACRule, error) {
	in, err := env.deeper()
	if err != nil {
		return plan.RBACRule{}, err
	}
	switch r := m.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return group(plan.RBACAnd, r.AndRules.GetRules(), in.permission)
	case *rbacv3.Permission_OrRules:
		return group(plan.RBACOr, r.OrRules.GetRules(), in.permission)
	case *rbacv3.Permission_NotRule:
		return group(plan.RBACNot, []*rbacv3.Permission{r.NotRule}, in.permission)
	case *rbacv3.Permission_Any:
		return plan.RBACRule{Kind: plan.RBACAny}, nil
	case *rbacv3.Permission_Header:
		h, err := headerMatch(r.Header)
		return plan.RBACRule{Kind: plan.RBACHeader, Header: &h}, err
	case *rbacv3.Permission_UrlPath:
		return pathRule(r.UrlPath)
	case *rbacv3.Permission_DestinationIp:
		p, err := cidr(r.DestinationIp)
		return plan.RBACRule{Kind: plan.RBACDestinationIP, Prefix: p}, err
	case *rbacv3.Permission_DestinationPort:
		return ports(int64(r.DestinationPort), int64(r.DestinationPort)+1)
	case *rbacv3.Permission_DestinationPortRange:
		return ports(int64(r.DestinationPortRange.GetStart()), int64(r.DestinationPortRange.GetEnd()))
	case *rbacv3.Permission_RequestedServerName:
		s, err := stringMatch(r.RequestedServerName)
		return plan.RBACRule{Kind: plan.RBACServerName, String: &s}, err
	case *rbacv3.Permission_Metadata:
		return metadataRule(r.Metadata), nil
	}
	return plan.RBACRule{}, fmt.Errorf("%T is not supported by this proxy", m.GetRule())
}

func (env rbacEnv) principal(m *rbacv3.Principal) (plan.RBACRule, error) {
	in, err := env.deeper()
	if err != nil {
		return plan.RBACRule{}, err
	}
	switch r := m.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return group(plan.RBACAnd, r.AndIds.GetIds(), in.principal)
	case *rbacv3.Principal_OrIds:
		return group(plan.RBACOr, r.OrIds.GetIds(), in.principal)
	case *rbacv3.Principal_NotId:
		return group(plan.RBACNot, []*rbacv3.Principal{r.NotId}, in.principal)
	case *rbacv3.Principal_Any:
		return plan.RBACRule{Kind: plan.RBACAny}, nil
	case *rbacv3.Principal_Authenticated_:
		out := plan.RBACRule{Kind: plan.RBACAuthenticated}
		if n := r.Authenticated.GetPrincipalName(); n != nil {
			s, err := stringMatch(n)
			out.String = &s
			return out, err
		}
		return out, nil
	case *rbacv3.Principal_Header:
		h, err := headerMatch(r.Header)
		return plan.RBACRule{Kind: plan.RBACHeader, Header: &h}, err
	case *rbacv3.Principal_UrlPath:
		return pathRule(r.UrlPath)
	case *rbacv3.Principal_Metadata:
		return metadataRule(r.Metadata), nil
	case *rbacv3.Principal_FilterState:
		return filterState(r.FilterState)
	}
	return addressPrincipal(m)
}

func addressPrincipal(m *rbacv3.Principal) (plan.RBACRule, error) {
	var (
		out plan.RBACRule
		err error
	)
	switch r := m.GetIdentifier().(type) {
	case *rbacv3.Principal_SourceIp:
		out.Kind = plan.RBACSourceIP
		out.Prefix, err = cidr(r.SourceIp)
	case *rbacv3.Principal_DirectRemoteIp:
		out.Kind = plan.RBACDirectRemoteIP
		out.Prefix, err = cidr(r.DirectRemoteIp)
	case *rbacv3.Principal_RemoteIp:
		out.Kind = plan.RBACRemoteIP
		out.Prefix, err = cidr(r.RemoteIp)
	default:
		err = fmt.Errorf("%T is not supported by this proxy", m.GetIdentifier())
	}
	return out, err
}

func group[T any](kind plan.RBACRuleKind, in []T, one func(T) (plan.RBACRule, error)) (plan.RBACRule, error) {
	rules, err := all(in, one)
	return plan.RBACRule{Kind: kind, Rules: rules}, err
}

func pathRule(m *matcherv3.PathMatcher) (plan.RBACRule, error) {
	s, err := stringMatch(m.GetPath())
	return plan.RBACRule{Kind: plan.RBACPath, String: &s}, at(err, "url_path")
}

func ports(low, high int64) (plan.RBACRule, error) {
	if low < 0 || high <= low || high > math.MaxUint16+1 {
		return plan.RBACRule{}, fmt.Errorf("ports [%d, %d) are not a range of ports", low, high)
	}
	return plan.RBACRule{Kind: plan.RBACDestinationPort, PortLow: uint16(low), PortHigh: uint16(high - 1)}, nil
}

// metadataRule asks for dynamic metadata, which only filters set that this proxy refuses. So it never holds, and its
// inversion always does.
func metadataRule(m *matcherv3.MetadataMatcher) plan.RBACRule {
	return plan.RBACRule{Kind: plan.RBACMetadata, Invert: m.GetInvert(), Describe: m.GetFilter()}
}

func filterState(m *matcherv3.FilterStateMatcher) (plan.RBACRule, error) {
	if m.GetKey() != "io.istio.peer_principal" {
		return plan.RBACRule{}, fmt.Errorf("filter_state key %q is not known to this proxy", m.GetKey())
	}
	s, err := stringMatch(m.GetStringMatch())
	return plan.RBACRule{Kind: plan.RBACFilterStatePeer, String: &s}, err
}
