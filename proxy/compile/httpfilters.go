package compile

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/plan"
)

// httpFilters compiles a chain of HTTP filters, whose last is the router.
func (b chainEnv) httpFilters(in []*hcmv3.HttpFilter) ([]plan.HTTPFilter, error) {
	out := make([]plan.HTTPFilter, 0, len(in))
	for i, f := range in {
		compiled := plan.HTTPFilter{Name: f.GetName(), Disabled: f.GetDisabled()}
		var err error
		if f.GetConfigDiscovery() != nil {
			compiled.Discovery, err = b.discoveredHTTPFilter(f)
		} else {
			compiled.Config, err = b.httpFilter(f.GetTypedConfig())
		}
		if err != nil {
			if f.GetIsOptional() {
				continue
			}
			return nil, at(err, "http_filters[%d] %q", i, f.GetName())
		}
		out = append(out, compiled)
	}
	for i := range out {
		_, router := out[i].Config.(*plan.Router)
		if last := i == len(out)-1; router != last {
			if router {
				return nil, errors.New("http_filters: the router must be the last")
			}
			return nil, errors.New("http_filters: the last must be the router")
		}
	}
	if len(out) == 0 {
		return nil, errors.New("http_filters: the router is missing")
	}
	return out, nil
}

func (b chainEnv) httpFilter(config *anypb.Any) (plan.HTTPFilterConfig, error) {
	e, err := extensionOf(config)
	if err != nil {
		return nil, err
	}
	switch e.kind {
	case "envoy.extensions.filters.http.router.v3.Router":
		var m routerv3.Router
		if err := e.into(&m); err != nil {
			return nil, err
		}
		return b.router(&m)
	case "envoy.extensions.filters.http.cors.v3.Cors":
		return &plan.CORS{}, e.into(&corsv3.Cors{})
	case "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig":
		var m grpcstatsv3.FilterConfig
		if err := e.into(&m); err != nil {
			return nil, err
		}
		return &plan.GRPCStats{AllMethods: m.GetStatsForAllMethods().GetValue(), EnableUpstream: m.GetEnableUpstreamStats()}, nil
	case "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb":
		return &plan.GRPCWeb{}, e.into(&grpcwebv3.GrpcWeb{})
	case "stats.PluginConfig":
		return statsFilter(&e)
	case "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig":
		return alpnFilter(&e)
	case "io.istio.http.peer_metadata.Config":
		return peerMetadata(&e)
	}
	return b.routeFilter(&e)
}

// routeFilter compiles the filters whose configuration is the same in a connection manager and in a route.
func (c *Compiler) routeFilter(e *extension) (plan.HTTPFilterConfig, error) {
	switch e.kind {
	case "envoy.extensions.filters.http.fault.v3.HTTPFault":
		var m faultv3.HTTPFault
		if err := e.into(&m); err != nil {
			return nil, err
		}
		return fault(&m)
	case "envoy.extensions.filters.http.rbac.v3.RBAC":
		var m httprbacv3.RBAC
		if err := e.into(&m); err != nil {
			return nil, err
		}
		return httpRBAC(&m)
	case "envoy.extensions.filters.http.rbac.v3.RBACPerRoute":
		var m httprbacv3.RBACPerRoute
		if err := e.into(&m); err != nil {
			return nil, err
		}
		if m.GetRbac() == nil {
			return &plan.RBAC{}, nil // an empty override switches the filter off
		}
		return httpRBAC(m.GetRbac())
	case "envoy.extensions.filters.http.cors.v3.CorsPolicy":
		var m corsv3.CorsPolicy
		if err := e.into(&m); err != nil {
			return nil, err
		}
		return cors(&m)
	}
	return nil, fmt.Errorf("%s is not an HTTP filter that this proxy has", e.kind)
}

// overrides compiles typed_per_filter_config on top of those of the level above.
func (c *Compiler) overrides(in map[string]*anypb.Any, above plan.FilterOverrides) (plan.FilterOverrides, error) {
	if len(in) == 0 {
		return above, nil
	}
	out := slices.Clone(above)
	for _, name := range slices.Sorted(maps.Keys(in)) {
		o, err := c.override(name, in[name])
		if err != nil {
			return nil, at(err, "typed_per_filter_config[%q]", name)
		}
		if o == nil {
			continue
		}
		if old := out.Find(name); old != nil {
			*old = *o
		} else {
			out = append(out, *o)
		}
	}
	return out, nil
}

// override compiles one; it is nil for an optional one that this proxy doesn't know.
func (c *Compiler) override(name string, a *anypb.Any) (*plan.FilterOverride, error) {
	out := &plan.FilterOverride{Filter: name}
	optional := false
	if messageName(a.GetTypeUrl()) == "envoy.config.route.v3.FilterConfig" {
		var fc routev3.FilterConfig
		if err := a.UnmarshalTo(&fc); err != nil {
			return nil, err
		}
		out.Disabled, optional = fc.GetDisabled(), fc.GetIsOptional()
		if fc.GetConfig() == nil || fc.GetConfig().GetTypeUrl() == "" || fc.GetDisabled() {
			return out, nil
		}
		a = fc.GetConfig()
	}
	e, err := extensionOf(a)
	if err != nil {
		return nil, err
	}
	if out.Config, err = c.routeFilter(&e); err != nil {
		if optional {
			return nil, nil
		}
		return nil, err
	}
	return out, nil
}

var routerFields = fields(`dynamic_stats start_child_span suppress_envoy_headers respect_expected_rq_timeout suppress_grpc_request_failure_code_stats
	reject_connect_request_early_data`)

func (c *Compiler) router(m *routerv3.Router) (*plan.Router, error) {
	if err := routerFields.only(m); err != nil {
		return nil, err
	}
	out := &plan.Router{
		SuppressEnvoyHeaders: m.GetSuppressEnvoyHeaders(), RespectExpectedTimeout: m.GetRespectExpectedRqTimeout(),
		StartChildSpan: m.GetStartChildSpan(), SuppressGRPCRequestFailureCodeStats: m.GetSuppressGrpcRequestFailureCodeStats(),
	}
	return out, nil
}
