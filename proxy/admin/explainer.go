package admin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/route"
	"lateen.dev/lateen/wire/header"
)

// Method implements plan.Head.
func (h *head) Method() []byte { return h.method }

// Scheme implements plan.Head.
func (h *head) Scheme() []byte { return h.scheme }

// Authority implements plan.Head.
func (h *head) Authority() []byte { return h.authority }

// Path implements plan.Head.
func (h *head) Path() []byte { return h.path }

// Header implements plan.Head.
func (h *head) Header(name header.Name) ([]byte, bool) {
	v, ok := h.headers[name.String()]
	return v, ok
}

// explainer follows one request through a plan.
type explainer struct {
	q   *question
	p   *plan.Plan
	out Explanation
}

func (x explainer) explain() *Explanation {
	if x.q.dest.IsValid() {
		x.out.Destination = x.q.dest.String()
	}
	l := x.listener()
	if l == nil {
		x.out.Outcome = "no listener takes the connection"
		return &x.out
	}
	chain := x.chain(l)
	if chain == nil {
		x.out.Outcome = "no filter chain matches: the connection is closed"
		return &x.out
	}
	switch t := chain.Terminal().(type) {
	case *plan.TCPProxy:
		for _, f := range chain.Filters {
			x.out.Filters = append(x.out.Filters, FilterStep{Name: f.Name})
		}
		c := t.Choose(x.q.random)
		x.out.Outcome = "forwarded as TCP"
		x.cluster(c.Name, x.p.Cluster(c.Cluster))
	case *plan.HTTPConnectionManager:
		x.http(t)
	default:
		x.out.Outcome = "the connection is closed: the chain forwards nothing"
	}
	return &x.out
}

// listener finds the listener by name, or as a connection does: the one that accepts it, and the one it is handed to.
func (x *explainer) listener() *plan.Listener {
	if x.q.listener != "" {
		l := x.p.Listener(x.q.listener)
		if l != nil {
			x.noteListener(l, nil, "named in the question")
		}
		return l
	}
	var accepts *plan.Listener
	for _, l := range x.p.Listeners {
		if l.UseOriginalDst && l.BindToPort && l.Direction != plan.Inbound {
			accepts = l
		}
	}
	if l := x.byAddress(func(a netip.AddrPort) bool { return a == x.q.dest }); l != nil {
		x.noteListener(l, other(accepts, l), "its address is the destination")
		return l
	}
	if l := x.byAddress(func(a netip.AddrPort) bool { return a.Addr().IsUnspecified() && a.Port() == x.q.dest.Port() }); l != nil {
		x.noteListener(l, other(accepts, l), "it listens on every address of the destination's port")
		return l
	}
	if !x.q.dest.Addr().IsValid() {
		// The address is not known: the first listener of the port may be meant.
		if l := x.byAddress(func(a netip.AddrPort) bool { return a.Port() == x.q.dest.Port() }); l != nil {
			x.noteListener(l, other(accepts, l), "the destination's address is unknown; it has the port")
			return l
		}
	}
	if accepts != nil {
		x.noteListener(accepts, nil, "no listener has the destination's address, so the one that accepted the connection keeps it")
	}
	return accepts
}

func other(accepts, l *plan.Listener) *plan.Listener {
	if accepts == l || l.BindToPort {
		return nil
	}
	return accepts
}

func (x *explainer) byAddress(fits func(netip.AddrPort) bool) *plan.Listener {
	for _, l := range x.p.Listeners {
		if l.Direction == plan.Inbound {
			continue
		}
		for _, a := range l.Addresses {
			if a.IP.IsValid() && fits(a.IP) {
				return l
			}
		}
	}
	return nil
}

func (x *explainer) noteListener(l, by *plan.Listener, reason string) {
	x.out.Listener = &ListenerStep{Name: l.Name, Address: l.Addresses[0].String(), Direction: l.Direction.String(), Reason: reason}
	if by != nil {
		x.out.Listener.HandedOverBy = by.Name
	}
}

