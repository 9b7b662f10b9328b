package kit

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"lateen.dev/lateen/proxy/plan"
)

// forward chooses one of the cluster's endpoints in turn.
func (d *decider) forward(r *Response, c *plan.Cluster, sent *Report) {
	if c == nil {
		r.Err = errors.New("the cluster doesn't exist")
		return
	}
	r.Decision.Cluster = c.Name
	if strings.HasPrefix(c.Name, "BlackHole") {
		if r.Err = errClosed; sent != nil {
			r.Err, r.Status = nil, http.StatusBadGateway
		}
		return
	}
	if c.Discovery == plan.OriginalDestination {
		d.arrive(r, d.to, sent)
		return
	}
	all := d.endpoints(c)
	if len(all) == 0 {
		r.Status = http.StatusServiceUnavailable
		return
	}
	e := all[d.turns[c.Name]%len(all)]
	d.turns[c.Name]++
	to := e.Address.IP
	if e.Address.Host != "" {
		if addrs := d.host.mesh.lookUp(e.Address.Host); len(addrs) > 0 {
			to = netip.AddrPortFrom(addrs[0], e.Address.Port)
		}
	}
	tls := c.TLSFor(e)
	r.Decision.TLS = tls != nil
	d.arriveAt(r, to, tls, sent)
}

// endpoints are those of the first priority that has any.
func (d *decider) endpoints(c *plan.Cluster) []*plan.Endpoint {
	var out []*plan.Endpoint
	if c.Endpoints == nil {
		return nil
	}
	for i := range c.Endpoints.Priorities {
		localities := c.Endpoints.Priorities[i].Localities
		for j := range localities {
			for k := range localities[j].Endpoints {
				out = append(out, &localities[j].Endpoints[k])
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return out
}

func (d *decider) arrive(r *Response, to netip.AddrPort, sent *Report) { d.arriveAt(r, to, nil, sent) }

// arriveAt looks who is at an address, and whether its proxy lets the connection in.
func (d *decider) arriveAt(r *Response, to netip.AddrPort, tls *plan.UpstreamTLS, sent *Report) {
	for _, h := range d.host.mesh.Hosts() {
		if h.Addr != to.Addr() {
			continue
		}
		version, serves := h.Version, false
		for _, p := range h.Ports {
			serves = serves || p.Number == to.Port()
		}
		if err := d.admitted(h, to, tls, sent != nil); err != nil || !serves {
			r.Err = err
			if sent != nil || err == nil {
				r.Err, r.Status = nil, http.StatusServiceUnavailable
			}
			return
		}
		if sent == nil {
			sent = &Report{Method: d.q.Method, Path: d.url.RequestURI(), Host: d.url.Host, Headers: d.q.Header.Clone()}
		}
		sent.Name, sent.Version = h.Name, version
		r.Status, r.Report = http.StatusOK, sent
		return
	}
	r.Status = http.StatusServiceUnavailable
}

// admitted says whether a host's own proxy has a chain for a connection.
func (d *decider) admitted(h *Host, to netip.AddrPort, tls *plan.UpstreamTLS, http bool) error {
	if h.Engine == None || h.Gateway {
		return nil
	}
	p := d.peers[h]
	if p == nil {
		var err error
		if p, err = h.Plan(); err != nil {
			return err
		}
		d.peers[h] = p
	}
	l := p.Listener("virtualInbound")
	if l == nil {
		return fmt.Errorf("%s has no inbound listener", h.Name)
	}
	f := plan.ConnFacts{Destination: to, Transport: "raw_buffer", DirectSource: d.host.Addr, Source: netip.AddrPortFrom(d.host.Addr, 40000), Local: h.Addr}
	if tls != nil {
		f.Transport, f.ServerName, f.ALPN = "tls", tls.SNI, tls.ALPN
	}
	if http {
		f.ALPN = []string{"istio-http/1.1", "istio", "http/1.1"}
	}
	c := l.Chains.Find(&f)
	if c == nil || c.Name == "virtualInbound-blackhole" {
		return errClosed
	}
	if (c.TLS != nil) != (tls != nil) {
		return errors.New("one side speaks TLS and the other doesn't")
	}
	return nil
}
