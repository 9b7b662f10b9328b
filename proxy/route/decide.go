package route

import (
	"net/netip"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/header"
)

// Input is what a decision depends on.
type Input struct {
	// Config is nil while the route configuration has not arrived.
	Config *plan.RouteConfig
	Head   plan.Head
	Conn   Conn
	// Random are fresh random bits.
	Random uint64
	// Trace records what was considered; nil on the data path.
	Trace *Trace
}

// Conn is what routes may ask of the connection.
type Conn struct {
	// Internal says that the request comes from an internal address.
	Internal bool
	// CertPresented and CertValidated are about the client's certificate.
	CertPresented, CertValidated bool
	// Remote is the client's address, for hashing.
	Remote netip.Addr
}

// Outcome is the kind of a decision.
type Outcome uint8

// The outcomes.
const (
	NoRoute     Outcome = iota // 404, flag NR
	Forward                    // to Target
	Redirect                   // Route.Redirect
	Direct                     // Route.Direct
	RequireTLS                 // 301 to https, on behalf of the virtual host
	Unsupported                // a route without action, which proxy/compile doesn't make: 500
)

// Decision is what is to be done with a request.
type Decision struct {
	Outcome     Outcome
	Config      *plan.RouteConfig
	VirtualHost *plan.VirtualHost
	Route       *plan.Route
	// Action is Route.Forward, for Forward.
	Action *plan.RouteAction
	// Target is the chosen entry of Action.Clusters, for Forward; nil when a header names the cluster. ClusterName is what
	// it named, a view of the head; when it is empty, Target.Cluster counts. A request without the header goes to a
	// cluster that doesn't exist, as in Envoy.
	Target      *plan.WeightedCluster
	ClusterName []byte
	// Headers and Overrides are those that apply; never nil and possibly empty, respectively.
	Headers   *plan.HeaderMutations
	Overrides plan.FilterOverrides
	// Mirrors has bit i set when the request is copied to Action.Mirror[i].
	Mirrors uint32
}

// Cluster resolves the decision's cluster in p; nil when it doesn't exist.
func (d *Decision) Cluster(p *plan.Plan) *plan.Cluster {
	if len(d.ClusterName) > 0 {
		return p.ClusterNamed(d.ClusterName)
	}
	if d.Target == nil {
		return nil
	}
	return p.Cluster(d.Target.Cluster)
}

// noHeaders is what decisions without a route point to. It is never written.
var noHeaders plan.HeaderMutations

var contentType = header.NewName("content-type")

// Decide fills d.
func Decide(d *Decision, in *Input) {
	*d = Decision{Config: in.Config, Headers: &noHeaders}
	if in.Config == nil {
		in.Trace.noConfig()
		return
	}
	vh := in.Config.Hosts.Find(in.Head.Authority(), in.Config.IgnorePort)
	in.Trace.virtualHost(in, vh)
	if vh == nil {
		return
	}
	d.VirtualHost = vh
	if vh.RequireTLS != plan.TLSNotRequired && string(in.Head.Scheme()) != "https" &&
		(vh.RequireTLS == plan.TLSForAll || !in.Conn.Internal) {
		d.Outcome = RequireTLS
		return
	}
	m := matcher{in: in, path: in.Head.Path()}
	for i, c := range m.path {
		if c == '?' || c == '#' {
			m.path, m.query = m.path[:i], m.path[i:]
			break
		}
	}
	for _, r := range vh.Routes {
		why := m.match(&r.Match)
		in.Trace.route(r, why)
		if why.kind == matched {
			d.choose(r, in)
			return
		}
	}
}

// choose fills in what follows from the route.
func (d *Decision) choose(r *plan.Route, in *Input) {
	d.Route = r
	d.Headers, d.Overrides = &r.Headers, r.FilterOverrides
	switch {
	case r.Redirect != nil:
		d.Outcome = Redirect
	case r.Direct != nil:
		d.Outcome = Direct
	case r.Forward != nil:
		d.Outcome = Forward
		d.forward(r.Forward, in)
	default:
		d.Outcome = Unsupported
	}
}

func (d *Decision) forward(a *plan.RouteAction, in *Input) {
	d.Action = a
	if a.ClusterHeader != nil {
		d.ClusterName, _ = a.ClusterHeader.Of(in.Head)
	}
	if len(a.Clusters) > 0 {
		d.Target = weighted(a, in)
		d.Headers, d.Overrides = &d.Target.Headers, d.Target.FilterOverrides
		if h := d.Target.ClusterHeader; h != nil {
			d.ClusterName, _ = h.Of(in.Head)
		}
	}
	r := in.Random
	for i := range a.Mirror {
		r = mix(r)
		if i < 32 && a.Mirror[i].Fraction.Hit(r) {
			d.Mirrors |= 1 << i
		}
	}
	in.Trace.target(d)
}

// weighted chooses a cluster in proportion to the weights.
func weighted(a *plan.RouteAction, in *Input) *plan.WeightedCluster {
	if len(a.Clusters) == 1 || a.TotalWeight == 0 {
		return &a.Clusters[0]
	}
	r := in.Random
	if a.WeightHeader != nil {
		if v, ok := a.WeightHeader.Of(in.Head); ok {
			if n, ok := number(v); ok {
				r = n
			}
		}
	}
	r %= a.TotalWeight
	for i := range a.Clusters {
		w := uint64(a.Clusters[i].Weight)
		if r < w {
			return &a.Clusters[i]
		}
		r -= w
	}
	return &a.Clusters[len(a.Clusters)-1]
}

// mix makes further bits from random ones (splitmix64's finisher), so that one draw serves several questions.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// number reads an unsigned decimal number.
func number(v []byte) (uint64, bool) {
	if len(v) == 0 || len(v) > 19 {
		return 0, false
	}
	n := uint64(0)
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}
