package compile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"lateen.dev/lateen/proxy/plan"
)

var (
	routeFields = fields(`name match route redirect direct_response non_forwarding_action metadata decorator
		typed_per_filter_config request_headers_to_add request_headers_to_remove response_headers_to_add
		response_headers_to_remove tracing per_request_buffer_limit_bytes stat_prefix`)
	routeMatchFields = fields(`prefix path safe_regex connect_matcher path_separated_prefix case_sensitive runtime_fraction
		headers query_parameters grpc tls_context dynamic_metadata`)
)

// headerLists are the four lists of header mutations that several messages have.
type headerLists interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
}

func (c *Compiler) headers(m headerLists) (plan.HeaderMutations, error) {
	var (
		out plan.HeaderMutations
		err error
	)
	if out.Request, err = c.mutations(m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove()); err != nil {
		return out, at(err, "request_headers")
	}
	out.Response, err = c.mutations(m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove())
	return out, at(err, "response_headers")
}

// merged joins mutations of levels given from the most specific to the least, in the order in which they apply.
func (b *routeBuilder) merged(levels ...plan.HeaderMutations) plan.HeaderMutations {
	if b.mostSpecificWins {
		slices.Reverse(levels)
	}
	var out plan.HeaderMutations
	for _, l := range levels {
		out.Request = append(out.Request, l.Request...)
		out.Response = append(out.Response, l.Response...)
	}
	return out
}

func (b *routeBuilder) route(r *routev3.Route) (*plan.Route, error) {
	if err := routeFields.only(r); err != nil {
		return nil, err
	}
	out := &plan.Route{
		Name: r.GetName(), StatPrefix: r.GetStatPrefix(), Decorator: r.GetDecorator().GetOperation(), Metadata: metadata(r.GetMetadata()),
		PerRequestBufferLimit: u32(r.GetPerRequestBufferLimitBytes(), b.host.buffer),
	}
	out.Origin = origin(out.Metadata)
	var err error
	if out.Match, err = routeMatch(r.GetMatch()); err != nil {
		return nil, at(err, "match")
	}
	own, err := b.headers(r)
	if err != nil {
		return nil, err
	}
	out.Headers = b.merged(own, b.host.headers, b.config.headers)
	if out.FilterOverrides, err = b.overrides(r.GetTypedPerFilterConfig(), b.host.overrides); err != nil {
		return nil, err
	}
	if t := r.GetTracing(); t != nil {
		if out.Tracing, err = routeTracing(t); err != nil {
			return nil, at(err, "tracing")
		}
	}
	return out, b.action(out, r, own)
}

func (b *routeBuilder) action(out *plan.Route, r *routev3.Route, own plan.HeaderMutations) error {
	var err error
	switch a := r.GetAction().(type) {
	case *routev3.Route_Route:
		if out.FilterOverrides, err = withCORS(a.Route.GetCors(), out.FilterOverrides); err != nil {
			return at(err, "route")
		}
		out.Forward, err = b.forward(out, a.Route, own)
		return at(err, "route")
	case *routev3.Route_Redirect:
		out.Redirect, err = redirect(a.Redirect)
		return at(err, "redirect")
	case *routev3.Route_DirectResponse:
		out.Direct, err = b.direct(a.DirectResponse)
		return at(err, "direct_response")
	case *routev3.Route_NonForwardingAction:
		// Meant for gRPC without proxies. Envoy answers as if the cluster didn't exist.
		out.Forward = &plan.RouteAction{NotFoundCode: 503}
		return nil
	}
	return errors.New("none of route, redirect and direct_response is given")
}

func routeTracing(t *routev3.Tracing) (*plan.Tracing, error) {
	out := &plan.Tracing{}
	hundred := plan.Fraction{Numerator: 100, Denominator: 100}
	for _, s := range []struct {
		into *float64
		from func() (plan.Fraction, error)
	}{
		{&out.ClientSampling, func() (plan.Fraction, error) { return fraction(t.GetClientSampling(), hundred) }},
		{&out.RandomSampling, func() (plan.Fraction, error) { return fraction(t.GetRandomSampling(), hundred) }},
		{&out.OverallSampling, func() (plan.Fraction, error) { return fraction(t.GetOverallSampling(), hundred) }},
	} {
		f, err := s.from()
		if err != nil {
			return nil, err
		}
		*s.into = 100 * float64(f.Numerator) / float64(f.Denominator)
	}
	return out, nil
}

