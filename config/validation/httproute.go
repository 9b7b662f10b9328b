package validation

import (
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (c *checker) httpRoute(at path, r *networking.HTTPRoute, isDelegate bool) {
	c.httpActions(at, r, isDelegate)
	for i, m := range r.Match {
		c.httpMatch(at.to("match").at(i), m, isDelegate)
	}
	weights := make([]int32, len(r.Route))
	for i, d := range r.Route {
		at := at.to("route").at(i)
		weights[i] = d.Weight
		c.destination(at.to("destination"), d.Destination)
		c.headerChanges(at.to("headers"), d.Headers)
	}
	c.weights(at.to("route"), weights)
	c.headerChanges(at.to("headers"), r.Headers)
	c.duration(at.to("timeout"), nonZero(r.Timeout))
	c.retries(at.to("retries"), r.Retries)
	c.httpFault(at.to("fault"), r.Fault)
	c.mirrors(at, r)
	c.redirect(at.to("redirect"), r.Redirect)
	c.rewrite(at.to("rewrite"), r.Rewrite)
	c.directResponse(at.to("directResponse"), r.DirectResponse)
	c.cors(at.to("corsPolicy"), r.CorsPolicy)
}

// httpActions checks that exactly one thing is to be done with the request.
func (c *checker) httpActions(at path, r *networking.HTTPRoute, isDelegate bool) {
	var actions []string
	for name, set := range map[string]bool{
		"route": len(r.Route) > 0, "redirect": r.Redirect != nil, "directResponse": r.DirectResponse != nil, "delegate": r.Delegate != nil,
	} {
		if set {
			actions = append(actions, name)
		}
	}
	slices.Sort(actions)
	switch len(actions) {
	case 0:
		c.fault(at, "Add route, redirect, directResponse or delegate", "the route does nothing with the request")
	case 1:
	default:
		c.fault(at.to(actions[1]), "Keep one, and make a second route of the other", "%s exclude each other", strings.Join(actions, " and "))
	}
	if len(r.Route) == 0 && r.Delegate == nil {
		for name, set := range map[string]bool{"rewrite": r.Rewrite != nil, "fault": r.Fault != nil && r.DirectResponse == nil, "retries": r.Retries != nil} {
			if set && len(actions) == 1 {
				c.fault(at.to(name), "Remove it", "%s has no meaning with %s", name, actions[0])
			}
		}
	}
	if r.Delegate != nil {
		if isDelegate {
			c.fault(at.to("delegate"), "Put the route here", "a delegate can't delegate further")
		}
		if r.Delegate.Name == "" {
			c.fault(at.to("delegate").to("name"), "Name a VirtualService", "the delegate has no name")
		}
	}
}

func (c *checker) httpMatch(at path, m *networking.HTTPMatchRequest, isDelegate bool) {
	if m == nil {
		c.fault(at, "Remove it", "the match is empty")
		return
	}
	for name, s := range map[string]*networking.StringMatch{"uri": m.Uri, "scheme": m.Scheme, "method": m.Method, "authority": m.Authority} {
		c.stringMatch(at.to(name), s, true)
	}
	for name, s := range m.Headers {
		c.matchHeaderName(at.to("headers").key(name), name)
		c.stringMatch(at.to("headers").key(name), s, false)
	}
	for name, s := range m.WithoutHeaders {
		c.matchHeaderName(at.to("withoutHeaders").key(name), name)
		c.stringMatch(at.to("withoutHeaders").key(name), s, false)
	}
	for name, s := range m.QueryParams {
		if name == "" {
			c.fault(at.to("queryParams"), "", "the query parameter's name is empty")
		}
		c.stringMatch(at.to("queryParams").key(name), s, false)
	}
	if m.Port != 0 {
		c.port(at.to("port"), m.Port)
	}
	c.labels(at.to("sourceLabels"), m.SourceLabels)
	c.gatewayNames(at.to("gateways"), m.Gateways)
	if isDelegate && len(m.Gateways) > 0 {
		c.fault(at.to("gateways"), "Put it into the VirtualService that delegates", "a delegate can't match gateways")
	}
	if m.StatPrefix != "" && !labelName.MatchString(m.StatPrefix) {
		c.fault(at.to("statPrefix"), "", "%q is no prefix for names of statistics", m.StatPrefix)
	}
}

// matchHeaderName also knows the names that stand for claims of a token.
func (c *checker) matchHeaderName(at path, name string) {
	if strings.HasPrefix(name, "@request.auth.claims") {
		return
	}
	if pseudo, ok := strings.CutPrefix(name, ":"); ok {
		name = pseudo
	}
	c.headerName(at, name)
}

// stringMatch: where a value is required, an empty one can't be meant.
func (c *checker) stringMatch(at path, m *networking.StringMatch, wantsValue bool) {
	switch t := m.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		if t.Exact == "" && wantsValue {
			c.warn(at.to("exact"), "Give a value, or remove it", "an empty value matches nothing")
		}
	case *networking.StringMatch_Prefix:
		if t.Prefix == "" {
			c.fault(at.to("prefix"), "Give a prefix, or remove it", "the prefix is empty")
		}
	case *networking.StringMatch_Regex:
		if t.Regex == "" {
			c.fault(at.to("regex"), "Give an expression, or remove it", "the regular expression is empty")
		}
		c.regex(at.to("regex"), t.Regex)
	case nil:
		if m != nil && wantsValue {
			c.warn(at, "Write exact, prefix or regex under it", "nothing is said about the value, so every one matches")
		}
	}
}

