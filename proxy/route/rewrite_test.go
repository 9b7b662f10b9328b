package route

import (
	"regexp"
	"testing"
	"time"

	"lateen.dev/lateen/proxy/plan"
)

func TestPathRewrite(t *testing.T) {
	rx := regexp.MustCompile(`/v([0-9]+)/`)
	for _, tc := range []struct {
		name, path, want string
		m                plan.RouteMatch
		rw               plan.Rewrite
	}{
		{"prefix", "/old/a?q", "/new/a?q", plan.RouteMatch{Path: "/old"}, plan.Rewrite{HasPrefix: true, Prefix: "/new"}},
		{"prefix of itself", "/old?q", "/new?q", plan.RouteMatch{Path: "/old"}, plan.Rewrite{HasPrefix: true, Prefix: "/new"}},
		{"prefix with slash leaves one", "/old/a", "/a", plan.RouteMatch{Path: "/old/"}, plan.Rewrite{HasPrefix: true, Prefix: "/"}},
		{"root", "/a?q", "/x/a?q", plan.RouteMatch{Path: "/"}, plan.Rewrite{HasPrefix: true, Prefix: "/x/"}},
		{"exact", "/old?q", "/new?q", plan.RouteMatch{Kind: plan.PathExact, Path: "/old"}, plan.Rewrite{HasPrefix: true, Prefix: "/new"}},
		{"regex match is replaced whole", "/o/1?q", "/new?q", plan.RouteMatch{Kind: plan.PathRegex, Regex: full("/o/.*")}, plan.Rewrite{HasPrefix: true, Prefix: "/new"}},
		{"regex", "/v1/a/v22/?v=/v3/", "/n-1/a/n-22/?v=/v3/", plan.RouteMatch{Path: "/"}, plan.Rewrite{Regex: rx, Substitution: "/n-${1}/"}},
		{"none", "/a?q", "/a?q", plan.RouteMatch{Path: "/"}, plan.Rewrite{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &Decision{Route: &plan.Route{Match: tc.m}, Action: &plan.RouteAction{Rewrite: tc.rw}}
			if got := string(d.AppendPath(nil, []byte(tc.path))); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestAuthority(t *testing.T) {
	n := plan.NewHeaderName("x-host")
	h := get("GET http://a/tenant/x", "x-host: from-header")
	for _, tc := range []struct {
		name, want string
		d          Decision
	}{
		{"as it is", "a", Decision{Action: &plan.RouteAction{}}},
		{"literal", "b", Decision{Action: &plan.RouteAction{Rewrite: plan.Rewrite{Host: []byte("b")}}}},
		{"cluster's", "c", Decision{Action: &plan.RouteAction{Rewrite: plan.Rewrite{Host: []byte("b")}}, Target: &plan.WeightedCluster{HostRewrite: []byte("c")}}},
		{"header", "from-header", Decision{Action: &plan.RouteAction{Rewrite: plan.Rewrite{HostHeader: &n}}}},
		{"path", "tenant.svc", Decision{Action: &plan.RouteAction{Rewrite: plan.Rewrite{HostRegex: regexp.MustCompile(`^/(\w+)/.*`), HostSubst: "${1}.svc"}}}},
	} {
		if got, _ := tc.d.Authority(h); string(got) != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestRedirects(t *testing.T) {
	for _, tc := range []struct {
		name, url, want string
		m               plan.RouteMatch
		rd              plan.Redirect
	}{
		{"host", "GET http://a/x?q", "http://b/x?q", plan.RouteMatch{Path: "/"}, plan.Redirect{Host: "b"}},
		{"https drops port 80", "GET http://a:80/x", "https://a/x", plan.RouteMatch{Path: "/"}, plan.Redirect{HTTPS: true}},
		{"https keeps other ports", "GET http://a:81/x", "https://a:81/x", plan.RouteMatch{Path: "/"}, plan.Redirect{HTTPS: true}},
		{"http drops port 443", "GET https://a:443/x", "http://a/x", plan.RouteMatch{Path: "/"}, plan.Redirect{Scheme: "http"}},
		{"port", "GET http://a:1/x", "http://a:8443/x", plan.RouteMatch{Path: "/"}, plan.Redirect{Port: 8443}},
		{"path", "GET http://a/x?q", "http://a/y?q", plan.RouteMatch{Path: "/"}, plan.Redirect{Path: "/y"}},
		{"path with query", "GET http://a/x?q", "http://a/y?z", plan.RouteMatch{Path: "/"}, plan.Redirect{Path: "/y?z"}},
		{"without query", "GET http://a/x?q", "http://a/x", plan.RouteMatch{Path: "/"}, plan.Redirect{StripQuery: true}},
		{"prefix", "GET http://a/old/x?q", "http://a/new/x?q", plan.RouteMatch{Path: "/old"}, plan.Redirect{HasPrefix: true, Prefix: "/new"}},
		{"regex", "GET http://a/v1/x", "http://a/x/v1", plan.RouteMatch{Path: "/"}, plan.Redirect{Regex: regexp.MustCompile(`^/(v1)/(.*)$`), Substitution: "/${2}/${1}"}},
		{"IPv6", "GET http://[::1]:80/x", "https://[::1]/x", plan.RouteMatch{Path: "/"}, plan.Redirect{HTTPS: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &Decision{Outcome: Redirect, Route: &plan.Route{Match: tc.m, Redirect: &tc.rd}}
			if got := string(d.AppendLocation(nil, get(tc.url))); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	const s = time.Second
	grpc := "content-type: application/grpc"
	for _, tc := range []struct {
		name    string
		a       plan.RouteAction
		headers []string
		want    Timeouts
	}{
		{"route", plan.RouteAction{Timeout: 15 * s}, nil, Timeouts{Global: 15 * s}},
		{"header", plan.RouteAction{Timeout: 15 * s}, []string{"x-envoy-upstream-rq-timeout-ms: 2500"}, Timeouts{Global: 2500 * time.Millisecond}},
		{"per try", plan.RouteAction{Timeout: 15 * s, Retry: &plan.RetryPolicy{PerTryTimeout: 2 * s}}, nil, Timeouts{Global: 15 * s, PerTry: 2 * s}},
		{"per try beyond the whole", plan.RouteAction{Timeout: s, Retry: &plan.RetryPolicy{PerTryTimeout: 2 * s}}, nil, Timeouts{Global: s}},
		{"grpc without deadline", plan.RouteAction{Timeout: 15 * s, UseGRPCTimeout: true}, []string{grpc}, Timeouts{}},
		{"grpc within any", plan.RouteAction{Timeout: 15 * s, UseGRPCTimeout: true}, []string{grpc, "grpc-timeout: 30S"}, Timeouts{Global: 30 * s}},
		{"grpc capped", plan.RouteAction{UseGRPCTimeout: true, MaxGRPCTimeout: 10 * s}, []string{grpc, "grpc-timeout: 30S"}, Timeouts{Global: 10 * s}},
		{"grpc offset", plan.RouteAction{UseGRPCTimeout: true, GRPCTimeoutOffset: s}, []string{grpc, "grpc-timeout: 30S"}, Timeouts{Global: 29 * s}},
		{"grpc-timeout without grpc", plan.RouteAction{Timeout: 15 * s, UseGRPCTimeout: true}, []string{"grpc-timeout: 1S"}, Timeouts{Global: 15 * s}},
		{"stream", plan.RouteAction{Timeout: 15 * s, HasMaxStream: true, MaxStream: 3 * s}, nil, Timeouts{MaxStream: 3 * s}},
		{"stream by grpc", plan.RouteAction{HasMaxStream: true, UseGRPCTimeout: true}, []string{grpc, "grpc-timeout: 500m"}, Timeouts{MaxStream: s / 2}},
		{"manager's stream", plan.RouteAction{Timeout: s}, nil, Timeouts{Global: s, MaxStream: time.Hour}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &Decision{Action: &tc.a}
			limit := time.Duration(0)
			if tc.name == "manager's stream" {
				limit = time.Hour
			}
			if got := d.Timeouts(get("POST http://a/", tc.headers...), &plan.Router{}, limit); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestHash(t *testing.T) {
	n := plan.NewHeaderName("x-user")
	byHeader := plan.HashPolicy{Kind: plan.HashHeader, Header: &n}
	byCookie := plan.HashPolicy{Kind: plan.HashCookie, Name: "sid"}
	in := func(headers ...string) *Input { return &Input{Head: get("GET http://a/?k=v", headers...)} }
	a, ok, _ := Hash([]plan.HashPolicy{byHeader}, in("x-user: a"), nil)
	b, _, _ := Hash([]plan.HashPolicy{byHeader}, in("x-user: b"), nil)
	again, _, _ := Hash([]plan.HashPolicy{byHeader}, in("x-user: a"), nil)
	if !ok || a == b || a != again {
		t.Errorf("hashes %x %x %x", a, b, again)
	}
	if _, ok, _ := Hash([]plan.HashPolicy{byHeader, byCookie}, in(), nil); ok {
		t.Error("hashed nothing into something")
	}
	c, ok, _ := Hash([]plan.HashPolicy{byCookie}, in(`cookie: a=1; sid="a"; b=2`), nil)
	if !ok || c != a {
		t.Errorf("cookie: %x, want %x", c, a)
	}
	byCookie.HasTTL = true
	if d, ok, cookie := Hash([]plan.HashPolicy{byCookie}, in(), []byte("a")); !ok || d != a || cookie == nil {
		t.Error("no cookie was asked for")
	}
	first := byHeader
	first.Terminal = true
	if d, _, _ := Hash([]plan.HashPolicy{first, {Kind: plan.HashQuery, Name: "k"}}, in("x-user: a"), nil); d != a {
		t.Error("the terminal policy was not the last")
	}
}

func FuzzDecide(f *testing.F) {
	f.Add("GET", "a:80", "/v1/x?y=1#z", uint64(7))
	f.Fuzz(func(t *testing.T, method, authority, path string, random uint64) {
		a := to("a", plan.RouteMatch{Kind: plan.PathSeparatedPrefix, Path: "/v1", Query: []plan.QueryMatch{{Name: "y"}}})
		a.Forward.Rewrite = plan.Rewrite{HasPrefix: true, Prefix: "/"}
		b := &plan.Route{Match: plan.RouteMatch{Path: "/"}, Redirect: &plan.Redirect{HTTPS: true, HasPrefix: true, Prefix: "/x"}}
		r := &request{method: method, authority: authority, path: path, scheme: "http"}
		d := decide(config(t, a, b), r, func(in *Input) { in.Random = random })
		switch d.Outcome {
		case Forward:
			d.AppendPath(nil, r.Path())
		case Redirect:
			d.AppendLocation(nil, r)
		}
	})
}
