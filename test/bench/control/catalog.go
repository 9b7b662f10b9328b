package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/xds"
)

// kinds are the types that a client subscribes to.
var kinds = [...]string{xds.ClusterType, xds.EndpointType, xds.ListenerType, xds.RouteType, xds.VirtualHostType}

// Indices into kinds.
const (
	clusters = iota
	assignments
	listeners
	routes
	hosts
	kindCount
)

func kindOf(typeURL string) int {
	for i, t := range kinds {
		if t == typeURL {
			return i
		}
	}
	return -1
}

// catalog knows each body that any client received: read once, however many
// clients receive it. Safe for use by any number of goroutines.
type catalog struct {
	buffers buffers

	mu    sync.RWMutex
	names [kindCount]map[string]int
	list  [kindCount][]string // names by number
	known map[uint64]*known
	// seen are resources with all that stands around them, by their hash.
	seen map[uint64]*seen
	// unread are route tables of which only the head has been read, if putOff says so
	// from the beginning; finish reads them.
	unread [][]byte
	putOff bool
}

// seen is a resource as it stood in a response. value is where its message is.
type seen struct {
	body
	from, to int
}

// known is one body: which name it has, and what a client that takes it into
// use asks for next.
type known struct {
	id   int
	refs []string
	kind int // of refs
	// demand says that refs is a table whose virtual hosts are asked for by name.
	demand bool
}

func newCatalog() *catalog {
	c := &catalog{known: map[uint64]*known{}, seen: map[uint64]*seen{}}
	for i := range c.names {
		c.names[i] = map[string]int{}
	}
	return c
}

// id is the number of a name within its kind.
func (c *catalog) id(kind int, name string) int {
	c.mu.RLock()
	id, ok := c.names[kind][name]
	c.mu.RUnlock()
	if ok {
		return id
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, ok := c.names[kind][name]; ok {
		return id
	}
	id = len(c.names[kind])
	name = strings.Clone(name)
	c.names[kind][name] = id
	c.list[kind] = append(c.list[kind], name)
	return id
}

// name is the name with a number.
func (c *catalog) name(kind, id int) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.list[kind][id]
}

// of finds what is known of the body with the hash; nil for none.
func (c *catalog) of(h uint64) *known {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.known[h]
}

// body reads a resource of a response, with read unless it has been seen.
func (c *catalog) body(field []byte, read func(*body, []byte) error) (body, error) {
	whole := hash(field)
	c.mu.RLock()
	s := c.seen[whole]
	c.mu.RUnlock()
	if s != nil {
		b := s.body
		b.value = field[s.from:s.to]
		return b, nil
	}
	b := body{kind: -1}
	if err := read(&b, field); err != nil || b.kind < 0 {
		return b, err
	}
	b.sum = hash(b.value)
	var err error
	if b.known, err = c.look(b.kind, b, b.sum); err != nil {
		return b, err
	}
	s = &seen{body: b, from: cap(field) - cap(b.value)}
	s.to, s.value = s.from+len(b.value), nil
	c.mu.Lock()
	c.seen[whole] = s
	c.mu.Unlock()
	return b, nil
}

// look finds what is known of a body.
func (c *catalog) look(kind int, b body, h uint64) (*known, error) {
	c.mu.RLock()
	k := c.known[h]
	c.mu.RUnlock()
	if k != nil {
		return k, nil
	}
	k = &known{id: c.id(kind, b.name)}
	value := b.value
	if kind == routes && c.putOff {
		value = headOf(value)
	}
	if err := k.read(kind, value); err != nil {
		return nil, fmt.Errorf("%s %q: %w", xds.ShortType(kinds[kind]), b.name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(value) < len(b.value) {
		c.unread = append(c.unread, bytes.Clone(b.value))
	}
	c.known[h] = k
	return k, nil
}

// headOf is a route table without its virtual hosts: no client asks for anything
// because of those, and half a megabyte of them, for each namespace, would be read
// here while the server and the clients need the processors.
func headOf(table []byte) []byte {
	const virtualHosts = 2
	head := []byte{} // not nil, which is a body that is not there
	for rest := table; len(rest) > 0; {
		number, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return table // reading it says what is wrong
		}
		if number != virtualHosts {
			head = append(head, rest[:n]...)
		}
		rest = rest[n:]
	}
	return head
}

// finish reads what was put off: a table that can't be read whole is an error.
func (c *catalog) finish() error {
	c.mu.Lock()
	list := c.unread
	c.unread = nil
	c.mu.Unlock()
	for _, table := range list {
		if err := proto.Unmarshal(table, &routev3.RouteConfiguration{}); err != nil {
			return fmt.Errorf("a route table: %w", err)
		}
	}
	return nil
}

// expect reads what clients will receive before it is measured how they do: what a
// load program makes of a resource that it sees first is not the server's doing.
func (c *catalog) expect(one *xds.Resource) error {
	_, err := parseDelta(one.DeltaField(nil).Materialize(), c)
	return err
}

// read finds the names that a resource makes its client ask for.
func (k *known) read(kind int, body []byte) error {
	switch kind {
	case clusters:
		m := &clusterv3.Cluster{}
		if err := proto.Unmarshal(body, m); err != nil {
			return err
		}
		if m.GetType() != clusterv3.Cluster_EDS {
			return nil
		}
		name := m.GetEdsClusterConfig().GetServiceName()
		if name == "" {
			name = m.GetName()
		}
		k.refs, k.kind = []string{name}, assignments
	case listeners:
		m := &listenerv3.Listener{}
		if err := proto.Unmarshal(body, m); err != nil {
			return err
		}
		var err error
		k.refs, err = routeTables(m)
		k.kind = routes
		return err
	case routes:
		m := &routev3.RouteConfiguration{}
		if err := proto.Unmarshal(body, m); err != nil {
			return err
		}
		if m.GetVhds() != nil {
			k.refs, k.kind = []string{m.GetName()}, hosts
			k.demand = m.GetMetadata().GetFilterMetadata()["lateen"].GetFields()["on_demand"].GetStringValue() == "true"
		}
	case hosts:
		m := &routev3.VirtualHost{}
		if err := proto.Unmarshal(body, m); err != nil {
			return err
		}
		k.refs, k.kind = routedTo(m), clusters
	}
	return nil
}

// routedTo are the clusters that a virtual host sends requests to.
func routedTo(m *routev3.VirtualHost) []string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, r := range m.GetRoutes() {
		add(r.GetRoute().GetCluster())
		for _, w := range r.GetRoute().GetWeightedClusters().GetClusters() {
			add(w.GetName())
		}
		for _, p := range r.GetRoute().GetRequestMirrorPolicies() {
			add(p.GetCluster())
		}
	}
	return names
}

// routeTables are the route configurations that a listener's filter chains ask
// for.
func routeTables(m *listenerv3.Listener) ([]string, error) {
	var names []string
	chains := m.GetFilterChains()
	if d := m.GetDefaultFilterChain(); d != nil {
		chains = append(chains, d)
	}
	for _, chain := range chains {
		for _, f := range chain.GetFilters() {
			manager := &hcmv3.HttpConnectionManager{}
			if !f.GetTypedConfig().MessageIs(manager) {
				continue
			}
			if err := f.GetTypedConfig().UnmarshalTo(manager); err != nil {
				return nil, err
			}
			if name := manager.GetRds().GetRouteConfigName(); name != "" {
				names = append(names, name)
			}
		}
	}
	return names, nil
}
