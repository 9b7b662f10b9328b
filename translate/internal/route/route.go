// Package route turns the HTTP rules of one VirtualService into Envoy routes, for a sidecar or a gateway. It is called
// by translate, which resolves destinations to clusters. Pure functions; safe for any number of goroutines.
//
// One file per feature: match, headers, retry, fault, mirror, cors, redirect, hash.
//
// May import: model, translate/internal/pb, the Envoy and Istio API protos.
package route

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/pb"
)

// DefaultName is the name of a route that no VirtualService made.
const DefaultName = "default"

// Target is where a destination leads.
type Target struct {
	Cluster string
	// Host and Port are what the tracing decorator shows; empty when the cluster is not a service's.
	Host string
	Port uint32
	// Hash is the consistent hash of the DestinationRule, nil when there is none.
	Hash *networking.LoadBalancerSettings_ConsistentHashLB
}

// Context is what routes depend on besides the rules themselves.
type Context struct {
	// Gateway is "mesh" for a sidecar, else namespace/name.
	Gateway string
	// Labels and Namespace are the proxy's, for sourceLabels and sourceNamespace.
	Labels    map[string]string
	Namespace string
	// Port is the port on which the request arrives, which `match.port` speaks of.
	Port uint32
	// TLS says whether the listener terminates TLS.
	TLS bool
	// Resolve finds the cluster of a destination. It must always name one; a cluster that does not exist answers 503.
	Resolve func(*networking.Destination) Target
	// DefaultRetry replaces Istio's default retry policy when not nil.
	DefaultRetry *networking.HTTPRetry
	// Describe gives the metadata of the route of one rule and one of its matches, both by index; -1 for no match.
	Describe func(rule, match int) *corev3.Metadata
	// Name of the VirtualService, for decorators.
	Name string
}

// HTTP translates rules in order; rules after one that matches everything are left out, for they can't be reached.
// Nil when no rule applies to this proxy and port.
func HTTP(rules []*networking.HTTPRoute, ctx Context) []*routev3.Route {
	var out []*routev3.Route
	for i, rule := range rules {
		if len(rule.GetMatch()) == 0 {
			return append(out, one(rule, nil, place{i, -1}, ctx))
		}
		for j, match := range rule.GetMatch() {
			if !applies(match, ctx) {
				continue
			}
			r := one(rule, match, place{i, j}, ctx)
			out = append(out, r)
			if CatchAll(r) {
				return out
			}
		}
	}
	return out
}

// applies checks the conditions that are known now: port, gateway, labels and namespace of the source.
func applies(m *networking.HTTPMatchRequest, ctx Context) bool {
	if m.GetPort() != 0 && m.GetPort() != ctx.Port {
		return false
	}
	if len(m.GetGateways()) > 0 {
		if !slices.Contains(m.GetGateways(), ctx.Gateway) {
			return false
		}
	}
	if m.GetSourceNamespace() != "" && m.GetSourceNamespace() != ctx.Namespace {
		return false
	}
	return model.SubsetOf(m.GetSourceLabels(), ctx.Labels)
}

// CatchAll reports whether r matches every request.
func CatchAll(r *routev3.Route) bool {
	m := r.GetMatch()
	all := false
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		all = p.Prefix == "/"
	case *routev3.RouteMatch_SafeRegex:
		all = p.SafeRegex.GetRegex() == ".*"
	}
	return all && len(m.GetHeaders())+len(m.GetQueryParameters())+len(m.GetDynamicMetadata()) == 0
}

// place is the index of a rule and of one of its matches.
type place struct{ rule, match int }

func one(rule *networking.HTTPRoute, match *networking.HTTPMatchRequest, at place, ctx Context) *routev3.Route {
	out := &routev3.Route{Name: rule.GetName(), Match: routeMatch(match), StatPrefix: match.GetStatPrefix()}
	if match.GetName() != "" {
		out.Name += "." + match.GetName()
	}
	if ctx.Describe != nil {
		out.Metadata = ctx.Describe(at.rule, at.match)
	}
	ops := operations(rule.GetHeaders())
	out.RequestHeadersToAdd, out.RequestHeadersToRemove = ops.requestAdd, ops.requestRemove
	out.ResponseHeadersToAdd, out.ResponseHeadersToRemove = ops.responseAdd, ops.responseRemove

	operation := ctx.Name + ":" + strconv.Itoa(int(ctx.Port))
	switch {
	case rule.GetRedirect() != nil:
		out.Action = redirect(rule.GetRedirect(), ctx)
	case rule.GetDirectResponse() != nil:
		out.Action = directResponse(rule.GetDirectResponse())
	default:
		if t := forward(out, rule, ops.authority, ctx); t.Host != "" {
			operation = t.Host + ":" + strconv.Itoa(int(t.Port))
		}
	}
	out.Decorator = &routev3.Decorator{Operation: operation + pathOf(out.GetMatch())}
	perFilter(out, rule)
	return out
}

func perFilter(out *routev3.Route, rule *networking.HTTPRoute) {
	set := func(name string, m proto.Message) {
		if out.TypedPerFilterConfig == nil {
			out.TypedPerFilterConfig = map[string]*anypb.Any{}
		}
		out.TypedPerFilterConfig[name] = pb.Any(m)
	}
	if f := fault(rule.GetFault()); f != nil {
		set(FaultFilter, f)
	}
	if rule.GetCorsPolicy() != nil {
		set(CORSFilter, cors(rule.GetCorsPolicy()))
	}
}

