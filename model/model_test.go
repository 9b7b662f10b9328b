package model_test

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
)

func TestParseExportTo(t *testing.T) {
	for _, c := range []struct {
		exportTo, byDefault []string
		sees, doesNot       []string
	}{
		{nil, nil, []string{"own", "other"}, nil},
		{nil, []string{"."}, []string{"own"}, []string{"other"}},
		{[]string{"*"}, []string{"."}, []string{"own", "other"}, nil},
		{[]string{".", "b", "a"}, nil, []string{"own", "a", "b"}, []string{"other"}},
		{[]string{"~"}, nil, nil, []string{"own", "other"}},
		{[]string{"a", "*"}, nil, []string{"other"}, nil},
	} {
		v := model.ParseExportTo(c.exportTo, "own", c.byDefault)
		for _, ns := range c.sees {
			if !v.VisibleTo(ns) {
				t.Errorf("%v (default %v) is not visible to %s", c.exportTo, c.byDefault, ns)
			}
		}
		for _, ns := range c.doesNot {
			if v.VisibleTo(ns) {
				t.Errorf("%v (default %v) is visible to %s", c.exportTo, c.byDefault, ns)
			}
		}
	}
}

func TestServerAdmits(t *testing.T) {
	server := &model.Server{}
	for _, h := range []string{"*.example.com", "./own.org", "shop/*"} {
		server.Hosts = append(server.Hosts, model.ParseServerHost(h, "gateways"))
	}
	for _, c := range []struct {
		namespace string
		hosts     []string
		want      []string
	}{
		{"any", []string{"www.example.com", "own.org", "example.com"}, []string{"www.example.com"}},
		{"gateways", []string{"own.org"}, []string{"own.org"}},
		{"any", []string{"*"}, []string{"*.example.com"}},
		{"any", []string{"*.com"}, []string{"*.example.com"}},
		{"shop", []string{"*.com", "x.net"}, []string{"*.example.com", "*.com", "x.net"}},
	} {
		got := server.Admits(&model.VirtualService{Namespace: c.namespace, Hosts: c.hosts})
		if !slices.Equal(got, c.want) {
			t.Errorf("%v of %s: %v, want %v", c.hosts, c.namespace, got, c.want)
		}
	}
}

func TestPolicyPrecedence(t *testing.T) {
	lb := func(s networking.LoadBalancerSettings_SimpleLB) *networking.LoadBalancerSettings {
		return &networking.LoadBalancerSettings{LbPolicy: &networking.LoadBalancerSettings_Simple{Simple: s}}
	}
	tls := &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_SIMPLE}
	port := func(n uint32, l *networking.LoadBalancerSettings) []*networking.TrafficPolicy_PortTrafficPolicy {
		return []*networking.TrafficPolicy_PortTrafficPolicy{{Port: &networking.PortSelector{Number: n}, LoadBalancer: l}}
	}
	random, robin, least := lb(networking.LoadBalancerSettings_RANDOM), lb(networking.LoadBalancerSettings_ROUND_ROBIN),
		lb(networking.LoadBalancerSettings_LEAST_REQUEST)
	rule := &model.DestinationRule{Spec: &networking.DestinationRule{
		TrafficPolicy: &networking.TrafficPolicy{LoadBalancer: random, Tls: tls, PortLevelSettings: port(80, robin)},
		Subsets: []*networking.Subset{
			{Name: "plain"},
			{Name: "own", TrafficPolicy: &networking.TrafficPolicy{LoadBalancer: least}},
			{Name: "port", TrafficPolicy: &networking.TrafficPolicy{PortLevelSettings: port(80, least)}},
		},
	}}
	for _, c := range []struct {
		subset string
		port   uint32
		want   *networking.TrafficPolicy
	}{
		{"", 90, &networking.TrafficPolicy{LoadBalancer: random, Tls: tls}},
		{"", 80, &networking.TrafficPolicy{LoadBalancer: robin}},
		{"plain", 80, &networking.TrafficPolicy{LoadBalancer: robin}},
		{"own", 90, &networking.TrafficPolicy{LoadBalancer: least, Tls: tls}},
		{"own", 80, &networking.TrafficPolicy{LoadBalancer: least}},
		{"port", 90, &networking.TrafficPolicy{LoadBalancer: random, Tls: tls}},
		{"port", 80, &networking.TrafficPolicy{LoadBalancer: least}},
		{"unknown", 90, &networking.TrafficPolicy{LoadBalancer: random, Tls: tls}},
	} {
		if got := rule.Policy(c.subset, c.port); !proto.Equal(got, c.want) {
			t.Errorf("subset %q port %d: %v, want %v", c.subset, c.port, got, c.want)
		}
	}
	var none *model.DestinationRule
	if none.Policy("x", 1) != nil || (&model.DestinationRule{Spec: &networking.DestinationRule{}}).Policy("", 1) != nil {
		t.Error("a policy came out of nothing")
	}
}

func TestSelect(t *testing.T) {
	set := &model.EndpointSet{Endpoints: []model.Endpoint{
		{Workload: &model.Workload{Address: "a", Labels: map[string]string{"v": "1"}, Locality: model.ParseLocality("r/z")}, PortNumbers: []uint32{80, 0}},
		{Workload: &model.Workload{Address: "b", Labels: map[string]string{"v": "2", model.LabelRegion: "written"}}, PortNumbers: []uint32{81, 90}},
	}}
	for _, c := range []struct {
		index  int
		subset map[string]string
		want   string
	}{
		{0, nil, "[a:80 b:81]"},
		{1, nil, "[b:90]"},
		{2, nil, "[]"},
		{-1, nil, "[]"},
		{0, map[string]string{"v": "1"}, "[a:80]"},
		{0, map[string]string{"v": "3"}, "[]"},
		{0, map[string]string{"absent": ""}, "[]"},
		{0, map[string]string{model.LabelRegion: "r", model.LabelZone: "z"}, "[a:80]"},
		{0, map[string]string{model.LabelRegion: "written"}, "[b:81]"},
	} {
		got := []string{}
		for w, port := range set.Select(c.index, c.subset) {
			got = append(got, fmt.Sprintf("%s:%d", w.Address, port))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("port %d %v: %v, want %s", c.index, c.subset, got, c.want)
		}
	}
	var none *model.EndpointSet
	for range none.Select(0, nil) {
		t.Error("an endpoint of none")
	}
}

func TestCompareHosts(t *testing.T) {
	got := []string{"*", "*.com", "b.com", "*.example.com", "a.com"}
	slices.SortFunc(got, model.CompareHosts)
	want := []string{"a.com", "b.com", "*.example.com", "*.com", "*"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestEgressListener(t *testing.T) {
	var l model.EgressListener
	for _, h := range []string{"./*", "other/short", "~/*", "*/*.example.com"} {
		l.Hosts = append(l.Hosts, model.ParseEgressHost(h))
	}
	l = l.In("own", "cluster.local")
	for _, c := range []struct {
		namespace, host   string
		selects, imported bool
	}{
		{"own", "anything.org", true, true},
		{"other", "anything.org", false, false},
		{"other", "short.other.svc.cluster.local", true, true},
		{"third", "www.example.com", true, true},
		{"third", "*.com", false, true},
	} {
		if got := l.Selects(c.namespace, c.host); got != c.selects {
			t.Errorf("Selects(%s, %s) is %v", c.namespace, c.host, got)
		}
		if got := l.Imports(c.namespace, c.host); got != c.imported {
			t.Errorf("Imports(%s, %s) is %v", c.namespace, c.host, got)
		}
	}
}
