package cors

import (
	"testing"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

type head struct {
	method  string
	headers map[string]string
}

func (h head) Method() []byte    { return []byte(h.method) }
func (h head) Scheme() []byte    { return []byte("http") }
func (h head) Authority() []byte { return []byte("shop") }
func (h head) Path() []byte      { return []byte("/") }
func (h head) Header(n header.Name) ([]byte, bool) {
	v, ok := h.headers[n.String()]
	return []byte(v), ok
}

func TestDecide(t *testing.T) {
	policy := &plan.CORS{Enabled: plan.Fraction{Numerator: 100, Denominator: 100}, ForwardNotMatching: true,
		Origins: []plan.StringMatch{{Kind: plan.MatchSuffix, Value: ".example.com"}}}
	strict := *policy
	strict.ForwardNotMatching = false
	good, bad := "https://a.example.com", "https://evil.test"
	request := func(method, origin, asks string) head {
		h := head{method, map[string]string{}}
		if origin != "" {
			h.headers["origin"] = origin
		}
		if asks != "" {
			h.headers["access-control-request-method"] = asks
		}
		return h
	}
	for name, c := range map[string]struct {
		policy *plan.CORS
		head   head
		want   Verdict
	}{
		"no policy":                   {nil, request("GET", good, ""), Verdict{}},
		"same origin":                 {policy, request("GET", "", ""), Verdict{}},
		"allowed":                     {policy, request("GET", good, ""), Verdict{Allowed: true}},
		"not allowed":                 {policy, request("GET", bad, ""), Verdict{}},
		"preflight":                   {policy, request("OPTIONS", good, "PUT"), Verdict{Preflight: true, Allowed: true}},
		"OPTIONS that is none":        {policy, request("OPTIONS", good, ""), Verdict{Allowed: true}},
		"stranger's preflight passes": {policy, request("OPTIONS", bad, "PUT"), Verdict{}},
		"stranger's preflight ends":   {&strict, request("OPTIONS", bad, "PUT"), Verdict{Preflight: true}},
	} {
		if got := Decide(c.policy, c.head, 0); got != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestHeaders(t *testing.T) {
	policy := &plan.CORS{AllowMethods: "GET,PUT", AllowHeaders: "x-a", ExposeHeaders: "x-b", MaxAge: "60", AllowCredentials: true}
	var l header.List
	PreflightHeaders(&l, policy, Verdict{Preflight: true, Allowed: true}, []byte("https://a"))
	want := map[header.ID]string{header.AccessControlAllowOrigin: "https://a", header.AccessControlAllowMethods: "GET,PUT",
		header.AccessControlAllowHeaders: "x-a", header.AccessControlExposeHeaders: "x-b", header.AccessControlMaxAge: "60",
		header.AccessControlAllowCredentials: "true"}
	for id, v := range want {
		if string(l.Get(id)) != v {
			t.Errorf("%s is %q", id, l.Get(id))
		}
	}
	l.Reset()
	PreflightHeaders(&l, policy, Verdict{Preflight: true}, []byte("https://evil"))
	if len(l.Fields) != 0 {
		t.Errorf("a stranger gets %v", l.Fields)
	}
}