func (c *checker) headerChanges(at path, h *networking.Headers) {
	for side, ops := range map[string]*networking.Headers_HeaderOperations{"request": h.GetRequest(), "response": h.GetResponse()} {
		for name := range ops.GetSet() {
			c.changedHeader(at.to(side).to("set").key(name), name)
		}
		for name := range ops.GetAdd() {
			c.changedHeader(at.to(side).to("add").key(name), name)
		}
		for i, name := range ops.GetRemove() {
			at := at.to(side).to("remove").at(i)
			if strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") {
				c.fault(at, "", "the header %q can't be removed", name)
				continue
			}
			c.headerName(at, name)
		}
	}
}

func (c *checker) changedHeader(at path, name string) {
	if name == ":authority" {
		return
	}
	if strings.HasPrefix(name, ":") {
		c.fault(at, "Use rewrite for path and authority", "the header %q can't be set", name)
		return
	}
	c.headerName(at, name)
}

func (c *checker) mirrors(at path, r *networking.HTTPRoute) {
	if r.Mirror != nil {
		c.destination(at.to("mirror"), r.Mirror)
		if len(r.Mirrors) > 0 {
			c.fault(at.to("mirrors"), "Move mirror into mirrors", "mirror and mirrors exclude each other")
		}
	}
	if r.MirrorPercent != nil { //nolint:staticcheck // deprecated, yet read
		c.deprecated(at.to("mirrorPercent"), "mirrorPercentage")
		c.countValue(at.to("mirrorPercent"), r.MirrorPercent, 100) //nolint:staticcheck // deprecated, yet read
	}
	c.percent(at.to("mirrorPercentage"), r.MirrorPercentage)
	for i, m := range r.Mirrors {
		c.destination(at.to("mirrors").at(i).to("destination"), m.Destination)
		c.percent(at.to("mirrors").at(i).to("percentage"), m.Percentage)
	}
}

func (c *checker) redirect(at path, r *networking.HTTPRedirect) {
	if r == nil {
		return
	}
	if r.Uri == "" && r.Authority == "" && r.Scheme == "" && r.RedirectCode == 0 && r.RedirectPort == nil {
		c.fault(at, "Add uri, authority, scheme or redirectCode", "the redirect changes nothing")
	}
	switch r.RedirectCode {
	case 0, 301, 302, 303, 307, 308:
	default:
		if r.RedirectCode < 300 || r.RedirectCode > 399 {
			c.fault(at.to("redirectCode"), "Use 301, 302, 303, 307 or 308", "%d is no code of a redirect", r.RedirectCode)
		} else {
			c.warn(at.to("redirectCode"), "Use 301, 302, 303, 307 or 308", "proxies don't redirect with code %d; 301 is used", r.RedirectCode)
		}
	}
	if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		c.fault(at.to("scheme"), "Write http or https", "the scheme %q can't be redirected to", r.Scheme)
	}
	if p, ok := r.RedirectPort.(*networking.HTTPRedirect_Port); ok {
		c.port(at.to("port"), p.Port)
	}
}

func (c *checker) rewrite(at path, r *networking.HTTPRewrite) {
	if r == nil {
		return
	}
	if r.Uri == "" && r.Authority == "" && r.UriRegexRewrite == nil {
		c.fault(at, "Add uri, uriRegexRewrite or authority", "the rewrite changes nothing")
	}
	if x := r.UriRegexRewrite; x != nil {
		if r.Uri != "" {
			c.fault(at.to("uriRegexRewrite"), "Keep one", "uri and uriRegexRewrite exclude each other")
		}
		if x.Match == "" {
			c.fault(at.to("uriRegexRewrite").to("match"), "Give an expression", "the regular expression is empty")
		}
		c.regex(at.to("uriRegexRewrite").to("match"), x.Match)
		if x.Rewrite == "" {
			c.fault(at.to("uriRegexRewrite").to("rewrite"), "Give a replacement", "nothing is said about what to write instead")
		}
	}
}

// Sizes of a direct response's body, which every proxy of the mesh keeps.
const (
	largeBody = 100 << 10
	hugeBody  = 1 << 20
)