func routeMatch(m *routev3.RouteMatch) (plan.RouteMatch, error) {
	out := plan.RouteMatch{IgnoreCase: !boolean(m.GetCaseSensitive(), true), GRPC: m.GetGrpc() != nil}
	if err := routeMatchFields.only(m); err != nil {
		return out, err
	}
	if err := matchPath(&out, m); err != nil {
		return out, err
	}
	var err error
	if out.Headers, err = headerMatches(m.GetHeaders()); err != nil {
		return out, err
	}
	for i, q := range m.GetQueryParameters() {
		qm := plan.QueryMatch{Name: q.GetName()}
		if s := q.GetStringMatch(); s != nil {
			v, err := stringMatch(s)
			if err != nil {
				return out, at(err, "query_parameters[%d]", i)
			}
			qm.Value = &v
		} else if p, ok := q.GetQueryParameterMatchSpecifier().(*routev3.QueryParameterMatcher_PresentMatch); ok && !p.PresentMatch {
			return out, fmt.Errorf("query_parameters[%d]: present_match false is not supported by this proxy", i)
		}
		out.Query = append(out.Query, qm)
	}
	if f := m.GetRuntimeFraction(); f != nil {
		fr, err := runtimeFraction(f, always)
		if err != nil {
			return out, at(err, "runtime_fraction")
		}
		out.Fraction = &fr
	}
	if t := m.GetTlsContext(); t != nil {
		if t.GetPresented() != nil {
			v := t.GetPresented().GetValue()
			out.TLSPresented = &v
		}
		if t.GetValidated() != nil {
			v := t.GetValidated().GetValue()
			out.TLSValidated = &v
		}
	}
	for _, d := range m.GetDynamicMetadata() {
		// No filter of this proxy sets dynamic metadata: such a match holds only when it is inverted.
		out.Never = out.Never || !d.GetInvert()
	}
	return out, nil
}

func matchPath(out *plan.RouteMatch, m *routev3.RouteMatch) error {
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		out.Kind, out.Path = plan.PathPrefix, p.Prefix
	case *routev3.RouteMatch_Path:
		out.Kind, out.Path = plan.PathExact, p.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		out.Kind, out.Path = plan.PathSeparatedPrefix, p.PathSeparatedPrefix
		if !strings.HasPrefix(out.Path, "/") || strings.HasSuffix(out.Path, "/") || strings.ContainsAny(out.Path, "?#") {
			return fmt.Errorf("path_separated_prefix %q must begin with a slash and not end with one", out.Path)
		}
	case *routev3.RouteMatch_SafeRegex:
		out.Kind = plan.PathRegex
		var err error
		out.Regex, err = fullRegex(p.SafeRegex)
		return at(err, "safe_regex")
	case *routev3.RouteMatch_ConnectMatcher_:
		out.Kind = plan.ConnectMatch
	default:
		return errors.New("none of prefix, path, path_separated_prefix, safe_regex and connect_matcher is given")
	}
	if out.IgnoreCase {
		out.Path = strings.ToLower(out.Path)
	}
	return nil
}

func redirect(m *routev3.RedirectAction) (*plan.Redirect, error) {
	out := &plan.Redirect{
		Host: m.GetHostRedirect(), Port: m.GetPortRedirect(), HTTPS: m.GetHttpsRedirect(), Scheme: m.GetSchemeRedirect(), StripQuery: m.GetStripQuery(),
	}
	if out.Port > 65535 {
		return nil, fmt.Errorf("port_redirect %d is above 65535", out.Port)
	}
	switch p := m.GetPathRewriteSpecifier().(type) {
	case *routev3.RedirectAction_PathRedirect:
		out.Path = p.PathRedirect
	case *routev3.RedirectAction_PrefixRewrite:
		out.HasPrefix, out.Prefix = p.PrefixRewrite != "", p.PrefixRewrite
	case *routev3.RedirectAction_RegexRewrite:
		var err error
		if out.Regex, out.Substitution, err = regexRewrite(p.RegexRewrite); err != nil {
			return nil, at(err, "regex_rewrite")
		}
	}
	switch m.GetResponseCode() {
	case routev3.RedirectAction_MOVED_PERMANENTLY:
		out.Code = 301
	case routev3.RedirectAction_FOUND:
		out.Code = 302
	case routev3.RedirectAction_SEE_OTHER:
		out.Code = 303
	case routev3.RedirectAction_TEMPORARY_REDIRECT:
		out.Code = 307
	case routev3.RedirectAction_PERMANENT_REDIRECT:
		out.Code = 308
	default:
		return nil, fmt.Errorf("response_code %v is unknown", m.GetResponseCode())
	}
	return out, nil
}

func (b *routeBuilder) direct(m *routev3.DirectResponseAction) (*plan.DirectResponse, error) {
	if m.GetStatus() < 200 || m.GetStatus() > 599 {
		return nil, fmt.Errorf("status %d is not between 200 and 599", m.GetStatus())
	}
	out := &plan.DirectResponse{Status: uint16(m.GetStatus())}
	if m.GetBody() != nil {
		body, err := b.data(m.GetBody())
		if err != nil && !errors.Is(err, errNoData) {
			return nil, at(err, "body")
		}
		if uint64(len(body)) > uint64(b.bodyLimit) {
			return nil, fmt.Errorf("body has %d bytes, %d are allowed", len(body), b.bodyLimit)
		}
		out.Body = body
	}
	if f := m.GetBodyFormat(); f != nil {
		var err error
		if out.BodyFormat, out.ContentType, err = b.bodyFormat(f); err != nil {
			return nil, at(err, "body_format")
		}
	}
	return out, nil
}