func (x *explainer) chain(l *plan.Listener) *plan.FilterChain {
	if !slices.ContainsFunc(l.ListenerFilters, func(f plan.ListenerFilter) bool {
		return f.Kind == plan.HTTPInspector && !f.Disabled.Has(x.q.dest.Port())
	}) && x.q.facts.Transport == "raw_buffer" {
		x.q.facts.ALPN = nil // nobody looks at the bytes
	}
	chosen := l.Chains.Find(&x.q.facts)
	if chosen == nil {
		x.out.Chain = &ChainStep{}
	} else {
		x.out.Chain = &ChainStep{Name: chosen.Name, TLS: chosen.TLS != nil, Default: chosen == l.Chains.Default()}
	}
	for _, c := range l.Chains.Chains() {
		if c.Chain == chosen {
			continue
		}
		why := mismatch(&c.Match, &x.q.facts)
		if why == "" {
			why = "another chain is more specific"
		}
		x.out.Chain.Considered = append(x.out.Chain.Considered, ChainSeen{Name: c.Chain.Name, Reason: why})
	}
	return chosen
}

// mismatch names the first criterion that a connection fails.
func mismatch(m *plan.ChainMatch, f *plan.ConnFacts) string {
	contains := func(list []netip.Prefix, a netip.Addr) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
	}
	switch {
	case m.DestinationPort != 0 && m.DestinationPort != f.Destination.Port():
		return fmt.Sprintf("the destination's port is not %d", m.DestinationPort)
	case !contains(m.Destination, f.Destination.Addr()):
		return fmt.Sprintf("the destination is not in %v", m.Destination)
	case len(m.ServerNames) > 0 && !slices.ContainsFunc(m.ServerNames, func(n string) bool { return nameCovers(n, f.ServerName) }):
		return fmt.Sprintf("the server name is none of %v", m.ServerNames)
	case m.Transport != "" && m.Transport != f.Transport:
		return "the transport is not " + m.Transport
	case len(m.ALPN) > 0 && !slices.ContainsFunc(m.ALPN, func(a string) bool { return slices.Contains(f.ALPN, a) }):
		return fmt.Sprintf("the application protocol is none of %v", m.ALPN)
	case !contains(m.Source, f.Source.Addr()), !contains(m.DirectSource, f.DirectSource):
		return "the source is not in its ranges"
	case len(m.SourcePorts) > 0 && !slices.Contains(m.SourcePorts, f.Source.Port()):
		return "the source's port is none of its ports"
	}
	return ""
}

func nameCovers(pattern, name string) bool {
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(name, rest) && len(name) > len(rest) || rest == ""
	}
	return pattern == name
}

func (x *explainer) http(m *plan.HTTPConnectionManager) {
	in := &route.Input{Config: m.Routes(x.p), Head: &x.q.head, Random: x.q.random, Trace: &route.Trace{}}
	in.Conn.Remote, in.Conn.Internal = x.q.facts.Source.Addr(), true
	var d route.Decision
	route.Decide(&d, in)
	x.out.Route = in.Trace
	if in.Config == nil {
		x.out.Route.RouteConfig = m.RDSName
	}
	for _, f := range m.Filters {
		step := FilterStep{Name: f.Name}
		if o := d.Overrides.Find(f.Name); o != nil {
			step.Override = describeOverride(o)
		}
		x.out.Filters = append(x.out.Filters, step)
	}
	switch d.Outcome {
	case route.Forward:
		x.forward(&d)
	case route.Redirect, route.RequireTLS:
		x.out.Outcome = "redirected to " + string(d.AppendLocation(nil, &x.q.head))
	case route.Direct:
		x.out.Outcome = fmt.Sprintf("answered %d by the proxy itself", d.Route.Direct.Status)
	case route.Unsupported:
		x.out.Outcome = "answered 500: the route doesn't forward"
	default:
		x.out.Outcome = "answered 404: no route (flag NR)"
	}
}