func (c *checker) directResponse(at path, r *networking.HTTPDirectResponse) {
	if r == nil {
		return
	}
	c.status(at.to("status"), int64(r.Status))
	switch size := len(r.Body.GetBytes()) + len(r.Body.GetString_()); {
	case size > hugeBody:
		c.fault(at.to("body"), "Serve it from a service", "the body has %d bytes; at most %d are allowed", size, hugeBody)
	case size > largeBody:
		c.warn(at.to("body"), "Serve it from a service", "the body has %d bytes, and every proxy keeps it in memory", size)
	}
}

func (c *checker) status(at path, status int64) {
	if status < 200 || status > 599 {
		c.fault(at, "Use 200 to 599", "%d is no status code for a response", status)
	}
}

// grpcCodes are the names that abort.grpcStatus takes; numbers are allowed too.
var grpcCodes = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
	"DATA_LOSS", "UNAUTHENTICATED",
}

func (c *checker) httpFault(at path, f *networking.HTTPFaultInjection) {
	if f == nil {
		return
	}
	if f.Delay == nil && f.Abort == nil {
		c.fault(at, "Add delay or abort", "the fault does nothing")
	}
	if d := f.Delay; d != nil {
		at := at.to("delay")
		c.percent(at.to("percentage"), d.Percentage)
		switch t := d.HttpDelayType.(type) {
		case *networking.HTTPFaultInjection_Delay_FixedDelay:
			c.duration(at.to("fixedDelay"), t.FixedDelay)
		case nil:
			c.warn(at, "Add fixedDelay", "the delay has no length, so nothing is delayed")
		default:
			c.fault(at, "Use fixedDelay", "only fixed delays are supported")
		}
		if d.Percent != 0 { //nolint:staticcheck // deprecated, yet read
			c.deprecated(at.to("percent"), "percentage")
			c.percentNumber(at.to("percent"), d.Percent) //nolint:staticcheck // deprecated, yet read
		}
	}
	if a := f.Abort; a != nil {
		at := at.to("abort")
		c.percent(at.to("percentage"), a.Percentage)
		c.abortStatus(at, a)
	}
}

func (c *checker) abortStatus(at path, a *networking.HTTPFaultInjection_Abort) {
	switch t := a.ErrorType.(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		c.status(at.to("httpStatus"), int64(t.HttpStatus))
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		n, err := strconv.Atoi(t.GrpcStatus)
		if (err != nil || n < 0 || n >= len(grpcCodes)) && !slices.Contains(grpcCodes, t.GrpcStatus) {
			c.fault(at.to("grpcStatus"), "Write a name such as UNAVAILABLE", "%q is no gRPC status", t.GrpcStatus)
		}
	case nil:
		c.warn(at, "Add httpStatus or grpcStatus", "the abort has no status, so nothing is aborted")
	default:
		c.fault(at, "Use httpStatus or grpcStatus", "this sort of abort isn't supported")
	}
}

// retryConditions are the conditions that Envoy's router knows.
var retryConditions = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
	"refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

func (c *checker) retries(at path, r *networking.HTTPRetry) {
	if r == nil {
		return
	}
	c.count(at.to("attempts"), r.Attempts)
	if r.Attempts == 0 && (r.PerTryTimeout != nil || r.RetryOn != "" || r.RetryRemoteLocalities != nil) {
		c.fault(at, "Set attempts, or remove the rest", "attempts is 0, which turns retries off, yet more is said about them")
	}
	c.duration(at.to("perTryTimeout"), nonZero(r.PerTryTimeout))
	c.duration(at.to("backoff"), nonZero(r.Backoff))
	if r.RetryOn == "" {
		return
	}
	for condition := range strings.SplitSeq(r.RetryOn, ",") {
		condition = strings.TrimSpace(condition)
		if slices.Contains(retryConditions, condition) {
			continue
		}
		if n, err := strconv.Atoi(condition); err == nil && n >= 100 && n <= 599 {
			continue
		}
		c.fault(at.to("retryOn"), "Status codes and: "+strings.Join(retryConditions, ", "), "%q is no condition for a retry", condition)
	}
}

func (c *checker) cors(at path, p *networking.CorsPolicy) {
	if p == nil {
		return
	}
	for i, o := range p.AllowOrigins {
		c.stringMatch(at.to("allowOrigins").at(i), o, true)
	}
	if len(p.AllowOrigin) > 0 { //nolint:staticcheck // deprecated, yet read
		c.deprecated(at.to("allowOrigin"), "allowOrigins")
	}
	for i, m := range p.AllowMethods {
		if m != "*" && !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}, m) {
			c.fault(at.to("allowMethods").at(i), "Write it in capitals: GET, POST…", "%q is no method", m)
		}
	}
	for name, list := range map[string][]string{"allowHeaders": p.AllowHeaders, "exposeHeaders": p.ExposeHeaders} {
		for i, h := range list {
			if h != "*" {
				c.headerName(at.to(name).at(i), h)
			}
		}
	}
	c.notNegative(at.to("maxAge"), p.MaxAge)
}
