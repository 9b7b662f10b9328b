package app

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/dump"
	"lateen.dev/lateen/xds/server"
)

// Types of which a proxy's resources are shown.
const (
	endpointType  = xds.EndpointType
	nameTableType = xds.NameTableType
	extensionType = xds.ExtensionConfigType
)

// syncStatus is where one proxy stands, in istiod's words: it is in sync of a
// type if what was sent and acknowledged is the same version.
type syncStatus struct {
	Cluster              string `json:"cluster_id,omitempty"`
	Proxy                string `json:"proxy,omitempty"`
	ProxyType            string `json:"proxy_type,omitempty"`
	ProxyVersion         string `json:"proxy_version,omitempty"`
	IstioVersion         string `json:"istio_version,omitempty"`
	ClusterSent          string `json:"cluster_sent,omitempty"`
	ClusterAcked         string `json:"cluster_acked,omitempty"`
	ListenerSent         string `json:"listener_sent,omitempty"`
	ListenerAcked        string `json:"listener_acked,omitempty"`
	RouteSent            string `json:"route_sent,omitempty"`
	RouteAcked           string `json:"route_acked,omitempty"`
	EndpointSent         string `json:"endpoint_sent,omitempty"`
	EndpointAcked        string `json:"endpoint_acked,omitempty"`
	ExtensionConfigSent  string `json:"extensionconfig_sent,omitempty"`
	ExtensionConfigAcked string `json:"extensionconfig_acked,omitempty"`
}

func syncOf(c *server.ClientStatus) syncStatus {
	n := c.Node
	out := syncStatus{Cluster: n.Metadata.ClusterID, Proxy: n.ID, ProxyType: n.Type, ProxyVersion: firstOf(n.Meta(metaLateen), n.UserAgent),
		IstioVersion: n.Metadata.ProxyVersion}
	for i := range c.Types {
		t := &c.Types[i]
		sent, acked := "", t.Acked
		if t.Sent {
			sent = t.Wanted
		}
		switch {
		case len(t.Refused) > 0:
			acked = beforeRefusal(t)
		case t.AckedRevision == t.WantedRevision:
			acked = sent
		}
		switch t.TypeURL {
		case xds.ClusterType:
			out.ClusterSent, out.ClusterAcked = sent, acked
		case xds.ListenerType:
			out.ListenerSent, out.ListenerAcked = sent, acked
		case xds.RouteType:
			out.RouteSent, out.RouteAcked = sent, acked
		case xds.EndpointType:
			out.EndpointSent, out.EndpointAcked = sent, acked
		case xds.ExtensionConfigType:
			out.ExtensionConfigSent, out.ExtensionConfigAcked = sent, acked
		}
	}
	return out
}

// beforeRefusal stands for what a client has that refused something, which no
// version names; it is empty if it never had all.
func beforeRefusal(t *server.TypeStatus) string {
	after := t.Refused[0].After
	for _, r := range t.Refused {
		after = min(after, r.After)
	}
	if after == 0 {
		return ""
	}
	return fmt.Sprintf("revision-%d", after)
}

func (d *debugPages) syncz(w http.ResponseWriter, _ *http.Request) {
	out := []syncStatus{}
	clients := d.server.Ledger().Clients()
	for i := range clients {
		out = append(out, syncOf(&clients[i]))
	}
	writeJSON(w, out)
}

// adsClient is one stream, in istiod's shape.
type adsClient struct {
	Connection  string              `json:"connectionId"`
	ConnectedAt time.Time           `json:"connectedAt"`
	Address     string              `json:"address"`
	Labels      map[string]string   `json:"labels"`
	Locality    *adsLocality        `json:"locality,omitempty"`
	Metadata    any                 `json:"metadata,omitempty"`
	Watches     map[string][]string `json:"watches,omitempty"`
}

// adsLocality is a locality as Envoy's message has it.
type adsLocality struct {
	Region  string `json:"region,omitempty"`
	Zone    string `json:"zone,omitempty"`
	SubZone string `json:"sub_zone,omitempty"`
}

type adsClients struct {
	Total     int         `json:"totalClients"`
	Connected []adsClient `json:"clients,omitempty"`
}

// maxWatches names of one type are told of one client.
const maxWatches = 10_000

func (d *debugPages) adsOf(c *server.ClientStatus, whole bool) adsClient {
	out := adsClient{Connection: fmt.Sprintf("%s-%d", c.Node.ID, c.Stream), ConnectedAt: c.Since}
	if c.Peer.Addr != nil {
		out.Address = c.Peer.Addr.String()
	}
	if !whole {
		return out
	}
	out.Labels = c.Node.Metadata.Labels
	if l := c.Node.Locality; l != (xds.Locality{}) {
		out.Locality = &adsLocality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone}
	}
	if names, err := d.server.Ledger().Names(c.Stream, maxWatches); err == nil { // otherwise it has gone
		out.Watches = names
	}
	if c.Node.Raw != nil {
		out.Metadata = c.Node.Raw.AsMap()
	}
	return out
}

func (d *debugPages) adsz(w http.ResponseWriter, q *http.Request) {
	d.ads(w, q.FormValue("proxyID"), true)
}

func (d *debugPages) connections(w http.ResponseWriter, _ *http.Request) { d.ads(w, "", false) }

