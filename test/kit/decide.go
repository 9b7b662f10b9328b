package kit

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/filter/fault"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/route"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/xds"
)

// Decision is what a proxy would do with a request, as far as that follows from configuration alone.
type Decision struct {
	Listener, Chain, Cluster string
	Route                    plan.Origin
	Retries                  uint32
	Timeout                  time.Duration
	Delay                    time.Duration
	Mirrors                  []string
	// TLS says that the request would leave encrypted.
	TLS bool
}

// errClosed means that a connection would be closed without an answer.
var errClosed = errors.New("the connection is closed: no filter chain takes it")

// Decide tells what would become of a request and its repetitions, without a byte being sent: listener, filter chain,
// route, fault, cluster, endpoint and the endpoint's own filter chain are chosen by the code that does it for bytes. The
// requests' random bits are spread evenly, so shares come out exact over as many requests as their weights' sum.
func (h *Host) Decide(q Request) []Response {
	q.Times = max(1, q.Times)
	out := make([]Response, q.Times)
	d := &decider{host: h, turns: map[string]int{}, peers: map[*Host]*plan.Plan{}}
	err := d.prepare(&q)
	for i := range out {
		if err != nil {
			out[i].Err = err
			continue
		}
		out[i] = d.decide(uint64(i) * stride)
	}
	return out
}

// stride spreads random bits over the range of any fraction: it has no divisor in common with 100 or a million.
const stride = 10007

// decider decides one request again and again.
type decider struct {
	host  *Host
	q     *Request
	url   *url.URL
	to    netip.AddrPort
	plan  *plan.Plan
	turns map[string]int // by cluster: whose turn it is
	// peers are the plans of those that requests arrive at.
	peers map[*Host]*plan.Plan
}

func (d *decider) prepare(q *Request) error {
	u, err := url.Parse(q.URL)
	if err != nil {
		return fmt.Errorf("URL %q: %w", q.URL, err)
	}
	d.q, d.url, d.to = q, u, q.To
	if !d.to.IsValid() {
		if d.to, err = d.host.mesh.Resolve(d.host, u.Host, defaultPort(u.Scheme)); err != nil {
			return err
		}
	}
	d.plan, err = d.host.Plan()
	return err
}

// Plan compiles all that the host's proxy is told. What can't be compiled is an error.
func (h *Host) Plan() (*plan.Plan, error) {
	if h.Engine == None {
		return &plan.Plan{}, nil
	}
	// A proxy of our own decides here, whatever takes its place elsewhere.
	self := h.Proxy()
	self.Flavor, self.Version, self.Metadata = model.LateenProxy, "test", nil // whole tables
	state := h.mesh.Control.State(self)
	c := &compile.Compiler{Names: plan.NewNames(), Hostname: h.Name, NodeID: h.NodeID(), NodeCluster: h.Name, ReadFile: os.ReadFile}
	parts := plan.Parts{Version: 1}
	endpoints := map[string]*plan.Endpoints{}
	for _, kind := range []struct {
		of  plan.Kind
		url string
	}{{plan.KindEndpoints, xds.EndpointType}, {plan.KindCluster, xds.ClusterType}, {plan.KindRouteConfig, xds.RouteType},
		{plan.KindListener, xds.ListenerType}} {
		for r := range state.Set(kind.url).All() {
			one, err := c.Resource(kind.of, r.Name, r.Body())
			if err != nil {
				return nil, fmt.Errorf("%s %s of %s: %w", xds.ShortType(kind.url), r.Name, h.Name, err)
			}
			switch kind.of {
			case plan.KindEndpoints:
				endpoints[r.Name] = one.Endpoints
			case plan.KindCluster:
				if e := endpoints[one.Cluster.EDSName]; e != nil && one.Cluster.Discovery == plan.EDS {
					one.Cluster.Endpoints = compile.ForCluster(one.Cluster, e)
				}
				parts.Clusters = append(parts.Clusters, one.Cluster)
			case plan.KindRouteConfig:
				parts.RouteConfigs = append(parts.RouteConfigs, one.RouteConfig)
			case plan.KindListener:
				parts.Listeners = append(parts.Listeners, one.Listener)
			}
		}
	}
	return plan.New(c.Names, parts), nil
}

func (d *decider) decide(random uint64) Response {
	r := Response{Header: http.Header{}, Decision: &Decision{}}
	if d.host.Engine == None {
		d.arrive(&r, d.to, nil)
		return r
	}
	l := findListener(d.plan, d.to, d.host.Gateway)
	if l == nil {
		r.Err = fmt.Errorf("no listener for %s", d.to)
		return r
	}
	facts := d.facts(l)
	chain := l.Chains.Find(&facts)
	if chain == nil {
		r.Err = errClosed
		return r
	}
	r.Decision.Listener, r.Decision.Chain = l.Name, chain.Name
	switch t := chain.Terminal().(type) {
	case *plan.TCPProxy:
		d.forward(&r, d.plan.Cluster(t.Choose(random).Cluster), nil)
	case *plan.HTTPConnectionManager:
		d.http(&r, t, random)
	default:
		r.Err = errClosed
	}
	return r
}

// findListener does what use_original_dst does, or finds a gateway's listener by port.
func findListener(p *plan.Plan, to netip.AddrPort, gateway bool) *plan.Listener {
	var wild, all *plan.Listener
	for _, l := range p.Listeners {
		for _, a := range l.Addresses {
			switch {
			case l.Direction == plan.Inbound:
			case a.IP == to:
				return l
			case a.IP.Addr().IsUnspecified() && a.IP.Port() == to.Port():
				wild = l
			case a.IP.Port() == outboundPort && !gateway:
				all = l
			}
		}
	}
	if wild != nil {
		return wild
	}
	return all
}

