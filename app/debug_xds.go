package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/dump"
	"lateen.dev/lateen/xds/server"
)

// planeIdentity is what istioctl reads of a control plane that answers it, in
// istiod's shape.
func planeIdentity() string {
	out := struct {
		Component, ID string
		Info          BuildInfo
	}{Component: "lateen", ID: "lateen", Info: Build()}
	if name, err := os.Hostname(); err == nil {
		out.ID = name
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(fmt.Sprintf("strings that JSON can't hold: %v", err))
	}
	return string(text)
}

// Istio's types for looking into the control plane over xDS.
const (
	debugType      = "istio.io/debug"
	debugSyncType  = "istio.io/debug/syncz"
	debugDumpType  = "istio.io/debug/config_dump"
	connectionType = "istio.io/connect"
)

// namespacePages are those that a proxy's owner may see of proxies in the own
// namespace.
var namespacePages = []string{"config_dump", "ndsz", "edsz"}

// inspect implements server.Inspect.
func (c *control) inspect(_ context.Context, who server.Client, typeURL string, names []string) ([]*xds.Resource, error) {
	d := newDebugPages(c)
	if typeURL == debugType || typeURL == debugDumpType {
		if len(names) != 1 {
			return nil, status.Errorf(codes.InvalidArgument, "a request of type %s names one page or proxy, this one names %d", typeURL, len(names))
		}
	}
	page, query := strings.TrimPrefix(typeURL, debugType+"/"), url.Values{}
	switch typeURL {
	case debugType:
		u, err := url.Parse(names[0])
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "debug page: %v", err)
		}
		page, query = u.Path, u.Query()
	case debugDumpType:
		query.Set("proxyID", names[0])
	}
	if err := d.allow(who, page, query.Get("proxyID")); err != nil {
		return nil, err
	}
	switch typeURL {
	case debugType:
		return d.page(page, query, names[0])
	case debugSyncType, connectionType:
		return d.clients(typeURL)
	case debugDumpType:
		return d.dumpOf(names[0])
	}
	return nil, status.Errorf(codes.InvalidArgument, "no such type as %s", typeURL)
}

// allow admits this machine, the control plane's namespace, and, to a few pages
// about a proxy, that proxy's namespace.
func (d *debugPages) allow(who server.Client, page, proxy string) error {
	if who.Peer.Source == string(ca.FromLoopback) {
		return nil
	}
	id, err := identity.ParseID(who.Peer.ID)
	if err != nil {
		return status.Errorf(codes.Unauthenticated, "debug pages: %v", err)
	}
	if id.Namespace == d.world.Snapshot().Mesh().RootNamespace {
		return nil
	}
	if slices.Contains(namespacePages, page) {
		for _, s := range d.control.discovery.all() {
			if n := s.client.Node; (n.ID == proxy || n.Workload == proxy) && s.proxy.Namespace == id.Namespace {
				return nil
			}
		}
	}
	return status.Errorf(codes.PermissionDenied, "%s may not see %s", id, page)
}

// page answers with what the debug page says.
func (d *debugPages) page(page string, query url.Values, name string) ([]*xds.Resource, error) {
	q, err := http.NewRequest(http.MethodGet, (&url.URL{Path: "/debug/" + page, RawQuery: query.Encode()}).String(), nil)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "debug page: %v", err)
	}
	w := &heldPage{header: http.Header{}, code: http.StatusOK}
	d.mux().ServeHTTP(w, q)
	if w.code != http.StatusOK {
		return nil, status.Errorf(codes.NotFound, "debug page %s: %s", page, strings.TrimSpace(w.body.String()))
	}
	return []*xds.Resource{xds.FromAny(name, &anypb.Any{TypeUrl: debugType, Value: w.body.Bytes()})}, nil
}

// heldPage is a page answered.
type heldPage struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (c *heldPage) Header() http.Header         { return c.header }
func (c *heldPage) WriteHeader(code int)        { c.code = code }
func (c *heldPage) Write(b []byte) (int, error) { return c.body.Write(b) }

// clients are all connected proxies: where they stand, or their nodes.
func (d *debugPages) clients(typeURL string) ([]*xds.Resource, error) {
	var out []*xds.Resource
	clients := d.server.Ledger().Clients()
	for i := range clients {
		var r *xds.Resource
		var err error
		if typeURL == connectionType {
			r, err = dump.Resource(clients[i].Node.ID, dump.Node(clients[i].Node))
		} else {
			r, err = dump.Resource(clients[i].Node.ID, dump.Sync(&clients[i]))
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// dumpOf is a proxy's config dump, a resource for each part.
func (d *debugPages) dumpOf(proxy string) ([]*xds.Resource, error) {
	for _, s := range d.control.discovery.all() {
		if n := s.client.Node; n.ID != proxy && n.Workload != proxy {
			continue
		}
		parts, err := dump.Config(s.State(), false)
		if err != nil {
			return nil, err
		}
		var out []*xds.Resource
		for i, p := range parts {
			out = append(out, xds.FromAny(fmt.Sprintf("%s/%d", proxy, i), p))
		}
		return out, nil
	}
	return nil, status.Errorf(codes.NotFound, "proxy %q is not connected to this control plane", proxy)
}
