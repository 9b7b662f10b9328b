package route

import (
	"fmt"

	"lateen.dev/lateen/proxy/plan"
)

// Trace is the record of a decision, for explain. Methods on a nil Trace do nothing, so that the data path pays one
// comparison.
type Trace struct {
	RouteConfig string      `json:"routeConfig,omitempty"`
	VirtualHost string      `json:"virtualHost,omitempty"`
	Domains     []string    `json:"domains,omitempty"`
	HostReason  string      `json:"virtualHostReason,omitempty"`
	Routes      []RouteStep `json:"routes,omitempty"`
	Cluster     string      `json:"cluster,omitempty"`
	Weight      string      `json:"weight,omitempty"`
}

// RouteStep is a route that was looked at.
type RouteStep struct {
	Index   int    `json:"index"`
	Name    string `json:"name,omitempty"`
	Match   string `json:"match"`
	Matched bool   `json:"matched"`
	// Reason is why it did not match.
	Reason string `json:"reason,omitempty"`
	Config string `json:"config,omitempty"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Rule   string `json:"rule,omitempty"`
}

func (t *Trace) noConfig() {
	if t != nil {
		t.HostReason = "the route configuration has not arrived"
	}
}

func (t *Trace) virtualHost(in *Input, vh *plan.VirtualHost) {
	if t == nil {
		return
	}
	t.RouteConfig = in.Config.Name
	if vh == nil {
		t.HostReason = fmt.Sprintf("no virtual host has a domain for %q", in.Head.Authority())
		return
	}
	t.VirtualHost, t.Domains = vh.Name, vh.Domains
}

func (t *Trace) route(r *plan.Route, why mismatch) {
	if t == nil {
		return
	}
	t.Routes = append(t.Routes, RouteStep{
		Index: r.Index, Name: r.Name, Match: describe(&r.Match), Matched: why.kind == matched, Reason: reason(&r.Match, why),
		Config: r.Origin.Config, File: r.Origin.File, Line: r.Origin.Line, Rule: r.Origin.Rule,
	})
}

func (t *Trace) target(d *Decision) {
	if t == nil {
		return
	}
	t.Cluster = string(d.ClusterName)
	if t.Cluster == "" && d.Target != nil {
		t.Cluster = d.Target.Name
		if len(d.Action.Clusters) > 1 {
			t.Weight = fmt.Sprintf("%d of %d", d.Target.Weight, d.Action.TotalWeight)
		}
	}
}

// describe says in words what a match takes.
func describe(m *plan.RouteMatch) string {
	var s string
	switch m.Kind {
	case plan.PathPrefix:
		s = fmt.Sprintf("path prefix %q", m.Path)
	case plan.PathExact:
		s = fmt.Sprintf("path %q", m.Path)
	case plan.PathSeparatedPrefix:
		s = fmt.Sprintf("path %q or below", m.Path)
	case plan.PathRegex:
		s = fmt.Sprintf("path regex %q", plan.RegexSource(m.Regex))
	case plan.ConnectMatch:
		s = "CONNECT"
	}
	for i := range m.Headers {
		s += ", " + m.Headers[i].String()
	}
	for i := range m.Query {
		s += ", " + describeQuery(&m.Query[i])
	}
	if m.Fraction != nil {
		s += fmt.Sprintf(", %d of %d requests", m.Fraction.Numerator, m.Fraction.Denominator)
	}
	if m.GRPC {
		s += ", gRPC"
	}
	return s
}

func describeQuery(q *plan.QueryMatch) string {
	if q.Value == nil {
		return fmt.Sprintf("query %s present", q.Name)
	}
	return fmt.Sprintf("query %s %s", q.Name, q.Value)
}

func reason(m *plan.RouteMatch, why mismatch) string {
	switch why.kind {
	case byPath:
		return "the path differs"
	case byHeader:
		return "not so: " + m.Headers[why.index].String()
	case byQuery:
		return "not so: " + describeQuery(&m.Query[why.index])
	case byGRPC:
		return "the request is no gRPC"
	case byTLS:
		return "the client's certificate differs from what is asked for"
	case byFraction:
		return "the request is outside the fraction"
	case byMetadata:
		return "it asks for metadata of a filter that this chain doesn't have"
	case byMethod:
		return "CONNECT and other methods have separate routes"
	}
	return ""
}
