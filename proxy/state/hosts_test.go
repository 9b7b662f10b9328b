package state

import (
	"context"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
)

// hosts sends virtual hosts as NAME=DOMAIN,CLUSTER, and returns the refusals as text.
func (h *harness) hosts(removed []string, specs ...string) string {
	h.t.Helper()
	u := xds.Update{TypeURL: xds.VirtualHostType, Version: "v", Removed: removed}
	for _, spec := range specs {
		name, rest, _ := strings.Cut(spec, "=")
		domain, cluster, _ := strings.Cut(rest, ",")
		vh := routes("", strings.Fields(cluster)...).GetVirtualHosts()[0]
		vh.Name, vh.Domains = name[strings.LastIndexByte(name, '/')+1:], nil
		if domain != "" {
			vh.Domains = []string{domain}
		}
		r, err := xds.NewResource(name, vh)
		if err != nil {
			h.t.Fatal(err)
		}
		u.Added = append(u.Added, r)
	}
	var out []string
	for _, r := range h.store.Update(context.Background(), u) {
		out = append(out, r.Error())
	}
	return strings.Join(out, "; ")
}

// answers says which virtual host of table "80" takes each authority.
func (h *harness) answers(authorities ...string) string {
	rc := h.current.Load().RouteConfigNamed("80")
	if rc == nil {
		return "no table"
	}
	var out []string
	for _, a := range authorities {
		if vh := rc.Hosts.Find([]byte(a), false); vh != nil {
			out = append(out, vh.Name+string('0'+rune(len(vh.Routes))))
		} else {
			out = append(out, "-")
		}
	}
	return strings.Join(out, " ")
}

func vhds(name string, add string) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{Name: name, Vhds: &routev3.Vhds{ConfigSource: ads(0)}}
	if add != "" {
		rc.RequestHeadersToRemove = []string{add}
	}
	return rc
}

// A listener waits for the virtual hosts of its routes; then they change one by one.
func TestVirtualHosts(t *testing.T) {
	h := newHarness(t)
	h.update(xds.ListenerType, nil, rds(t, "l", "80", 80, 0))
	h.update(xds.RouteType, nil, vhds("80", ""))
	h.want("")
	if got := h.subs.String(); got != "RDS 80, VHDS 80" {
		t.Errorf("subscribed to %s", got)
	}
	h.update(xds.ClusterType, nil)
	if _, why := h.store.Ready(); why != `listener "l" waits for route configuration "80"` {
		t.Errorf("not ready: %s", why)
	}
	if got := h.hosts(nil, "80/a=a.b,c", "80/b=b.b,c"); got != "" {
		t.Errorf("refusals: %s", got)
	}
	h.want("L:l R:80")
	if got := h.answers("a.b", "b.b", "c.b"); got != "a1 b1 -" {
		t.Errorf("found %s", got)
	}
	before := h.current.Load()
	if got := h.hosts([]string{"80/b"}, "80/a=a.b,", "80/c=b.b,c"); got != "" {
		t.Errorf("refusals: %s", got)
	}
	if got := h.answers("a.b", "b.b", "c.b"); got != "a0 c1 -" {
		t.Errorf("after the domain moved: %s", got)
	}
	if before.RouteConfigNamed("80").Hosts.Find([]byte("b.b"), false).Name != "b" {
		t.Error("the plan before has changed")
	}
	if got := h.hosts(nil, "80/c=,c"); got != "80/c: domains: there is none" {
		t.Errorf("refusals: %s", got)
	}
	if got := h.answers("a.b", "b.b"); got != "a0 c1" {
		t.Errorf("after a refusal: %s", got)
	}
	if got := h.hosts(nil, "81/c=x,c"); !strings.Contains(got, `"81" takes no virtual hosts`) {
		t.Errorf("refusals: %s", got)
	}
}

// What the route configuration says for all its hosts may change, or they may come with it again.
func TestVirtualHostsFollowTheirRouteConfiguration(t *testing.T) {
	h := newHarness(t)
	h.update(xds.ListenerType, nil, rds(t, "l", "80", 80, 0))
	h.update(xds.RouteType, nil, vhds("80", ""))
	h.hosts(nil, "80/a=a.b,c", "80/b=b.b,c")
	h.update(xds.RouteType, nil, vhds("80", "x-gone"))
	vh := h.current.Load().RouteConfigNamed("80").Hosts.Find([]byte("a.b"), false)
	if vh == nil || len(vh.Routes[0].Headers.Request) != 1 {
		t.Fatalf("virtual host %+v, its routes lack the mutation", vh)
	}
	h.update(xds.RouteType, nil, routes("80", "a"))
	if got := h.answers("a.b"); got != "v1" {
		t.Errorf("with its own hosts again: %s", got)
	}
	if got := h.subs.String(); got != "RDS 80" {
		t.Errorf("subscribed to %s", got)
	}
	if n := len(h.store.Resources(plan.KindVirtualHost)); n != 0 {
		t.Errorf("%d virtual hosts are kept", n)
	}
	h.update(xds.RouteType, nil, vhds("80", ""))
	if got := h.answers("a.b"); got != "v1" {
		t.Errorf("while virtual hosts are fetched: %s", got)
	}
	h.hosts([]string{"80"})
	if got := h.answers("a.b"); got != "-" {
		t.Errorf("none exist: %s", got)
	}
	h.update(xds.ListenerType, []string{"l"})
	h.want("")
	if got := h.subs.String(); got != "" || len(h.store.hosts) != 0 {
		t.Errorf("subscribed to %s, %d sets of hosts", got, len(h.store.hosts))
	}
}

// A server that answers with nothing has no virtual hosts.
func TestNoVirtualHosts(t *testing.T) {
	h := newHarness(t)
	h.update(xds.ListenerType, nil, rds(t, "l", "80", 80, 0))
	h.update(xds.RouteType, nil, vhds("80", ""))
	h.hosts(nil)
	h.want("L:l R:80")
}
