package app

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"lateen.dev/lateen/derive"
)

// debugPage is one page below /debug/.
type debugPage struct {
	name, what string
	serve      http.HandlerFunc
}

// mountDebug adds the debug pages, under istiod's paths where it has the page.
func mountDebug(mux *http.ServeMux, c *control) {
	proxies := newProxyPages(c.server.Ledger(), c.world, c.store.Name())
	pages := []debugPage{
		{"syncz", "which proxy has which configuration", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, proxies.list()) }},
		{"registryz", "services and their endpoints", c.registryPage},
		{"configz", "configuration objects that are live", func(w http.ResponseWriter, _ *http.Request) {
			objects, _ := c.Objects()
			writeJSON(w, objects)
		}},
		{"krtz", "the graph of derived collections, with sizes and times", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_ = derive.WriteTable(w, c.world.Collections()) // whoever asked has gone
		}},
		{"problems", "complaints about what is live", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, c.Problems()) }},
		{"sourcez", "where configuration comes from, and whether it still comes", c.sourcesPage},
		{"cachez", "what translation remembers", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, c.discovery.translator.Size()) }},
		{"config_dump", "what a proxy shall have: ?proxyID=NAME.NAMESPACE", c.configDump},
	}
	for _, p := range pages {
		mux.HandleFunc("GET /debug/"+p.name, p.serve)
	}
	mux.HandleFunc("GET /debug/{$}", func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range pages {
			fmt.Fprintf(w, "/debug/%-12s %s\n", p.name, p.what)
		}
	})
}

// registryEntry is a service as /debug/registryz shows it.
type registryEntry struct {
	Hostname  string   `json:"hostname"`
	Namespace string   `json:"namespace"`
	Addresses []string `json:"addresses"`
	Endpoints []string `json:"endpoints"`
}

func (c *control) registryPage(w http.ResponseWriter, _ *http.Request) {
	snap := c.world.Snapshot()
	entries := []registryEntry{}
	for key, svc := range snap.Services() {
		e := registryEntry{Hostname: key.Hostname, Namespace: key.Namespace}
		for _, a := range svc.Addresses {
			e.Addresses = append(e.Addresses, fmt.Sprint(a))
		}
		if set := snap.Endpoints(key); set != nil {
			for _, ep := range set.Endpoints {
				e.Endpoints = append(e.Endpoints, fmt.Sprintf("%s %v %s", ep.Address, ep.PortNumbers, ep.Health))
			}
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b registryEntry) int {
		return strings.Compare(a.Namespace+"/"+a.Hostname, b.Namespace+"/"+b.Hostname)
	})
	writeJSON(w, entries)
}

// configDump lists the resources that a connected proxy shall have, by name
// and version.
func (c *control) configDump(w http.ResponseWriter, q *http.Request) {
	name := q.FormValue("proxyID")
	for _, s := range c.discovery.all() {
		if s.client.Node.Workload != name {
			continue
		}
		out := map[string]map[string]string{}
		state := s.State()
		for _, typeURL := range state.Types() {
			out[typeURL] = map[string]string{}
			for r := range state.Set(typeURL).All() {
				out[typeURL][r.Name] = r.Version
			}
		}
		writeJSON(w, out)
		return
	}
	writeError(w, http.StatusNotFound, fmt.Errorf("proxy %q is not connected", name))
}
