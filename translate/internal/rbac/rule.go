package rbac

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	security "istio.io/api/security/v1beta1"
)

var errHTTPOnly = errors.New("attribute exists for HTTP requests only")

// compiler holds what the compilation of one rule depends on.
type compiler struct {
	namespace    string
	trustDomains []string
	tcp          bool
	// strict makes an unsayable condition fail the rule; otherwise only the condition is left out.
	strict bool
}

// clause is one attribute with the values it must and must not have.
type clause[T any] struct {
	values, notValues []string
	httpOnly          bool
	one               func(value string) (T, error)
}

// algebra says how matchers of one kind are combined.
type algebra[T any] struct {
	any     T
	and, or func([]T) T
	not     func(T) T
}

// rule compiles one rule: any of its "to" may be the permission, any of its "from" the principal, and every "when"
// is added to each.
func (c compiler) rule(r *security.Rule) (*rbacv3.Policy, error) {
	var whenPerm []clause[*rbacv3.Permission]
	var whenPrin []clause[*rbacv3.Principal]
	for _, w := range r.GetWhen() {
		perm, prin, err := c.when(w)
		if err != nil && c.strict {
			return nil, err
		}
		if perm != nil {
			whenPerm = append(whenPerm, *perm)
		}
		if prin != nil {
			whenPrin = append(whenPrin, *prin)
		}
	}
	out := &rbacv3.Policy{}
	tos, froms := r.GetTo(), r.GetFrom()
	if len(tos) == 0 {
		tos = []*security.Rule_To{nil}
	}
	if len(froms) == 0 {
		froms = []*security.Rule_From{nil}
	}
	for _, to := range tos {
		p, err := combine(c, permissions(), append(c.to(to.GetOperation()), whenPerm...))
		if err != nil {
			return nil, err
		}
		out.Permissions = append(out.Permissions, p)
	}
	for _, from := range froms {
		p, err := combine(c, principals(), append(c.from(from.GetSource()), whenPrin...))
		if err != nil {
			return nil, err
		}
		out.Principals = append(out.Principals, p)
	}
	return out, nil
}

// combine is the conjunction of all clauses.
func combine[T any](c compiler, alg algebra[T], clauses []clause[T]) (T, error) {
	var all []T
	for _, cl := range clauses {
		if cl.httpOnly && c.tcp && len(cl.values)+len(cl.notValues) > 0 {
			if c.strict {
				return alg.any, errHTTPOnly
			}
			continue
		}
		yes, err := oneOf(c, cl, cl.values)
		if err != nil {
			return alg.any, err
		}
		if len(yes) > 0 {
			all = append(all, alg.or(yes))
		}
		no, err := oneOf(c, cl, cl.notValues)
		if err != nil {
			return alg.any, err
		}
		if len(no) > 0 {
			all = append(all, alg.not(alg.or(no)))
		}
	}
	if len(all) == 0 {
		all = []T{alg.any}
	}
	return alg.and(all), nil
}

func oneOf[T any](c compiler, cl clause[T], values []string) ([]T, error) {
	var out []T
	for _, v := range values {
		m, err := cl.one(v)
		if err != nil {
			if c.strict {
				return nil, fmt.Errorf("value %q: %w", v, err)
			}
			continue
		}
		out = append(out, m)
	}
	return out, nil
}

func permissions() algebra[*rbacv3.Permission] {
	return algebra[*rbacv3.Permission]{
		any: &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}},
		and: func(in []*rbacv3.Permission) *rbacv3.Permission {
			return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: in}}}
		},
		or: func(in []*rbacv3.Permission) *rbacv3.Permission {
			return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: in}}}
		},
		not: func(p *rbacv3.Permission) *rbacv3.Permission {
			return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: p}}
		},
	}
}

func principals() algebra[*rbacv3.Principal] {
	return algebra[*rbacv3.Principal]{
		any: &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}},
		and: func(in []*rbacv3.Principal) *rbacv3.Principal {
			return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: in}}}
		},
		or: func(in []*rbacv3.Principal) *rbacv3.Principal {
			return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: in}}}
		},
		not: func(p *rbacv3.Principal) *rbacv3.Principal {
			return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: p}}
		},
	}
}

// expandTrustDomains writes a principal of one of the mesh's trust domains once for each of them.
func (c compiler) expandTrustDomains(values []string) []string {
	var out []string
	for _, v := range values {
		domain, rest, ok := strings.Cut(v, "/")
		if !ok || !c.inMesh(domain) {
			out = append(out, v)
			continue
		}
		for _, td := range c.trustDomains {
			out = append(out, td+"/"+rest)
		}
	}
	return out
}

func (c compiler) inMesh(domain string) bool {
	if suffix, ok := strings.CutPrefix(domain, "*"); ok && suffix != "" {
		return slices.ContainsFunc(c.trustDomains, func(td string) bool { return strings.HasSuffix(td, suffix) })
	}
	return slices.Contains(c.trustDomains, domain)
}
