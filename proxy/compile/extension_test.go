package compile

import (
	"fmt"
	"testing"

	"lateen.dev/lateen/proxy/plan"
)

// discovering is a listener with one HTTP and one network filter whose configuration is described so.
func discovering(http, network string) string {
	return fmt.Sprintf(`
name: l
address: {socket_address: {address: 127.0.0.1, port_value: 80}}
filter_chains:
- filters:
  - {name: net, config_discovery: %s}
  - name: hcm
    typed_config:
      @HCM
      stat_prefix: x
      route_config: {name: r}
      http_filters: [{name: guard, config_discovery: %s}, {name: router, typed_config: {@Router}}]
`, network, http)
}

const (
	httpSource = "{config_source: {ads: {}, initial_fetch_timeout: 0s}, type_urls: [type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC], default_config: {@RBAC, rules: {}}}"
	netSource  = "{config_source: {ads: {}}, type_urls: [envoy.extensions.filters.network.rbac.v3.RBAC]}"
)

func TestConfigDiscovery(t *testing.T) {
	l, needs, err := listenerOf(t, discovering(httpSource, netSource))
	if err != nil {
		t.Fatal(err)
	}
	if len(needs.Extensions) != 2 || needs.Extensions[0].Name != "net" || needs.Extensions[0].Timeout != defaultFetchTimeout || needs.Extensions[1].Name != "guard" ||
		needs.Extensions[1].Types != "envoy.extensions.filters.http.rbac.v3.RBAC" || needs.Extensions[1].Timeout != 0 {
		t.Errorf("needs %+v", needs.Extensions)
	}
	filters := l.Chains.Chains()[0].Chain.Filters
	empty := &plan.Plan{}
	if d := filters[0].Discovery; filters[0].Config != nil || d.NetworkConfig(empty) != nil {
		t.Errorf("network filter %+v", filters[0])
	}
	h := filters[1].Config.(*plan.HTTPConnectionManager).Filters[0]
	if r, ok := h.Discovery.HTTPConfig(empty).(*plan.RBAC); !ok || r.Rules == nil || h.Config != nil {
		t.Errorf("HTTP filter %+v", h)
	}
}

func TestConfigDiscoveryRefused(t *testing.T) {
	for _, c := range []struct{ name, http, network, want string }{
		{"no types", "{config_source: {ads: {}}}", netSource, `http_filters[0] "guard": config_discovery: type_urls: there is none`},
		{"unknown type", "{config_source: {ads: {}}, type_urls: [x/envoy.extensions.filters.http.lua.v3.Lua]}", netSource, "envoy.extensions.filters.http.lua.v3.Lua can't come by extension config discovery"},
		{"HTTP as network", httpSource, "{config_source: {ads: {}}, type_urls: [x/envoy.extensions.filters.http.rbac.v3.RBAC]}", `filters[0] "net": config_discovery: type_urls: envoy.extensions.filters.http.rbac.v3.RBAC can't come`},
		{"no default", "{config_source: {ads: {}}, type_urls: [x/envoy.extensions.filters.http.rbac.v3.RBAC], apply_default_config_without_warming: true}", netSource, "there is no default_config"},
		{"other default", "{config_source: {ads: {}}, type_urls: [x/envoy.extensions.filters.http.rbac.v3.RBAC], default_config: {@Fault}}", netSource, "default_config: envoy.extensions.filters.http.fault.v3.HTTPFault is not among the type_urls"},
		{"bad default", "{config_source: {ads: {}}, type_urls: [x/envoy.extensions.filters.http.rbac.v3.RBAC], default_config: {@RBAC, rules: {action: 7}}}", netSource, "default_config: rules: action 7 is unknown"},
	} {
		_, _, err := listenerOf(t, discovering(c.http, c.network))
		refused(t, c.name, err, c.want)
	}
}
