package route

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

// request is a Head for tests: "GET http://a/p?q" and headers.
type request struct {
	method, scheme, authority, path string
	headers                         map[string]string
}

func (r *request) Method() []byte    { return []byte(r.method) }
func (r *request) Scheme() []byte    { return []byte(r.scheme) }
func (r *request) Authority() []byte { return []byte(r.authority) }
func (r *request) Path() []byte      { return []byte(r.path) }
func (r *request) Header(n header.Name) ([]byte, bool) {
	v, ok := r.headers[n.String()]
	return []byte(v), ok
}

func get(url string, headers ...string) *request {
	method, url, _ := strings.Cut(url, " ")
	scheme, rest, _ := strings.Cut(url, "://")
	authority, path, _ := strings.Cut(rest, "/")
	r := &request{method: method, scheme: scheme, authority: authority, path: "/" + path, headers: map[string]string{}}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		r.headers[k] = v
	}
	return r
}

func config(t *testing.T, routes ...*plan.Route) *plan.RouteConfig {
	t.Helper()
	for i, r := range routes {
		r.Index = i
	}
	hosts, err := plan.NewHostTable([]*plan.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: routes}})
	if err != nil {
		t.Fatal(err)
	}
	return &plan.RouteConfig{Name: "test", Hosts: hosts}
}

func to(name string, m plan.RouteMatch) *plan.Route {
	return &plan.Route{Name: name, Match: m, Forward: &plan.RouteAction{Clusters: []plan.WeightedCluster{{Name: name, Weight: 1}}, TotalWeight: 1}}
}

func full(s string) *regexp.Regexp { return regexp.MustCompile("^(?:" + s + ")$") }

func headerIs(name, value string) plan.HeaderMatch {
	return plan.HeaderMatch{Name: plan.NewHeaderName(name), Kind: plan.HeaderString, Value: plan.StringMatch{Value: value}}
}

func decide(c *plan.RouteConfig, r *request, change func(*Input)) *Decision {
	in := &Input{Config: c, Head: r}
	if change != nil {
		change(in)
	}
	var d Decision
	Decide(&d, in)
	return &d
}

// Routes are tried in the order of the configuration; the first that matches wins.
func TestMatchOrder(t *testing.T) {
	yes := true
	q1 := &plan.StringMatch{Value: "1"}
	c := config(t,
		to("exact", plan.RouteMatch{Kind: plan.PathExact, Path: "/exact"}),
		to("any case", plan.RouteMatch{Kind: plan.PathExact, Path: "/exact", IgnoreCase: true}),
		to("regex", plan.RouteMatch{Kind: plan.PathRegex, Regex: full(`/r/[0-9]+`)}),
		to("separated", plan.RouteMatch{Kind: plan.PathSeparatedPrefix, Path: "/sep"}),
		to("header", plan.RouteMatch{Path: "/h", Headers: []plan.HeaderMatch{headerIs("end-user", "jason")}}),
		to("method", plan.RouteMatch{Path: "/h", Headers: []plan.HeaderMatch{headerIs(":method", "POST")}}),
		to("query", plan.RouteMatch{Path: "/q", Query: []plan.QueryMatch{{Name: "v", Value: q1}, {Name: "debug"}}}),
		to("grpc", plan.RouteMatch{Path: "/g", GRPC: true}),
		to("tls", plan.RouteMatch{Path: "/t", TLSPresented: &yes}),
		to("never", plan.RouteMatch{Path: "/n", Never: true}),
		to("half", plan.RouteMatch{Path: "/half", Fraction: &plan.Fraction{Numerator: 0, Denominator: 100}}),
		to("prefix", plan.RouteMatch{Path: "/prefix"}),
		to("connect", plan.RouteMatch{Kind: plan.ConnectMatch}),
	)
	for _, tc := range []struct {
		r    *request
		want string
	}{
		{get("GET http://a/exact"), "exact"},
		{get("GET http://a/exact?x=/"), "exact"},
		{get("GET http://a/exact#f"), "exact"},
		{get("GET http://a/Exact"), "any case"},
		{get("GET http://a/exact/"), ""},
		{get("GET http://a/r/12?a"), "regex"},
		{get("GET http://a/r/12/"), ""},
		{get("GET http://a/sep"), "separated"},
		{get("GET http://a/sep/x"), "separated"},
		{get("GET http://a/separate"), ""},
		{get("GET http://a/h", "end-user: jason"), "header"},
		{get("POST http://a/h", "end-user: jason2"), "method"},
		{get("GET http://a/h"), ""},
		{get("GET http://a/q?debug&v=1"), "query"},
		{get("GET http://a/q?v=1"), ""},
		{get("GET http://a/q?v=2&v=1&debug=x"), ""},
		{get("GET http://a/q"), ""},
		{get("POST http://a/g", "content-type: application/grpc+proto"), "grpc"},
		{get("POST http://a/g", "content-type: application/grpc-web"), ""},
		{get("GET http://a/t"), ""},
		{get("GET http://a/n"), ""},
		{get("GET http://a/half"), ""},
		{get("GET http://a/prefixed/x"), "prefix"},
		{&request{method: "CONNECT", authority: "a:443"}, "connect"},
		{get("GET http://a/"), ""},
	} {
		d := decide(c, tc.r, nil)
		got := ""
		if d.Outcome == Forward {
			got = d.Target.Name
		}
		if got != tc.want {
			t.Errorf("%s %s %v: got %q, want %q", tc.r.method, tc.r.path, tc.r.headers, got, tc.want)
		}
	}
	if d := decide(c, get("GET http://a/t"), func(in *Input) { in.Conn.CertPresented = true }); d.Outcome != Forward {
		t.Error("the certificate was not seen")
	}
}

