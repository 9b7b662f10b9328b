package state

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
)

const httpRBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"

func rbacOf(action rbacv3.RBAC_Action) *httprbacv3.RBAC {
	return &httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: action}}
}

func filterConfig(t *testing.T, name string, config proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: pack(t, config)}
}

// guarded is a listener whose access control comes by itself.
func guarded(t *testing.T, source *corev3.ExtensionConfigSource) *listenerv3.Listener {
	m := &hcmv3.HttpConnectionManager{
		StatPrefix:     "guarded",
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{Name: "none"}},
		HttpFilters: []*hcmv3.HttpFilter{
			{Name: "guard", ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: source}},
			{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})}},
		},
	}
	return &listenerv3.Listener{Name: "l", Address: tcpAddress("127.0.0.1", 80), FilterChains: []*listenerv3.FilterChain{{
		Filters: []*listenerv3.Filter{{Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, m)}}},
	}}}
}

// guard says what the listener's access control is in the plan in force.
func (h *harness) guard() string {
	p := h.current.Load()
	l := p.Listener("l")
	if l == nil {
		return "no listener"
	}
	switch c := l.Chains.Chains()[0].Chain.Terminal().(*plan.HTTPConnectionManager).Filters[0].Discovery.HTTPConfig(p).(type) {
	case nil:
		return "missing"
	case *plan.RBAC:
		return fmt.Sprint("action ", c.Rules.Action)
	default:
		return fmt.Sprintf("%T", c)
	}
}

// A listener waits for its filters' configurations. They change without it, and when one goes its default applies, or
// nothing does.
func TestFilterConfigurations(t *testing.T) {
	for _, withDefault := range []bool{true, false} {
		h := newHarness(t)
		source := &corev3.ExtensionConfigSource{ConfigSource: ads(0), TypeUrls: []string{httpRBAC}}
		gone := "missing"
		if withDefault {
			source.DefaultConfig, gone = pack(t, rbacOf(rbacv3.RBAC_ALLOW)), "action 0"
		}
		h.update(xds.ListenerType, nil, guarded(t, source))
		if got := h.subs.String() + "; " + h.guard(); got != "ECDS guard; no listener" {
			t.Fatal(got)
		}
		h.update(xds.ClusterType, nil)
		if ok, why := h.store.Ready(); ok || why != `listener "l" waits for filter configuration "guard"` {
			t.Errorf("ready %v: %s", ok, why)
		}
		h.update(xds.ExtensionConfigType, nil, filterConfig(t, "guard", rbacOf(rbacv3.RBAC_DENY)))
		live := h.current.Load().Listener("l")
		if got := h.guard(); got != "action 1" {
			t.Fatal(got)
		}
		h.update(xds.ExtensionConfigType, nil, filterConfig(t, "guard", rbacOf(rbacv3.RBAC_LOG)))
		if got := h.guard(); got != "action 2" || h.current.Load().Listener("l") != live {
			t.Errorf("after a change: %s, same listener %v", got, h.current.Load().Listener("l") == live)
		}
		h.update(xds.ExtensionConfigType, []string{"guard"})
		if got := h.guard(); got != gone || h.current.Load().Listener("l") != live {
			t.Errorf("after it went: %s", got)
		}
		h.update(xds.ExtensionConfigType, nil, filterConfig(t, "guard", rbacOf(rbacv3.RBAC_DENY)))
		h.update(xds.ListenerType, []string{"l"})
		if got := h.subs.String(); got != "" || len(h.current.Load().Extensions()) != 0 {
			t.Errorf("still subscribed to %q, %d configurations", got, len(h.current.Load().Extensions()))
		}
	}
}

func TestFilterConfigurationsThatAreRefused(t *testing.T) {
	h := newHarness(t)
	h.update(xds.ListenerType, nil, guarded(t, &corev3.ExtensionConfigSource{ConfigSource: ads(0), TypeUrls: []string{httpRBAC}}))
	h.update(xds.ExtensionConfigType, nil, filterConfig(t, "guard", rbacOf(rbacv3.RBAC_DENY)))
	for _, c := range []struct {
		config proto.Message
		want   string
	}{
		{&faultv3.HTTPFault{}, `guard: its configuration is a envoy.extensions.filters.http.fault.v3.HTTPFault, and listener "l" takes envoy.extensions.filters.http.rbac.v3.RBAC only (type_urls)`},
		{&netrbacv3.RBAC{StatPrefix: "x"}, `takes envoy.extensions.filters.http.rbac.v3.RBAC only (type_urls)`},
		{&routerv3.Router{}, `guard: envoy.extensions.filters.http.router.v3.Router can't come by extension config discovery to this proxy`},
		{&httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: 9}}, "guard: rules: action 9 is unknown"},
	} {
		if got := h.update(xds.ExtensionConfigType, nil, filterConfig(t, "guard", c.config)); !strings.Contains(got, c.want) {
			t.Errorf("refused with %q, want %q", got, c.want)
		}
		if got := h.guard(); got != "action 1" {
			t.Errorf("after a refusal: %s", got)
		}
	}
	stats := map[string]int64{}
	h.store.ExtensionStats(func(name string, value int64) { stats[name] = value })
	if want := "map[extension_config_discovery.http_filter.guard.config_fail:4 extension_config_discovery.http_filter.guard.config_reload:1]"; fmt.Sprint(stats) != want {
		t.Errorf("counters %v", stats)
	}
}

func TestFilterConfigurationsThatAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		ctx, cancel := context.WithCancel(t.Context())
		go h.store.Run(ctx)
		source := &corev3.ExtensionConfigSource{ConfigSource: ads(5 * time.Second), TypeUrls: []string{httpRBAC}, DefaultConfig: pack(t, rbacOf(rbacv3.RBAC_ALLOW))}
		h.update(xds.ListenerType, nil, guarded(t, source))
		time.Sleep(4 * time.Second)
		if got := h.guard(); got != "no listener" {
			t.Error(got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := h.guard(); got != "action 0" {
			t.Errorf("after the timeout: %s", got)
		}
		h2 := newHarness(t)
		source.ApplyDefaultConfigWithoutWarming = true
		h2.update(xds.ListenerType, nil, guarded(t, source))
		if got := h2.guard(); got != "action 0" {
			t.Errorf("without warming: %s", got)
		}
		cancel()
		synctest.Wait()
	})
}
