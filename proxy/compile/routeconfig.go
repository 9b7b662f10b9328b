package compile

import (
	"errors"
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/plan"
)

var (
	routeConfigFields = fields(`name virtual_hosts response_headers_to_add response_headers_to_remove
		request_headers_to_add request_headers_to_remove most_specific_header_mutations_wins validate_clusters
		max_direct_response_body_size_bytes request_mirror_policies ignore_port_in_host_matching typed_per_filter_config metadata vhds`)
	virtualHostFields = fields(`name domains routes require_tls virtual_clusters request_headers_to_add
		request_headers_to_remove response_headers_to_add response_headers_to_remove cors typed_per_filter_config
		include_request_attempt_count include_attempt_count_in_response retry_policy include_is_timeout_retry_header
		per_request_buffer_limit_bytes request_mirror_policies metadata`)
)

// defaultDirectBody is Envoy's limit of a direct response's body.
const defaultDirectBody = 4096

// RouteConfig compiles a route configuration.
func (c *Compiler) RouteConfig(rc *routev3.RouteConfiguration) (*plan.RouteConfig, Needs, error) {
	b := c.routeBuilder(rc)
	out, err := b.build(rc)
	if err != nil {
		return nil, Needs{}, err
	}
	if v := rc.GetVhds(); v != nil {
		need, err := discovered(rc.GetName(), v.GetConfigSource())
		if err != nil {
			return nil, Needs{}, at(err, "vhds")
		}
		if onDemand(out.Metadata) {
			out.Demand = c.Demand
		}
		if out.Demand == nil {
			b.needs.VirtualHosts = []Need{need}
		}
	}
	return out, b.needs, nil
}

// onDemand reads the mark of what has more behind it than it says.
func onDemand(m plan.Metadata) bool { return m.String("lateen", "on_demand") == "true" }

func (c *Compiler) routeBuilder(rc *routev3.RouteConfiguration) *routeBuilder {
	return &routeBuilder{Compiler: c, bodyLimit: u32(rc.GetMaxDirectResponseBodySizeBytes(), defaultDirectBody)}
}

// Hosts is what a route configuration says for virtual hosts that come by themselves.
type Hosts struct{ above routeBuilder }

func (c *Compiler) hosts(rc *routev3.RouteConfiguration) (*Hosts, error) {
	b := c.routeBuilder(rc)
	if _, err := b.build(rc); err != nil {
		return nil, err
	}
	b.needs, b.host = Needs{}, level{}
	return &Hosts{*b}, nil
}

// VirtualHost decodes and compiles a virtual host of the route configuration that of stands for. Like Resource it never
// panics. The name under which it comes is the server's affair.
func (c *Compiler) VirtualHost(of *Hosts, body *anypb.Any) (out Compiled, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = Compiled{}, fmt.Errorf("resource could not be compiled: %v", p)
		}
	}()
	var m routev3.VirtualHost
	if err := decode(body, &m); err != nil {
		return out, err
	}
	b := of.above
	if out.VirtualHost, err = b.virtualHost(&m); err != nil {
		return Compiled{}, err
	}
	out.Needs = b.needs
	return out, nil
}

// routeBuilder holds what the levels above a route say.
type routeBuilder struct {
	*Compiler
	needs     Needs
	bodyLimit uint32
	// mostSpecificWins turns the order of header mutations round.
	mostSpecificWins bool
	config           level
	host             level
}

// level is what a route configuration or virtual host says for the routes below.
type level struct {
	headers   plan.HeaderMutations
	overrides plan.FilterOverrides
	mirrors   []*routev3.RouteAction_RequestMirrorPolicy
	retry     *routev3.RetryPolicy
	buffer    uint32
}

func (b *routeBuilder) build(rc *routev3.RouteConfiguration) (*plan.RouteConfig, error) {
	if err := routeConfigFields.only(rc); err != nil {
		return nil, err
	}
	out := &plan.RouteConfig{
		Name: rc.GetName(), Version: hashOf(rc), IgnorePort: rc.GetIgnorePortInHostMatching(),
		MostSpecificWins: rc.GetMostSpecificHeaderMutationsWins(), Metadata: metadata(rc.GetMetadata()),
	}
	var err error
	if out.Headers, err = b.headers(rc); err != nil {
		return nil, err
	}
	b.mostSpecificWins = out.MostSpecificWins
	b.config = level{headers: out.Headers, mirrors: rc.GetRequestMirrorPolicies()}
	if b.config.overrides, err = b.overrides(rc.GetTypedPerFilterConfig(), nil); err != nil {
		return nil, err
	}
	names := map[string]bool{}
	hosts := make([]*plan.VirtualHost, 0, len(rc.GetVirtualHosts()))
	for i, vh := range rc.GetVirtualHosts() {
		if names[vh.GetName()] {
			return nil, fmt.Errorf("virtual_hosts[%d]: the name %q is there twice", i, vh.GetName())
		}
		names[vh.GetName()] = true
		h, err := b.virtualHost(vh)
		if err != nil {
			return nil, at(err, "virtual_hosts[%d] %q", i, vh.GetName())
		}
		hosts = append(hosts, h)
	}
	out.Hosts, err = plan.NewHostTable(hosts)
	return out, at(err, "virtual_hosts")
}

func (b *routeBuilder) virtualHost(vh *routev3.VirtualHost) (*plan.VirtualHost, error) {
	if err := virtualHostFields.only(vh); err != nil {
		return nil, err
	}
	if len(vh.GetDomains()) == 0 {
		return nil, errors.New("domains: there is none")
	}
	out := &plan.VirtualHost{
		Name: vh.GetName(), Domains: vh.GetDomains(),
		IncludeAttemptCount: vh.GetIncludeRequestAttemptCount(), IncludeAttemptCountInResponse: vh.GetIncludeAttemptCountInResponse(),
		PerRequestBufferLimit: vh.GetPerRequestBufferLimitBytes().GetValue(), Metadata: metadata(vh.GetMetadata()),
	}
	switch vh.GetRequireTls() {
	case routev3.VirtualHost_EXTERNAL_ONLY:
		out.RequireTLS = plan.TLSForExternal
	case routev3.VirtualHost_ALL:
		out.RequireTLS = plan.TLSForAll
	}
	b.host = level{mirrors: vh.GetRequestMirrorPolicies(), retry: vh.GetRetryPolicy(), buffer: out.PerRequestBufferLimit}
	if len(b.host.mirrors) == 0 {
		b.host.mirrors = b.config.mirrors
	}
	var err error
	if b.host.headers, err = b.headers(vh); err != nil {
		return nil, err
	}
	if b.host.overrides, err = b.overrides(vh.GetTypedPerFilterConfig(), b.config.overrides); err != nil {
		return nil, err
	}
	if b.host.overrides, err = withCORS(vh.GetCors(), b.host.overrides); err != nil {
		return nil, err
	}
	for i, r := range vh.GetRoutes() {
		route, err := b.route(r)
		if err != nil {
			return nil, at(err, "routes[%d] %q", i, r.GetName())
		}
		route.Index = i
		out.Routes = append(out.Routes, route)
	}
	return out, nil
}