// forward fills in the action that sends the request to a cluster, and returns the target if it is the only one.
func forward(out *routev3.Route, rule *networking.HTTPRoute, authority string, ctx Context) Target {
	action := &routev3.RouteAction{}
	Timeout(action, rule.GetTimeout())
	out.Action = &routev3.Route_Route{Route: action}

	rw := rule.GetRewrite()
	if rx := rw.GetUriRegexRewrite(); rx != nil {
		action.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: pb.RE2(rx.GetMatch()), Substitution: rx.GetRewrite()}
	} else {
		action.PrefixRewrite = rw.GetUri()
	}
	if rw.GetAuthority() != "" {
		authority = rw.GetAuthority()
	}
	if authority != "" {
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: authority}
	}
	action.RequestMirrorPolicies = mirrors(rule, ctx)

	var target Target
	hashed := false
	if len(rule.GetRoute()) == 1 {
		target = single(out, action, rule.GetRoute()[0], ctx)
		hashed = target.Hash != nil
	} else {
		weighted(action, rule.GetRoute(), ctx)
	}
	retries := rule.GetRetries()
	if retries == nil {
		retries = ctx.DefaultRetry
	}
	action.RetryPolicy = Retry(retries, hashed)
	return target
}

func single(out *routev3.Route, action *routev3.RouteAction, dst *networking.HTTPRouteDestination, ctx Context) Target {
	t := ctx.Resolve(dst.GetDestination())
	action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: t.Cluster}
	ops := operations(dst.GetHeaders())
	out.RequestHeadersToAdd = append(out.RequestHeadersToAdd, ops.requestAdd...)
	out.RequestHeadersToRemove = append(out.RequestHeadersToRemove, ops.requestRemove...)
	out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, ops.responseAdd...)
	out.ResponseHeadersToRemove = append(out.ResponseHeadersToRemove, ops.responseRemove...)
	if ops.authority != "" && action.HostRewriteSpecifier == nil {
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: ops.authority}
	}
	action.HashPolicy = HashPolicy(t.Hash)
	return t
}

func weighted(action *routev3.RouteAction, dsts []*networking.HTTPRouteDestination, ctx Context) {
	wc := &routev3.WeightedCluster{}
	for _, dst := range dsts {
		if dst.GetWeight() == 0 {
			continue
		}
		t := ctx.Resolve(dst.GetDestination())
		ops := operations(dst.GetHeaders())
		cw := &routev3.WeightedCluster_ClusterWeight{
			Name:                    t.Cluster,
			Weight:                  pb.UInt32(uint32(dst.GetWeight())),
			RequestHeadersToAdd:     ops.requestAdd,
			RequestHeadersToRemove:  ops.requestRemove,
			ResponseHeadersToAdd:    ops.responseAdd,
			ResponseHeadersToRemove: ops.responseRemove,
		}
		if ops.authority != "" {
			cw.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: ops.authority}
		}
		wc.Clusters = append(wc.Clusters, cw)
		if len(action.HashPolicy) == 0 {
			action.HashPolicy = HashPolicy(t.Hash)
		}
	}
	action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: wc}
}

// Timeout sets the time limit of a route; nil means none, not Envoy's 15 seconds.
func Timeout(action *routev3.RouteAction, d *durationpb.Duration) {
	if d == nil {
		d = pb.Duration(0)
	}
	action.Timeout = d
	// grpc-timeout is honoured up to the same limit. The field that replaces this one starts its clock differently.
	//lint:ignore SA1019 what replaces it starts its clock differently
	action.MaxGrpcTimeout = d
}

// Default is the route to one cluster for everything, as a service without VirtualService has it.
func Default(t Target, retry *networking.HTTPRetry) *routev3.Route {
	action := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: t.Cluster}}
	Timeout(action, nil)
	action.RetryPolicy = Retry(retry, false)
	action.HashPolicy = HashPolicy(t.Hash)
	return &routev3.Route{
		Name:      DefaultName,
		Match:     routeMatch(nil),
		Decorator: &routev3.Decorator{Operation: t.Host + ":" + strconv.Itoa(int(t.Port)) + "/*"},
		Action:    &routev3.Route_Route{Route: action},
	}
}

// Inbound is the one route from a sidecar to its own workload. It has no time limit, for that is the client's to set,
// and retries only what the workload provably never saw.
func Inbound(cluster, operation string) *routev3.Route {
	none := pb.Duration(time.Duration(0))
	return &routev3.Route{
		Name:      DefaultName,
		Match:     routeMatch(nil),
		Decorator: &routev3.Decorator{Operation: operation},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier:  &routev3.RouteAction_Cluster{Cluster: cluster},
			Timeout:           none,
			MaxStreamDuration: &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: none, GrpcTimeoutHeaderMax: none},
			RetryPolicy:       &routev3.RetryPolicy{RetryOn: "reset-before-request", NumRetries: pb.UInt32(2)},
		}},
	}
}

func pathOf(m *routev3.RouteMatch) string {
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return p.Prefix + "*"
	case *routev3.RouteMatch_Path:
		return p.Path
	case *routev3.RouteMatch_SafeRegex:
		return p.SafeRegex.GetRegex()
	}
	return "/*"
}

// isAuthority reports whether name is the request's authority under either of its names.
func isAuthority(name string) bool {
	return strings.EqualFold(name, ":authority") || strings.EqualFold(name, "host")
}
