package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/derive"
)

// debugPage is one page below /debug/.
type debugPage struct {
	name, what string
	serve      http.HandlerFunc
}

// debugPages look into a control plane, under istiod's paths and in the shapes
// that istioctl and Kiali read.
type debugPages struct {
	*control
	proxies *proxyPages
}

func newDebugPages(c *control) *debugPages {
	return &debugPages{control: c, proxies: newProxyPages(c.server.Ledger(), c.world, c.store.Name())}
}

func (d *debugPages) list() []debugPage {
	return []debugPage{
		{"adsz", "connected proxies, with their metadata and subscriptions (?proxyID=NAME.NAMESPACE)", d.adsz},
		{"authorizationz", "authorization policies by namespace", d.authorizationz},
		{"cachez", "what translation remembers", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, d.control.discovery.translator.Size()) }},
		{"clusterz", "clusters that are read", d.clusterz},
		{"config_distribution", "which proxy has an object since when (?resource=KIND/NAMESPACE/NAME)", d.configDistribution},
		{"config_dump", "what a proxy shall have, as Envoy writes it (?proxyID=NAME.NAMESPACE, &include_eds=true)", d.configDump},
		{"configz", "configuration objects that are live", d.configz},
		{"connections", "connected proxies, without their metadata", d.connections},
		{"ecdsz", "a proxy's extension configuration (?proxyID=)", d.resources(extensionType)},
		{"edsz", "a proxy's endpoints (?proxyID=)", d.resources(endpointType)},
		{"endpointShardz", "endpoints by service, namespace and cluster", d.endpointShardz},
		{"endpointz", "endpoints by service and port (&brief for text)", d.endpointz},
		{"instancesz", "the services that each proxy's workload is part of", d.instancesz},
		{"krtz", "the graph of derived collections, with sizes and times", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_ = derive.WriteTable(w, d.world.Collections()) // whoever asked has gone
		}},
		{"list", "the names of these pages", d.names},
		{"mcsz", "services that clusters export to each other, which there are none of yet", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, []string{}) }},
		{"mesh", "MeshConfig as it is in force", d.mesh},
		{"ndsz", "the names that a proxy's DNS answers (?proxyID=)", d.resources(nameTableType)},
		{"networkz", "gateways between networks", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, []string{}) }},
		{"problems", "complaints about what is live", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, d.Problems()) }},
		{"push_status", "what proxies refused, and why", d.pushStatus},
		{"pushcontext", "authorization policies, and gateways between networks", d.pushContext},
		{"registryz", "services", d.registryz},
		{"resourcesz", "kinds of configuration that are read", d.resourcesz},
		{"sidecarz", "what a proxy may call (?proxyID=)", d.sidecarz},
		{"sourcez", "where configuration comes from, and whether it still comes", d.sourcesPage},
		{"syncz", "which proxy has which configuration", d.syncz},
		{"telemetryz", "Telemetry resources by namespace", d.telemetryz},
	}
}

// mux serves the pages to whoever asks.
func (d *debugPages) mux() *http.ServeMux {
	mux := http.NewServeMux()
	var pages []page
	for _, p := range d.list() {
		mux.HandleFunc("GET /debug/"+p.name, pretty(p.serve))
		pages = append(pages, page{"/debug/" + p.name, p.what})
	}
	mux.Handle("GET /debug/{$}", index("Debug pages", pages))
	return mux
}

// pretty has a page's JSON indented for those who ask for it.
func pretty(page http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		if !q.URL.Query().Has("pretty") {
			page(w, q)
			return
		}
		held := &heldPage{header: w.Header(), code: http.StatusOK}
		page(held, q)
		var out bytes.Buffer
		if json.Indent(&out, held.body.Bytes(), "", "  ") != nil {
			out = held.body // no JSON
		}
		w.WriteHeader(held.code)
		_, _ = w.Write(out.Bytes()) // whoever asked has gone: nobody is left to tell
	}
}

// mountDebug adds the debug pages, for this machine and for the control plane's
// own namespace.
func mountDebug(mux *http.ServeMux, c *control) {
	mux.Handle("GET /debug", http.RedirectHandler("/debug/", http.StatusMovedPermanently))
	mux.Handle("GET /debug/", c.operatorsOnly(newDebugPages(c).mux()))
}

// operatorsOnly admits callers on this machine and those who prove an identity
// in the control plane's namespace.
func (c *control) operatorsOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		caller, err := c.who.Authenticate(peer.NewContext(
			metadata.NewIncomingContext(q.Context(), metadata.MD{"authorization": q.Header["Authorization"]}), peerOf(q)))
		switch {
		case err != nil:
			writeError(w, http.StatusUnauthorized, fmt.Errorf("debug pages: %s", status.Convert(err).Message()))
		case caller.Source != ca.FromLoopback && caller.ID.Namespace != c.world.Snapshot().Mesh().RootNamespace:
			writeError(w, http.StatusForbidden, fmt.Errorf("debug pages: %s is not of the control plane's namespace", caller.ID))
		default:
			next.ServeHTTP(w, q)
		}
	})
}

// textAddr is the address of an HTTP request's sender.
type textAddr string

func (textAddr) Network() string  { return "tcp" }
func (a textAddr) String() string { return string(a) }

func peerOf(q *http.Request) *peer.Peer {
	p := &peer.Peer{Addr: textAddr(q.RemoteAddr)}
	if q.TLS != nil {
		p.AuthInfo = credentials.TLSInfo{State: *q.TLS}
	}
	return p
}

func (d *debugPages) names(w http.ResponseWriter, _ *http.Request) {
	var names []string
	for _, p := range d.list() {
		names = append(names, p.name)
	}
	slices.Sort(names)
	writeJSON(w, names)
}

// writeRaw answers with JSON that has been written already.
func writeRaw(w http.ResponseWriter, b []byte, err error) {
	if err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	writeJSON(w, json.RawMessage(b))
}

// session finds the proxy that the query names; it answers the request itself
// if there is none.
func (d *debugPages) session(w http.ResponseWriter, q *http.Request) *session {
	name := q.FormValue("proxyID")
	if name == "" {
		writeError(w, http.StatusBadRequest, fmt.Errorf("which proxy? Add ?proxyID=NAME.NAMESPACE"))
		return nil
	}
	for _, s := range d.control.discovery.all() {
		if n := s.client.Node; n.ID == name || n.Workload == name || strings.HasPrefix(n.Workload, name+".") {
			return s
		}
	}
	writeError(w, http.StatusNotFound, fmt.Errorf("proxy %q is not connected to this control plane; it may be connected to another replica", name))
	return nil
}
