package endpoint_test

import (
	"fmt"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/endpoint"
)

// set has one endpoint for each locality and version written as region/zone/subzone version.
func set(places ...string) *model.EndpointSet {
	out := &model.EndpointSet{}
	for i, p := range places {
		place, version, _ := strings.Cut(p, " ")
		out.Endpoints = append(out.Endpoints, model.Endpoint{PortNumbers: []uint32{80}, Workload: &model.Workload{
			Address: fmt.Sprintf("10.0.0.%d", i+1), Locality: model.ParseLocality(place), Weight: 1,
			Labels: map[string]string{"version": version},
		}})
	}
	return out
}

// show writes address@priority of each endpoint in the order of the assignment, and the weight of each locality.
func show(in endpoint.Input) string {
	var out []string
	for _, l := range endpoint.Localities(in) {
		var addresses []string
		for _, e := range l.GetLbEndpoints() {
			addresses = append(addresses, e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
		}
		out = append(out, fmt.Sprintf("%d:%d:%s", l.GetPriority(), l.GetLoadBalancingWeight().GetValue(), strings.Join(addresses, ",")))
	}
	return strings.Join(out, " ")
}

func TestPreference(t *testing.T) {
	here := model.ParseLocality("eu/a/1")
	endpoints := set("eu/a/1 v1", "eu/a/1 v2", "eu/b/1 v1", "us/a/1 v2")
	for name, c := range map[string]struct {
		locality endpoint.Locality
		want     string
	}{
		"none": {
			endpoint.Locality{Client: here},
			"0:2:10.0.0.1,10.0.0.2 0:1:10.0.0.3 0:1:10.0.0.4",
		},
		"distance": {
			endpoint.Locality{Client: here, Failover: true, Setting: &networking.LocalityLoadBalancerSetting{}},
			"0:2:10.0.0.1,10.0.0.2 1:1:10.0.0.3 2:1:10.0.0.4",
		},
		"no distance without ejection": {
			endpoint.Locality{Client: here, Setting: &networking.LocalityLoadBalancerSetting{}},
			"0:2:10.0.0.1,10.0.0.2 0:1:10.0.0.3 0:1:10.0.0.4",
		},
		"labels": {
			endpoint.Locality{
				Client: here, Failover: true, Labels: map[string]string{"version": "v1"},
				Setting: &networking.LocalityLoadBalancerSetting{FailoverPriority: []string{"version", "topology.kubernetes.io/region"}},
			},
			"0:1:10.0.0.1 1:1:10.0.0.2 0:1:10.0.0.3 1:1:10.0.0.4",
		},
		"labels with values of their own": {
			endpoint.Locality{
				Client: here, Failover: true,
				Setting: &networking.LocalityLoadBalancerSetting{FailoverPriority: []string{"version=v2", "topology.kubernetes.io/region"}},
			},
			"0:1:10.0.0.2 2:1:10.0.0.1 2:1:10.0.0.3 1:1:10.0.0.4",
		},
		"shares": {
			endpoint.Locality{Client: here, Setting: &networking.LocalityLoadBalancerSetting{
				Distribute: []*networking.LocalityLoadBalancerSetting_Distribute{
					{From: "us/*", To: map[string]uint32{"us/*": 100}},
					{From: "eu/a/*", To: map[string]uint32{"eu/a/*": 70, "eu/*": 30}},
				},
			}},
			"0:70:10.0.0.1,10.0.0.2 0:30:10.0.0.3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := endpoint.Input{Set: endpoints, Locality: c.locality}
			if got := show(in); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestHealth wants endpoints that are not ready left out, unless the service publishes them.
func TestHealth(t *testing.T) {
	s := set("eu v1", "eu v1")
	s.Endpoints[1].Health = model.Unhealthy
	if got := show(endpoint.Input{Set: s}); got != "0:1:10.0.0.1" {
		t.Error(got)
	}
	if got := show(endpoint.Input{Set: s, KeepUnready: true}); got != "0:2:10.0.0.1,10.0.0.2" {
		t.Error(got)
	}
}
