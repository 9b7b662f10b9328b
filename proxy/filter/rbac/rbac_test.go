package rbac

import (
	"net/netip"
	"testing"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

type head struct {
	method, path string
	headers      map[string]string
}

func (h *head) Method() []byte    { return []byte(h.method) }
func (h *head) Scheme() []byte    { return []byte("http") }
func (h *head) Authority() []byte { return []byte("reviews:9080") }
func (h *head) Path() []byte      { return []byte(h.path) }
func (h *head) Header(n header.Name) ([]byte, bool) {
	v, ok := h.headers[n.String()]
	return []byte(v), ok
}

func exact(s string) *plan.StringMatch { return &plan.StringMatch{Kind: plan.MatchExact, Value: s} }
func prefix(s string) *plan.StringMatch {
	return &plan.StringMatch{Kind: plan.MatchPrefix, Value: s}
}

func facts() *Facts {
	return &Facts{
		Head:        &head{method: "GET", path: "/reviews/0?x=/admin"},
		Destination: netip.MustParseAddrPort("127.64.0.5:9080"),
		Direct:      netip.MustParseAddr("::ffff:10.0.0.7"), Source: netip.MustParseAddr("10.0.0.7"), Remote: netip.MustParseAddr("192.0.2.1"),
		ServerName: []byte("outbound_.9080_._.reviews.default.svc.cluster.local"), Authenticated: true,
		Names: [][]byte{[]byte("spiffe://cluster.local/ns/default/sa/productpage")},
	}
}

func TestRules(t *testing.T) {
	type rule = plan.RBACRule
	yes, no := rule{Kind: plan.RBACAny}, rule{Kind: plan.RBACNot, Rules: []rule{{Kind: plan.RBACAny}}}
	for name, c := range map[string]struct {
		rule rule
		want bool
	}{
		"any":                        {yes, true},
		"not any":                    {no, false},
		"and":                        {rule{Kind: plan.RBACAnd, Rules: []rule{yes, no}}, false},
		"or":                         {rule{Kind: plan.RBACOr, Rules: []rule{no, yes}}, true},
		"path":                       {rule{Kind: plan.RBACPath, String: exact("/reviews/0")}, true},
		"path, query is not path":    {rule{Kind: plan.RBACPath, String: &plan.StringMatch{Kind: plan.MatchSuffix, Value: "/admin"}}, false},
		"port":                       {rule{Kind: plan.RBACDestinationPort, PortLow: 9080, PortHigh: 9080}, true},
		"port range":                 {rule{Kind: plan.RBACDestinationPort, PortLow: 1, PortHigh: 9079}, false},
		"destination":                {rule{Kind: plan.RBACDestinationIP, Prefix: netip.MustParsePrefix("127.64.0.0/16")}, true},
		"direct, mapped IPv4":        {rule{Kind: plan.RBACDirectRemoteIP, Prefix: netip.MustParsePrefix("10.0.0.0/8")}, true},
		"remote":                     {rule{Kind: plan.RBACRemoteIP, Prefix: netip.MustParsePrefix("10.0.0.0/8")}, false},
		"source":                     {rule{Kind: plan.RBACSourceIP, Prefix: netip.MustParsePrefix("10.0.0.7/32")}, true},
		"SNI":                        {rule{Kind: plan.RBACServerName, String: prefix("outbound_.9080_")}, true},
		"anybody authenticated":      {rule{Kind: plan.RBACAuthenticated}, true},
		"authenticated as another":   {rule{Kind: plan.RBACAuthenticated, String: exact("spiffe://cluster.local/ns/default/sa/x")}, false},
		"authenticated as namespace": {rule{Kind: plan.RBACAuthenticated, String: prefix("spiffe://cluster.local/ns/default/")}, true},
		"metadata is never there":    {rule{Kind: plan.RBACMetadata}, false},
		"inverted metadata":          {rule{Kind: plan.RBACMetadata, Invert: true}, true},
	} {
		if got := matches(&c.rule, facts()); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestNoRequestNoCertificate(t *testing.T) {
	f := facts()
	f.Head, f.Authenticated = nil, false
	for _, r := range []plan.RBACRule{
		{Kind: plan.RBACPath, String: &plan.StringMatch{Kind: plan.MatchAny}},
		{Kind: plan.RBACAuthenticated},
		{Kind: plan.RBACAuthenticated, String: prefix("spiffe://")},
	} {
		if matches(&r, f) {
			t.Errorf("rule of kind %d holds", r.Kind)
		}
	}
}

func TestActions(t *testing.T) {
	get := []plan.RBACPolicy{{Name: "p", Permissions: []plan.RBACRule{{Kind: plan.RBACPath, String: prefix("/reviews")}},
		Principals: []plan.RBACRule{{Kind: plan.RBACAny}}}}
	for _, c := range []struct {
		rules *plan.RBACRules
		want  Verdict
	}{
		{nil, Verdict{Allowed: true}},
		{&plan.RBACRules{Action: plan.RBACAllow, Policies: get}, Verdict{true, "p"}},
		{&plan.RBACRules{Action: plan.RBACAllow}, Verdict{false, ""}},
		{&plan.RBACRules{Action: plan.RBACDeny, Policies: get}, Verdict{false, "p"}},
		{&plan.RBACRules{Action: plan.RBACDeny}, Verdict{true, ""}},
		{&plan.RBACRules{Action: plan.RBACLog, Policies: get}, Verdict{true, "p"}},
	} {
		if got := Decide(c.rules, facts()); got != c.want {
			t.Errorf("%+v: %+v", c.rules, got)
		}
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	rules := &plan.RBACRules{Policies: []plan.RBACPolicy{{Permissions: []plan.RBACRule{{Kind: plan.RBACDestinationPort, PortHigh: 65535}},
		Principals: []plan.RBACRule{{Kind: plan.RBACAuthenticated, String: prefix("spiffe://cluster.local/ns/default/")}}}}}
	f := facts()
	if n := testing.AllocsPerRun(100, func() { Decide(rules, f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