func TestOutcomes(t *testing.T) {
	if d := decide(nil, get("GET http://a/"), nil); d.Outcome != NoRoute || d.Headers == nil {
		t.Error("without a route configuration there is no route")
	}
	c := config(t, &plan.Route{Match: plan.RouteMatch{Path: "/d"}, Direct: &plan.DirectResponse{Status: 204}}, &plan.Route{Match: plan.RouteMatch{Path: "/n"}})
	if d := decide(c, get("GET http://a/d"), nil); d.Outcome != Direct {
		t.Errorf("got %v", d.Outcome)
	}
	if d := decide(c, get("GET http://a/n"), nil); d.Outcome != Unsupported {
		t.Errorf("got %v", d.Outcome)
	}
	c.Hosts.All()[0].RequireTLS = plan.TLSForExternal
	d := decide(c, get("GET http://a:80/d?x"), nil)
	if got := string(d.AppendLocation(nil, get("GET http://a:80/d?x"))); d.Outcome != RequireTLS || got != "https://a/d?x" {
		t.Errorf("got %v, %s", d.Outcome, got)
	}
	if d := decide(c, get("GET http://a/d"), func(in *Input) { in.Conn.Internal = true }); d.Outcome != Direct {
		t.Error("internal requests were redirected, too")
	}
}

func TestWeights(t *testing.T) {
	r := to("x", plan.RouteMatch{Path: "/"})
	r.Forward.Clusters = []plan.WeightedCluster{{Name: "a", Weight: 90}, {Name: "none", Weight: 0}, {Name: "b", Weight: 10}}
	r.Forward.TotalWeight = 100
	weight := plan.NewHeaderName("x-weight")
	c := config(t, r)
	seen := map[string]int{}
	for i := range uint64(100) {
		seen[decide(c, get("GET http://a/"), func(in *Input) { in.Random = i }).Target.Name]++
	}
	if seen["a"] != 90 || seen["b"] != 10 {
		t.Errorf("got %v", seen)
	}
	r.Forward.WeightHeader = &weight
	if d := decide(c, get("GET http://a/", "x-weight: 95"), nil); d.Target.Name != "b" {
		t.Errorf("the header was not used: %s", d.Target.Name)
	}
}

