package proxy

import (
	"net/http"
	"strings"
	"testing"

	"lateen.dev/lateen/proxy/plan"
)

func TestPeersKnowEachOther(t *testing.T) {
	seen := make(chan http.Header, 1)
	in := newBedWith(t, func(o *Options) { o.Labels.Workload, o.Labels.App = "the-server", "server-app" })
	in.inbound = true
	in.cluster("inbound|80||", server(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	im := manager(t, in.route("/", "inbound|80||"))
	im.Filters = append([]plan.HTTPFilter{{Config: &plan.PeerMetadata{PropagateDownstream: true}}, {Config: &plan.Stats{}}}, im.Filters...)
	in.listen(im)
	out := newBedWith(t, func(o *Options) { o.Labels.Workload, o.Labels.Version = "the-client", "v7" })
	out.cluster("outbound|80||server", in.addr)
	om := manager(t, out.route("/", "outbound|80||server"))
	om.Filters = append([]plan.HTTPFilter{{Config: &plan.PeerMetadata{PropagateUpstream: true}}, {Config: &plan.Stats{}}}, om.Filters...)
	out.listen(om)
	nc, br := out.dial()
	resp := send(t, nc, br, plainGet)
	for name := range resp.Header {
		if strings.HasPrefix(name, "X-Envoy-Peer") {
			t.Errorf("the client sees %s", name)
		}
	}
	for name := range <-seen {
		if strings.HasPrefix(name, "X-Envoy-Peer") {
			t.Errorf("the server sees %s", name)
		}
	}
	in.waitForMetric(`istio_requests_total{`, `reporter="destination"`, `source_workload="the-client"`, `source_version="v7"`, `destination_workload="the-server"`)
	out.waitForMetric(`istio_requests_total{`, `reporter="source"`, `source_workload="the-client"`, `destination_workload="the-server"`, `destination_app="server-app"`)
}

// waitForMetric waits until a series has all of the parts: a request is counted after its answer has gone out.
func (b *bed) waitForMetric(parts ...string) {
	b.t.Helper()
	for range 200 {
		for line := range strings.Lines(scrape(b.metrics)) {
			has := true
			for _, p := range parts {
				has = has && strings.Contains(line, p)
			}
			if has {
				return
			}
		}
	}
	b.t.Errorf("no series has %q", parts)
}

func TestCORS(t *testing.T) {
	b := newBed(t)
	b.cluster("echo", server(t, echo))
	r := b.route("/", "echo")
	policy := &plan.CORS{Enabled: plan.Fraction{Numerator: 100, Denominator: 100}, AllowMethods: "GET,POST", MaxAge: "60",
		Origins: []plan.StringMatch{{Value: "http://good.test"}}}
	r.Forward.Clusters[0].FilterOverrides = plan.FilterOverrides{{Filter: "cors", Config: policy}}
	m := manager(t, r)
	m.Filters = append([]plan.HTTPFilter{{Name: "cors", Config: &plan.CORS{}}}, m.Filters...)
	b.listen(m)
	nc, br := b.dial()
	resp := send(t, nc, br, "OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: http://good.test\r\nAccess-Control-Request-Method: POST\r\n\r\n")
	if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Methods") != "GET,POST" || resp.Header.Get("X-Seen") != "" {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	resp = send(t, nc, br, "GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://good.test\r\n\r\n")
	if resp.Header.Get("Access-Control-Allow-Origin") != "http://good.test" || resp.Header.Get("X-Seen") == "" {
		t.Errorf("request: %v", resp.Header)
	}
	resp = send(t, nc, br, "GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://bad.test\r\n\r\n")
	if resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: %v", resp.Header)
	}
}