// facts are what the listener's filters would find out.
func (d *decider) facts(l *plan.Listener) plan.ConnFacts {
	f := plan.ConnFacts{Destination: d.to, Transport: "raw_buffer", DirectSource: d.host.Addr, Source: netip.AddrPortFrom(d.host.Addr, 40000),
		Local: d.host.Addr}
	for _, filter := range l.ListenerFilters {
		if filter.Kind != plan.HTTPInspector || filter.Disabled.Has(d.to.Port()) {
			continue
		}
		switch d.q.Protocol {
		case "tcp", "https":
		case "grpc", "http2":
			f.ALPN = []string{"h2c"}
		default:
			f.ALPN = []string{"http/1.1"}
		}
	}
	return f
}

func (d *decider) http(r *Response, m *plan.HTTPConnectionManager, random uint64) {
	if d.q.Protocol == "tcp" {
		r.Err = errors.New("the bytes are no HTTP")
		return
	}
	head := d.head()
	var trace route.Trace
	in := route.Input{Config: m.Routes(d.plan), Head: head, Random: random, Trace: &trace}
	var dec route.Decision
	route.Decide(&dec, &in)
	if dec.Route != nil {
		r.Decision.Route = dec.Route.Origin
	}
	switch dec.Outcome {
	case route.NoRoute:
		r.Status = http.StatusNotFound
	case route.Redirect, route.RequireTLS:
		r.Status = http.StatusMovedPermanently
		if dec.Route != nil && dec.Route.Redirect != nil {
			r.Status = int(dec.Route.Redirect.Code)
		}
		r.Header.Set("Location", string(dec.AppendLocation(nil, head)))
	case route.Direct:
		r.Status, r.Body = int(dec.Route.Direct.Status), string(dec.Route.Direct.Body)
	case route.Forward:
		d.fault(r, m, &dec, head, random)
	default:
		r.Status = http.StatusInternalServerError
	}
	if dec.Headers != nil {
		mutate(r.Header, dec.Headers.Response)
	}
}

// fault applies what the route says of faults, and forwards what gets through.
func (d *decider) fault(r *Response, m *plan.HTTPConnectionManager, dec *route.Decision, head head, random uint64) {
	for _, f := range m.Filters {
		cfg, ok := f.Config.(*plan.Fault)
		if !ok {
			continue
		}
		if o := dec.Overrides.Find(f.Name); o != nil && o.Config != nil {
			cfg, _ = o.Config.(*plan.Fault)
		}
		v := fault.Decide(cfg, &fault.Request{Head: head, Random: [2]uint64{random, random}})
		r.Decision.Delay = v.Delay
		r.Took += v.Delay
		if v.Abort {
			r.Status = int(v.HTTPStatus)
			return
		}
	}
	d.route(r, m, dec, head)
}

func (d *decider) route(r *Response, m *plan.HTTPConnectionManager, dec *route.Decision, head head) {
	a := dec.Action
	for i := range a.Mirror {
		if dec.Mirrors&(1<<i) != 0 {
			r.Decision.Mirrors = append(r.Decision.Mirrors, a.Mirror[i].Name)
		}
	}
	if a.Retry != nil {
		r.Decision.Retries = a.Retry.NumRetries
	}
	if router, ok := m.Filters[len(m.Filters)-1].Config.(*plan.Router); ok {
		r.Decision.Timeout = dec.Timeouts(head, router, 0).Global
	}
	c := dec.Cluster(d.plan)
	if c == nil {
		r.Status = int(a.NotFoundCode)
		return
	}
	sent := &Report{Method: d.q.Method, Path: head.path, Host: head.authority, Headers: d.q.Header.Clone()}
	if dec.RewritesPath() {
		sent.Path = string(dec.AppendPath(nil, []byte(head.path)))
	}
	if authority, rewritten := dec.Authority(head); rewritten {
		sent.Host = string(authority)
	}
	if sent.Headers == nil {
		sent.Headers = http.Header{}
	}
	mutate(sent.Headers, dec.Headers.Request)
	d.forward(r, c, sent)
}

// mutate does what mutations do whose values are fixed.
func mutate(h http.Header, list []plan.HeaderMutation) {
	for i := range list {
		m := &list[i]
		name := m.Name.String()
		switch {
		case m.Remove:
			h.Del(name)
		case m.Value.Text != nil: // it is known only when there is a connection
		case m.Action == plan.AppendIfExistsOrAdd:
			h.Add(name, m.Value.Literal)
		default:
			h.Set(name, m.Value.Literal)
		}
	}
}

// head is a request's head as matchers see it.
type head struct {
	method, authority, path string
	header                  http.Header
}

func (d *decider) head() head {
	h := head{method: d.q.Method, authority: d.url.Host, path: d.url.RequestURI(), header: d.q.Header}
	if host := d.q.Header.Get("Host"); host != "" {
		h.authority = host
	}
	if d.q.Protocol == "grpc" {
		h.method, h.path, h.header = http.MethodPost, "/grpc.health.v1.Health/Check", d.q.Header.Clone()
		if h.header == nil {
			h.header = http.Header{}
		}
		h.header.Set("Content-Type", "application/grpc")
	}
	return h
}

// Method implements plan.Head, as the others do.
func (h head) Method() []byte    { return []byte(h.method) }
func (h head) Scheme() []byte    { return []byte("http") }
func (h head) Authority() []byte { return []byte(h.authority) }
func (h head) Path() []byte      { return []byte(h.path) }

// Header returns all values of a header, joined.
func (h head) Header(name header.Name) ([]byte, bool) {
	values, ok := h.header[http.CanonicalHeaderKey(name.String())]
	return []byte(strings.Join(values, ",")), ok
}