func (x *explainer) forward(d *route.Decision) {
	x.out.Outcome = "forwarded"
	x.out.Path = string(d.AppendPath(nil, x.q.head.path))
	authority, _ := d.Authority(&x.q.head)
	x.out.Authority = string(authority)
	if t := d.Timeouts(&x.q.head, nil, 0); t.Global > 0 {
		x.out.Timeout = t.Global.String()
	}
	if r := d.Action.Retry; r != nil && r.NumRetries > 0 {
		x.out.Retries = fmt.Sprintf("up to %d", r.NumRetries)
	}
	for i, m := range d.Action.Mirror {
		if d.Mirrors&(1<<i) != 0 {
			x.out.Mirrors = append(x.out.Mirrors, m.Name)
		}
	}
	x.cluster(x.out.Route.Cluster, d.Cluster(x.p))
}

func (x *explainer) cluster(name string, c *plan.Cluster) {
	x.out.Cluster = &ClusterStep{Name: name, Exists: c != nil}
	if c == nil {
		x.out.Outcome += ", but the cluster does not exist: answered 503 (flag NC)"
		return
	}
	x.out.Cluster.Type, x.out.Cluster.TLS = c.Discovery.String(), tlsName(c.TLS)
	x.out.Cluster.Config, x.out.Cluster.File, x.out.Cluster.Line = c.Origin.Config, c.Origin.File, c.Origin.Line
	if c.Discovery == plan.OriginalDestination {
		if x.q.dest.IsValid() {
			x.out.Endpoints = []EndpointStep{{Address: x.q.dest.String(), Health: "the original destination"}}
		}
		return
	}
	if c.Endpoints.Len() == 0 {
		x.out.Outcome += ", but the cluster has no endpoint: answered 503 (flag UH)"
		return
	}
	for p := range c.Endpoints.Priorities {
		for _, l := range c.Endpoints.Priorities[p].Localities {
			for i := range l.Endpoints {
				x.out.Endpoints = append(x.out.Endpoints, endpointStep(c, &l.Endpoints[i], p, l.Locality))
			}
		}
	}
}

func endpointStep(c *plan.Cluster, e *plan.Endpoint, priority int, l plan.Locality) EndpointStep {
	out := EndpointStep{Address: e.Address.String(), Priority: priority, Weight: e.Weight, Health: e.Health.String(), TLS: tlsName(c.TLSFor(e))}
	if l != (plan.Locality{}) {
		out.Locality = strings.TrimRight(l.Region+"/"+l.Zone+"/"+l.SubZone, "/")
	}
	if e.Workload.Name != "" {
		out.Workload = e.Workload.Name + "." + e.Workload.Namespace
	}
	return out
}

// tlsName says how an upstream is spoken to.
func tlsName(t *plan.UpstreamTLS) string {
	switch {
	case t == nil:
		return ""
	case slices.Contains(t.ALPN, "istio"):
		return "mutual TLS of the mesh"
	case len(t.Certificates) > 0:
		return "mutual TLS"
	}
	return "TLS"
}

func describeOverride(o *plan.FilterOverride) string {
	if o.Disabled {
		return "disabled"
	}
	switch c := o.Config.(type) {
	case *plan.Fault:
		var parts []string
		if c.Delay != nil {
			parts = append(parts, fmt.Sprintf("delay %v for %d of %d", c.Delay.Fixed, c.Delay.Fraction.Numerator, c.Delay.Fraction.Denominator))
		}
		if c.Abort != nil {
			code := fmt.Sprint(c.Abort.HTTPStatus)
			if c.Abort.IsGRPC {
				code = fmt.Sprintf("gRPC %d", c.Abort.GRPCStatus)
			}
			parts = append(parts, fmt.Sprintf("abort with %s for %d of %d", code, c.Abort.Fraction.Numerator, c.Abort.Fraction.Denominator))
		}
		return strings.Join(parts, ", ")
	case *plan.CORS:
		return "cross-origin policy of the route"
	case *plan.RBAC:
		return "access control of the route"
	}
	return "configured by the route"
}