func TestClusterHeader(t *testing.T) {
	n := plan.NewHeaderName("x-cluster")
	r := &plan.Route{Match: plan.RouteMatch{Path: "/"}, Forward: &plan.RouteAction{ClusterHeader: &n}}
	c := config(t, r)
	names := plan.NewNames()
	p := plan.New(names, plan.Parts{Clusters: []*plan.Cluster{{Name: "there"}}})
	if d := decide(c, get("GET http://a/", "x-cluster: there"), nil); d.Cluster(p) == nil || d.Cluster(p).Name != "there" {
		t.Error("the cluster was not found")
	}
	if d := decide(c, get("GET http://a/", "x-cluster: gone"), nil); d.Outcome != Forward || d.Cluster(p) != nil {
		t.Error("a cluster that doesn't exist was found")
	}
	if d := decide(c, get("GET http://a/"), nil); d.Outcome != Forward || d.Cluster(p) != nil {
		t.Error("without the header there is no cluster")
	}
}

func TestMirrors(t *testing.T) {
	r := to("x", plan.RouteMatch{Path: "/"})
	r.Forward.Mirror = []plan.Mirror{
		{Name: "all", Fraction: plan.Fraction{Numerator: 100, Denominator: 100}},
		{Name: "none", Fraction: plan.Fraction{Numerator: 0, Denominator: 100}},
		{Name: "half", Fraction: plan.Fraction{Numerator: 50, Denominator: 100}},
	}
	c := config(t, r)
	half := 0
	for i := range uint64(2000) {
		m := decide(c, get("GET http://a/"), func(in *Input) { in.Random = i }).Mirrors
		if m&1 == 0 || m&2 != 0 {
			t.Fatalf("mirrors %b", m)
		}
		half += int(m >> 2 & 1)
	}
	if half < 900 || half > 1100 {
		t.Errorf("half of 2000 came out as %d", half)
	}
}

func TestTrace(t *testing.T) {
	a := to("a", plan.RouteMatch{Path: "/", Headers: []plan.HeaderMatch{headerIs("end-user", "jason")}})
	b := to("b", plan.RouteMatch{Path: "/"})
	b.Origin = plan.Origin{File: "reviews.yaml", Line: 12, Rule: "http[1]"}
	tr := &Trace{}
	decide(config(t, a, b), get("GET http://a/"), func(in *Input) { in.Trace = tr })
	if len(tr.Routes) != 2 || tr.Routes[0].Matched || tr.Routes[0].Reason != `not so: header end-user exact "jason"` ||
		!tr.Routes[1].Matched || tr.Routes[1].Line != 12 || tr.Cluster != "b" || tr.VirtualHost != "all" {
		t.Errorf("%+v", tr)
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	r := to("x", plan.RouteMatch{Path: "/x", Headers: []plan.HeaderMatch{headerIs("end-user", "jason")}, Query: []plan.QueryMatch{{Name: "v"}}})
	y := to("y", plan.RouteMatch{Path: "/"})
	y.Forward.Rewrite = plan.Rewrite{HasPrefix: true, Prefix: "/new/", Host: []byte("other")}
	c := config(t, r, to("rx", plan.RouteMatch{Kind: plan.PathRegex, Regex: full("/z.*")}), y)
	in := &Input{Config: c, Head: &fixed{}, Conn: Conn{Remote: netip.MustParseAddr("10.0.0.1")}}
	var d Decision
	buf := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() {
		Decide(&d, in)
		if d.Target.Name != "y" {
			t.Fatal("wrong route")
		}
		buf = d.AppendPath(buf[:0], in.Head.Path())
		d.Authority(in.Head)
		d.Timeouts(in.Head, nil, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if string(buf) != "/new/api/v1?x=1" {
		t.Errorf("path %s", buf)
	}
}

// fixed is a head that allocates nothing itself.
type fixed struct{}

var fixedPath, fixedHost = []byte("/api/v1?x=1"), []byte("reviews:9080")

func (*fixed) Method() []byte                    { return fixedHost[:1] }
func (*fixed) Scheme() []byte                    { return fixedHost[:2] }
func (*fixed) Authority() []byte                 { return fixedHost }
func (*fixed) Path() []byte                      { return fixedPath }
func (*fixed) Header(header.Name) ([]byte, bool) { return nil, false }
