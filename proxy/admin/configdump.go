package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/state"
	"lateen.dev/lateen/xds"
)

// object is a JSON object.
type object = map[string]any

const adminTypes = "type.googleapis.com/envoy.admin.v3."

func (s *server) configDump(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var name *regexp.Regexp
	if pattern := q.Get("name_regex"); pattern != "" {
		var err error
		if name, err = regexp.Compile(pattern); err != nil {
			http.Error(w, "name_regex: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	if q.Has("mask") {
		http.Error(w, "mask is not supported; use resource and name_regex", http.StatusBadRequest)
		return
	}
	d := dumper{server: s, name: name}
	if want := q.Get("resource"); want != "" {
		configs, ok := d.only(want)
		if !ok {
			http.Error(w, want+" not found in config dump", http.StatusNotFound)
			return
		}
		writeJSON(w, object{"configs": configs})
		return
	}
	writeJSON(w, object{"configs": d.all(q.Has("include_eds"))})
}

// dumper renders configuration.
type dumper struct {
	*server
	name *regexp.Regexp // nil takes every name
}

// section is one message of the dump: a name, and lists of resources.
type section struct {
	kind  string
	lists []list
	extra object
}

// list is a field of a section: its name, the type of its elements, and the elements.
type list struct {
	field, element string
	items          []object
}

func (d *dumper) all(eds bool) []object {
	var out []object
	if d.Bootstrap != nil {
		out = append(out, object{"@type": adminTypes + "BootstrapConfigDump", "bootstrap": stripType(body(d.Bootstrap)), "last_updated": stamp(d.Info.Start)})
	}
	for _, s := range d.sections(eds) {
		o := object{"@type": adminTypes + s.kind}
		for k, v := range s.extra {
			o[k] = v
		}
		for _, l := range s.lists {
			if len(l.items) > 0 {
				o[l.field] = l.items
			}
		}
		out = append(out, o)
	}
	return out
}

// only returns the elements of one field, each with its type, as Envoy's ?resource= does.
func (d *dumper) only(field string) ([]object, bool) {
	if field == "bootstrap" && d.Bootstrap != nil {
		return []object{body(d.Bootstrap)}, true
	}
	for _, s := range d.sections(true) {
		for _, l := range s.lists {
			if l.field != field {
				continue
			}
			out := make([]object, 0, len(l.items))
			for _, it := range l.items {
				it["@type"] = adminTypes + s.kind + "." + l.element
				out = append(out, it)
			}
			return out, true
		}
	}
	return nil, false
}

func (d *dumper) sections(eds bool) []section {
	out := []section{d.clusters()}
	if eds {
		out = append(out, d.endpoints())
	}
	listeners := d.Store.Resources(plan.KindListener)
	return append(out, d.listeners(listeners), section{kind: "ScopedRoutesConfigDump"}, d.routes(listeners), d.secrets(), d.extensions())
}

func (d *dumper) takes(name string) bool { return d.name == nil || d.name.MatchString(name) }

func (d *dumper) clusters() section {
	static := list{field: "static_clusters", element: "StaticCluster"}
	active := list{field: "dynamic_active_clusters", element: "DynamicCluster"}
	warming := list{field: "dynamic_warming_clusters", element: "DynamicCluster"}
	extra := object{}
	for _, r := range d.Store.Resources(plan.KindCluster) {
		if !d.takes(r.Name) {
			continue
		}
		if r.Static && r.Live != nil {
			static.items = append(static.items, versioned("cluster", r.Live, false))
			continue
		}
		if r.Live != nil {
			active.items = append(active.items, withError(versioned("cluster", r.Live, true), r.Failure))
			extra["version_info"] = r.Live.Version
		}
		if r.Warming != nil || r.Live == nil && r.Failure != nil {
			warming.items = append(warming.items, withError(versioned("cluster", r.Warming, true), r.Failure))
		}
	}
	return section{kind: "ClustersConfigDump", lists: []list{static, active, warming}, extra: extra}
}

func (d *dumper) listeners(all []state.Resource) section {
	static := list{field: "static_listeners", element: "StaticListener"}
	dynamic := list{field: "dynamic_listeners", element: "DynamicListener"}
	extra := object{}
	for _, r := range all {
		if !d.takes(r.Name) {
			continue
		}
		if r.Static && r.Live != nil {
			static.items = append(static.items, versioned("listener", r.Live, false))
			continue
		}
		o := withError(object{"name": r.Name}, r.Failure)
		if r.Live != nil {
			o["active_state"] = versioned("listener", r.Live, true)
			extra["version_info"] = r.Live.Version
		}
		if r.Warming != nil {
			o["warming_state"] = versioned("listener", r.Warming, true)
		}
		dynamic.items = append(dynamic.items, o)
	}
	return section{kind: "ListenersConfigDump", lists: []list{static, dynamic}, extra: extra}
}

func (d *dumper) routes(listeners []state.Resource) section {
	static := list{field: "static_route_configs", element: "StaticRouteConfig"}
	dynamic := list{field: "dynamic_route_configs", element: "DynamicRouteConfig"}
	for _, l := range listeners {
		if l.Live == nil {
			continue
		}
		for _, rc := range inlineRoutes(body(l.Live.Body)) {
			if name, _ := rc["name"].(string); d.takes(name) {
				rc["@type"] = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
				static.items = append(static.items, object{"route_config": rc, "last_updated": stamp(l.Live.Updated)})
			}
		}
	}
	hosts := map[string][]state.Resource{}
	for _, h := range d.Store.Resources(plan.KindVirtualHost) {
		route := xds.Collection(xds.VirtualHostType, h.Name)
		hosts[route] = append(hosts[route], h)
	}
	for _, r := range d.Store.Resources(plan.KindRouteConfig) {
		if d.takes(r.Name) && (r.Live != nil || r.Failure != nil) {
			o := withError(versioned("route_config", r.Live, true), r.Failure)
			withHosts(o, hosts[r.Name])
			dynamic.items = append(dynamic.items, o)
		}
	}
	return section{kind: "RoutesConfigDump", lists: []list{static, dynamic}}
}

// extensions are the filters' configurations that came by themselves. One that was refused is shown with the reason, beside
// the version that stays.
func (d *dumper) extensions() section {
	filters := list{field: "ecds_filters", element: "EcdsFilterConfig"}
	for _, r := range d.Store.Resources(plan.KindExtension) {
		if d.takes(r.Name) && (r.Live != nil || r.Failure != nil) {
			filters.items = append(filters.items, withError(versioned("ecds_filter", r.Live, true), r.Failure))
		}
	}
	return section{kind: "EcdsConfigDump", lists: []list{filters}}
}

// withHosts adds the virtual hosts that came by themselves to a route configuration, as Envoy does. The newest of them
// tells when it was last updated; the refusal of one stands there if it has none of its own.
func withHosts(o object, hosts []state.Resource) {
	rc, ok := o["route_config"].(object)
	if !ok || len(hosts) == 0 {
		return
	}
	all, _ := rc["virtual_hosts"].([]any)
	last, _ := time.Parse(time.RFC3339Nano, fmt.Sprint(o["last_updated"]))
	for _, h := range hosts {
		if h.Live != nil {
			all = append(all, stripType(body(h.Live.Body)))
			if h.Live.Updated.After(last) {
				last = h.Live.Updated
				o["last_updated"], o["version_info"] = stamp(last), h.Live.Version
			}
		}
		if h.Failure != nil && o["error_state"] == nil {
			withError(o, h.Failure)
		}
	}
	rc["virtual_hosts"] = all
}

// inlineRoutes finds the route configurations inside a listener.
func inlineRoutes(v any) []object {
	var out []object
	switch t := v.(type) {
	case object:
		for _, k := range sortedKeys(t) {
			if rc, ok := t[k].(object); ok && k == "route_config" {
				out = append(out, rc)
				continue
			}
			out = append(out, inlineRoutes(t[k])...)
		}
	case []any:
		for _, e := range t {
			out = append(out, inlineRoutes(e)...)
		}
	}
	return out
}

func sortedKeys(o object) []string {
	keys := make([]string, 0, len(o))
	for k := range o {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// versioned is a resource as the dump's messages wrap it.
func versioned(field string, a *state.Accepted, dynamic bool) object {
	o := object{}
	if a == nil {
		return o
	}
	o[field] = body(a.Body)
	o["last_updated"] = stamp(a.Updated)
	if dynamic {
		o["version_info"] = a.Version
	}
	return o
}

func withError(o object, f *state.Failure) object {
	if f == nil {
		return o
	}
	e := object{"details": f.Details, "version_info": f.Version, "last_update_attempt": stamp(f.Time)}
	if f.Body != nil {
		e["failed_configuration"] = body(f.Body)
	}
	o["error_state"] = e
	return o
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// body renders a resource with its type and without secrets. One that holds messages which this program doesn't know
// is shown by its type alone.
func body(a *anypb.Any) object {
	o := object{}
	if a == nil {
		return o
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(a)
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		return object{"@type": a.GetTypeUrl(), "value": a.GetValue()}
	}
	redact(o)
	return o
}

func stripType(o object) object {
	delete(o, "@type")
	return o
}
