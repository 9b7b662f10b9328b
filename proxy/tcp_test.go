package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/telemetry"
)

// greeter speaks first, then echoes.
func greeter(t testing.TB) string {
	t.Helper()
	return serveTCP(t, func(nc net.Conn) {
		io.WriteString(nc, "hello\n") //nolint:errcheck // the client sees it
		io.Copy(nc, nc)               //nolint:errcheck // the client sees it
	})
}

func scrape(r *telemetry.Registry) string {
	rec := &recorder{header: http.Header{}}
	r.Handler().ServeHTTP(rec, &http.Request{Method: "GET", Header: http.Header{}})
	return rec.body.String()
}

func TestTCPWithMetadataExchange(t *testing.T) {
	p := newPKI(t)
	exchange := &plan.MetadataExchange{Protocol: "istio-peer-exchange"}
	in := newBedWith(t, func(o *Options) { o.Identity, o.Labels.Workload = holder(p.material("server")), "the-server" })
	in.inbound = true
	in.cluster("inbound|7||", greeter(t))
	in.listenChain(&plan.FilterChain{
		TLS: &plan.DownstreamTLS{TLSParameters: own("istio-peer-exchange", "istio"), RequireClientCertificate: true},
		Filters: []plan.NetworkFilter{{Config: exchange}, {Config: &plan.Stats{}}, {Config: &plan.TCPProxy{
			Clusters: []plan.WeightedTCPCluster{{Name: "inbound|7||", Cluster: in.names.Cluster("inbound|7||"), Weight: 1}}, TotalWeight: 1,
		}}},
	})
	out := newBedWith(t, func(o *Options) { o.Identity, o.Labels.Workload = holder(p.material("client")), "the-client" })
	c := out.cluster("outbound|7||server", in.addr)
	c.MetadataExchange = exchange
	c.TLS = &plan.UpstreamTLS{TLSParameters: own("istio-peer-exchange", "istio")}
	out.listenChain(&plan.FilterChain{Filters: []plan.NetworkFilter{{Config: &plan.Stats{}}, {Config: &plan.TCPProxy{
		Clusters: []plan.WeightedTCPCluster{{Name: "outbound|7||server", Cluster: out.names.Cluster("outbound|7||server"), Weight: 1}}, TotalWeight: 1,
	}}}})
	nc, br := out.dial()
	if line, err := br.ReadString('\n'); err != nil || line != "hello\n" {
		t.Fatalf("the server speaks first: %q %v", line, err)
	}
	io.WriteString(nc, "and you\n") //nolint:errcheck // seen by the read
	if line, err := br.ReadString('\n'); err != nil || line != "and you\n" {
		t.Fatalf("then the client: %q %v", line, err)
	}
	nc.(*net.TCPConn).CloseWrite() //nolint:errcheck // seen by the read
	if _, err := br.ReadByte(); err != io.EOF {
		t.Fatalf("%v, want the end", err)
	}
	for in.proxy.Connections()+out.proxy.Connections() > 0 {
		nc.Write(nil) //nolint:errcheck // passes the time until both have counted
	}
	if m := scrape(in.metrics); !strings.Contains(m, `istio_tcp_connections_closed_total{`) || !strings.Contains(m, `source_workload="the-client"`) {
		t.Error("the server's side doesn't know the client")
	}
	if m := scrape(out.metrics); !strings.Contains(m, `destination_workload="the-server"`) || !strings.Contains(m, `destination_principal="spiffe://cluster.local/ns/default/sa/server"`) {
		t.Error("the client's side doesn't know the server")
	}
}