func (d *debugPages) ads(w http.ResponseWriter, name string, whole bool) {
	out := adsClients{}
	clients := d.server.Ledger().Clients()
	for i := range clients {
		if n := clients[i].Node; name == "" || n.ID == name || n.Workload == name {
			out.Connected = append(out.Connected, d.adsOf(&clients[i], whole))
		}
	}
	out.Total = len(out.Connected)
	slices.SortFunc(out.Connected, func(a, b adsClient) int { return strings.Compare(a.Connection, b.Connection) })
	if name != "" && out.Total == 0 {
		writeError(w, http.StatusNotFound, fmt.Errorf("proxy %q is not connected to this control plane; it may be connected to another replica", name))
		return
	}
	writeJSON(w, out)
}

func (d *debugPages) configDump(w http.ResponseWriter, q *http.Request) {
	s := d.session(w, q)
	if s == nil {
		return
	}
	b, err := dump.ConfigJSON(s.State(), q.FormValue("include_eds") == "true")
	writeRaw(w, b, err)
}

// resources shows what a proxy shall have of a type.
func (d *debugPages) resources(typeURL string) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		if s := d.session(w, q); s != nil {
			b, err := dump.SetJSON(s.State().Set(typeURL))
			writeRaw(w, b, err)
		}
	}
}

// pushFailure is one resource that a proxy refused, in the shape of istiod's
// push status: by metric, then by resource.
type pushFailure struct {
	Proxy   string `json:"proxy,omitempty"`
	Message string `json:"message,omitempty"`
}

func (d *debugPages) pushStatus(w http.ResponseWriter, _ *http.Request) {
	out := map[string]map[string]pushFailure{}
	clients := d.server.Ledger().Clients()
	for i := range clients {
		for k := range clients[i].Types {
			t := &clients[i].Types[k]
			if len(t.Refused) == 0 {
				continue
			}
			metric := "pilot_xds_" + strings.ToLower(xds.ShortType(t.TypeURL)) + "_reject"
			if out[metric] == nil {
				out[metric] = map[string]pushFailure{}
			}
			for _, r := range t.Refused {
				out[metric][r.Name] = pushFailure{Proxy: clients[i].Node.ID, Message: r.Reason}
			}
		}
	}
	writeJSON(w, out)
}

// distributed is what one proxy has of a configuration object. The first four
// are istiod's; a version is empty as long as the proxy has not acknowledged it.
type distributed struct {
	Proxy    string     `json:"proxy,omitempty"`
	Cluster  string     `json:"cluster_acked,omitempty"`
	Listener string     `json:"listener_acked,omitempty"`
	Route    string     `json:"route_acked,omitempty"`
	Endpoint string     `json:"endpoint_acked,omitempty"`
	Needs    bool       `json:"needs"`
	Since    *time.Time `json:"since,omitempty"`
	Refused  []string   `json:"refused,omitempty"`
	Reason   string     `json:"reason,omitempty"`

	name string // NAME.NAMESPACE
}

func (d *debugPages) configDistribution(w http.ResponseWriter, q *http.Request) {
	if o := d.object(w, q); o != nil {
		writeJSON(w, d.distribution(o, q.FormValue("proxy_namespace")))
	}
}

// object finds the live object that the query names; it answers the request
// itself if there is none.
func (d *debugPages) object(w http.ResponseWriter, q *http.Request) *config.Object {
	key, err := config.ParseKey(q.FormValue("resource"))
	if err != nil {
		writeError(w, http.StatusUnprocessableEntity, fmt.Errorf("which object? Add ?resource=KIND/NAMESPACE/NAME, for example VirtualService/default/reviews (%w)", err))
		return nil
	}
	objects, _ := d.Objects()
	i := slices.IndexFunc(objects, func(o *config.Object) bool { return o.Key == key })
	if i < 0 {
		writeError(w, http.StatusNotFound, fmt.Errorf("%s is not live", key))
		return nil
	}
	return objects[i]
}

// distribution is the ledger's page for one object.
func (d *debugPages) distribution(o *config.Object, namespace string) []distributed {
	at := d.changed.at(o.Key)
	sessions := map[uint64]*session{}
	for _, s := range d.control.discovery.all() {
		sessions[s.client.Stream] = s
	}
	snap := d.world.Snapshot()
	out := []distributed{}
	clients := d.server.Ledger().Clients()
	for i := range clients {
		c := &clients[i]
		s := sessions[c.Stream]
		if s == nil || namespace != "" && namespace != s.proxy.Namespace {
			continue
		}
		one := distributed{Proxy: c.Node.ID, Needs: needs(snap, s.proxy, o), name: firstOf(c.Node.Workload, c.Node.ID)}
		for k := range c.Types {
			one.note(&c.Types[k], &at, func(r *server.Refused) bool { return partOf(o, s.State().Set(c.Types[k].TypeURL).Get(r.Name), r) })
		}
		if since, has := c.HasSince(at.snapshot); has && len(one.Refused) == 0 {
			one.Since = &since
		}
		out = append(out, one)
	}
	slices.SortStableFunc(out, func(a, b distributed) int { return strings.Compare(a.name, b.name) })
	return out
}

// note adds where the proxy stands with a type. part reports whether the object has
// a part in a resource.
func (o *distributed) note(t *server.TypeStatus, at *objectChange, part func(*server.Refused) bool) {
	refused := false
	for i := range t.Refused {
		if r := &t.Refused[i]; o.Needs && r.Blames(at.snapshot) && part(r) {
			refused = true
			o.Refused = append(o.Refused, xds.ShortType(t.TypeURL)+" "+r.Name)
			o.Reason = r.Reason
		}
	}
	if refused || t.AckedRevision < at.snapshot {
		return
	}
	switch t.TypeURL {
	case xds.ClusterType:
		o.Cluster = at.version
	case xds.ListenerType:
		o.Listener = at.version
	case xds.RouteType:
		o.Route = at.version
	case xds.EndpointType:
		o.Endpoint = at.version
	}
}
