package rbac_test

import (
	"strings"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbachttp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	rbactcp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	security "istio.io/api/security/v1beta1"

	"lateen.dev/lateen/translate/internal/rbac"
)

func policy(action security.AuthorizationPolicy_Action, rules ...*security.Rule) rbac.Input {
	return rbac.Input{
		TrustDomains: []string{"cluster.local", "old.local"},
		Policies:     []rbac.Policy{{Namespace: "ns", Name: "p", Spec: &security.AuthorizationPolicy{Action: action, Rules: rules}}},
	}
}

func from(s *security.Source) *security.Rule {
	return &security.Rule{From: []*security.Rule_From{{Source: s}}}
}

func to(o *security.Operation) *security.Rule {
	return &security.Rule{To: []*security.Rule_To{{Operation: o}}}
}

func when(key string, values ...string) *security.Rule {
	return &security.Rule{When: []*security.Condition{{Key: key, Values: values}}}
}

// text writes a policy's parts without blanks, so that it can be searched.
func text(m proto.Message) string {
	return strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(m)), " ")
}

func httpRules(t *testing.T, in rbac.Input) *rbacv3.RBAC {
	t.Helper()
	m := &rbachttp.RBAC{}
	if err := rbac.HTTP(in)[0].GetTypedConfig().UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m.GetRules()
}

func tcpRules(t *testing.T, in rbac.Input) *rbacv3.RBAC {
	t.Helper()
	m := &rbactcp.RBAC{}
	if err := rbac.TCP(in)[0].GetTypedConfig().UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m.GetRules()
}

// TestAttributes checks what each attribute becomes in the one filter of an ALLOW policy.
func TestAttributes(t *testing.T) {
	allow := security.AuthorizationPolicy_ALLOW
	for name, c := range map[string]struct {
		rule *security.Rule
		want []string
	}{
		"principal of any of the mesh's trust domains": {
			from(&security.Source{Principals: []string{"cluster.local/ns/a/sa/b"}}),
			[]string{`exact:"spiffe://cluster.local/ns/a/sa/b"`, `exact:"spiffe://old.local/ns/a/sa/b"`},
		},
		"principal of another trust domain": {
			from(&security.Source{Principals: []string{"other.example/ns/a/*"}}), []string{`prefix:"spiffe://other.example/ns/a/"`},
		},
		"any principal":  {from(&security.Source{Principals: []string{"*"}}), []string{`regex:".+"`}},
		"not namespaces": {from(&security.Source{NotNamespaces: []string{"a"}}), []string{`not_id:{or_ids:`, `regex:".*/ns/a/.*"`}},
		"service account of the policy's namespace": {
			from(&security.Source{ServiceAccounts: []string{"x"}}), []string{`regex:"spiffe://.+/ns/ns/(.+/|)sa/x(/.+)?"`},
		},
		"trust domain": {from(&security.Source{TrustDomains: []string{"a.b"}}), []string{`regex:"spiffe://a\\.b/.*"`}},
		"request principal": {
			from(&security.Source{RequestPrincipals: []string{"https://iss/x/sub"}}), []string{`exact:"https://iss/x"`, `exact:"sub"`},
		},
		"path template":     {to(&security.Operation{Paths: []string{"/a/{*}/b/{**}"}}), []string{`regex:"/a/[^/]+/b/.*"`}},
		"path suffix":       {to(&security.Operation{Paths: []string{"*.php"}}), []string{`suffix:".php"`}},
		"not ports":         {to(&security.Operation{NotPorts: []string{"80"}}), []string{`not_rule:{or_rules:{rules:{destination_port:80}}}`}},
		"nested claim":      {when("request.auth.claims[a][b]", "x"), []string{`key:"payload"`, `key:"a"`, `key:"b"`, `list_match`}},
		"header":            {when("request.headers[x-a]", "*"), []string{`name:"x-a"`, `present_match:true`}},
		"destination ip":    {when("destination.ip", "10.0.0.0/8"), []string{`destination_ip:{address_prefix:"10.0.0.0"`}},
		"filter's metadata": {when("experimental.envoy.filters.a.b[c]", "v"), []string{`filter:"envoy.filters.a.b"`, `key:"c"`}},
	} {
		t.Run(name, func(t *testing.T) {
			p := httpRules(t, policy(allow, c.rule)).GetPolicies()["ns[ns]-policy[p]-rule[0]"]
			if p == nil {
				t.Fatal("no policy")
			}
			got := strings.ReplaceAll(text(p), ": ", ":")
			got = strings.NewReplacer("{ ", "{", " }", "}").Replace(got)
			for _, w := range c.want {
				if !strings.Contains(got, w) {
					t.Errorf("%s\nis not in %s", w, got)
				}
			}
		})
	}
}

// TestNeverWider checks that what cannot be said denies rather than allows.
func TestNeverWider(t *testing.T) {
	http := to(&security.Operation{Methods: []string{"GET"}, Ports: []string{"80"}})
	allow, deny, custom := security.AuthorizationPolicy_ALLOW, security.AuthorizationPolicy_DENY, security.AuthorizationPolicy_CUSTOM
	if p := tcpRules(t, policy(allow, http)).GetPolicies(); len(p) != 0 {
		t.Errorf("an ALLOW rule about requests allows on TCP: %v", p)
	}
	if got := text(tcpRules(t, policy(deny, http))); !strings.Contains(got, "destination_port") || strings.Contains(got, "header") {
		t.Errorf("a DENY rule about requests on TCP: %s", got)
	}
	if p := httpRules(t, policy(allow, when("source.unknown", "x"))).GetPolicies(); len(p) != 0 {
		t.Errorf("an unknown condition allows: %v", p)
	}
	if p := httpRules(t, policy(allow, when("source.ip", "not-an-address"))).GetPolicies(); len(p) != 0 {
		t.Errorf("an unreadable address allows: %v", p)
	}
	if r := httpRules(t, policy(custom, &security.Rule{})); r.GetAction() != rbacv3.RBAC_DENY || len(r.GetPolicies()) != 1 {
		t.Errorf("a CUSTOM policy does not deny: %v", r)
	}
	if got := text(httpRules(t, policy(allow))); !strings.Contains(got, "not_rule") {
		t.Errorf("an ALLOW policy without rules allows: %s", got)
	}
}
