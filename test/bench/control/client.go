package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/model"
)

// client behaves as one sidecar: it subscribes to clusters, to the endpoints
// of those, then to listeners and to the routes that they name, acknowledges
// everything, and gives up what nothing refers to any more. When it comes back
// on another stream, it tells what it has.
type client struct {
	index   int
	sotw    bool
	node    *corev3.Node
	proxy   *model.Proxy
	catalog *catalog
	watch   *watch
	want    [kindCount]int
	// uses are the virtual hosts that it asks for by name, where the control plane
	// says that it may; nil for clients that want all that there are.
	uses []string
	// resumes keeps the versions of what it holds, to tell them on the next
	// stream.
	resumes bool
	// refusing is, out of a thousand, how many responses it refuses.
	refusing atomic.Int64
	random   *rand.Rand // of refusals

	bytes atomic.Int64
	// endpointMark and routeMark are the highest marks that it has seen.
	endpointMark, routeMark atomic.Int64
	// heard says that listeners came on this stream, before which everything
	// else has come that they need.
	heard atomic.Bool

	// What follows belongs to run until it has returned, but for mu.
	link    *link
	greeted bool
	began   [kindCount]bool
	version [kindCount]string
	nonce   [kindCount]string
	// asked counts what refers to each name that it subscribes to.
	asked [kindCount]map[string]int

	mu sync.Mutex // guards held, versions and count
	// held is the hash of each resource that it has, by number of the name.
	held [kindCount][]uint64
	// versions are the server's words for those, if it resumes.
	versions [kindCount]map[int]string
	count    [kindCount]int
}

// run connects and follows the server until ctx ends, which is no error.
func (c *client) run(ctx context.Context, target string) error {
	method := discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName
	if c.sotw {
		method = discoveryv3.AggregatedDiscoveryService_StreamAggregatedResources_FullMethodName
	}
	l, err := dial(ctx, target, method, &c.catalog.buffers)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = l.close() }) // which ends a wait
		c.link = l
		err = errors.Join(c.follow(), l.close())
		stop()
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("client %d: %w", c.index, err)
	}
	return nil
}

func (c *client) follow() error {
	c.greeted, c.began, c.version, c.nonce = false, [kindCount]bool{}, [kindCount]string{}, [kindCount]string{}
	if err := c.begin(); err != nil {
		return err
	}
	for {
		b, err := c.link.receive()
		if err != nil {
			return err
		}
		c.bytes.Add(int64(len(b)))
		if err := c.take(b); err != nil {
			return err
		}
	}
}

// begin asks for clusters, and on a later stream for everything that was asked
// for on the one before.
func (c *client) begin() error {
	fresh := c.asked[clusters] == nil
	for kind := range c.asked {
		if c.asked[kind] == nil {
			c.asked[kind] = map[string]int{}
		}
	}
	if err := c.request(ask{kind: clusters}); err != nil || fresh {
		return err
	}
	for _, kind := range []int{assignments, listeners, routes, hosts} {
		names := slices.Sorted(maps.Keys(c.asked[kind]))
		if len(names) == 0 && kind != listeners {
			continue
		}
		if err := c.request(ask{kind: kind, names: names}); err != nil {
			return err
		}
	}
	return nil
}

// take takes a response into use, answers it and asks for what it refers to.
func (c *client) take(b []byte) error {
	parse := parseDelta
	if c.sotw {
		parse = parseSotW
	}
	r, err := parse(b, c.catalog)
	if err != nil {
		return err
	}
	kind := kindOf(r.typeURL)
	if kind < 0 {
		return fmt.Errorf("a response of type %q, which was not asked for", r.typeURL)
	}
	answer := ask{kind: kind, nonce: r.nonce, refused: c.refuse(r)}
	next, err := c.keep(kind, r, answer.refused)
	if err != nil {
		return err
	}
	c.nonce[kind] = r.nonce
	if answer.refused == "" {
		c.version[kind] = r.version
	}
	// What the response made necessary is asked for before it is acknowledged,
	// as Envoy does.
	if len(next.names)+len(next.gone) > 0 {
		if err := c.request(next); err != nil {
			return err
		}
	}
	if err := c.request(answer); err != nil {
		return err
	}
	if kind == clusters && !c.began[listeners] {
		if err := c.request(ask{kind: listeners}); err != nil {
			return err
		}
	}
	if kind == listeners {
		c.heard.Store(true)
	}
	c.watch.saw(c, kind, r)
	return nil
}

// refuse chooses, now and then, a resource that the client will not take.
func (c *client) refuse(r *response) string {
	if len(r.resources) == 0 || c.refusing.Load() == 0 || c.random.Int64N(1000) >= c.refusing.Load() {
		return ""
	}
	return r.resources[c.random.IntN(len(r.resources))].name
}

// keep notes what the client has now, without what it refused, and returns
// which names it has to ask for and to give up.
func (c *client) keep(kind int, r *response, refused string) (next ask, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	whole := c.sotw && (kind == clusters || kind == listeners || kind == hosts)
	var seen map[int]bool
	if whole {
		seen = make(map[int]bool, len(r.resources))
	}
	for i := range r.resources {
		b := &r.resources[i]
		if b.kind != kind || b.known == nil {
			b.sum = hash(b.value)
			if b.known, err = c.catalog.look(kind, *b, b.sum); err != nil {
				return ask{}, err
			}
		}
		h, k := b.sum, b.known
		if whole {
			seen[k.id] = true
		}
		if refused != "" && b.name == refused || c.gaveUp(kind, b.name) {
			continue
		}
		c.setLocked(kind, k.id, h, b.version, &next)
	}
	for _, name := range r.removed {
		c.setLocked(kind, c.catalog.id(kind, name), 0, "", &next)
	}
	if whole {
		for id, h := range c.held[kind] {
			if h != 0 && !seen[id] {
				c.setLocked(kind, id, 0, "", &next)
			}
		}
	}
	c.forgetLocked(&next)
	return next, nil
}

// gaveUp reports whether a resource crossed the client's word that it does not
// need it any more.
func (c *client) gaveUp(kind int, name string) bool {
	return (kind == assignments || kind == routes) && c.asked[kind][name] == 0
}

// setLocked notes one resource, and in next what it refers to and no longer
// refers to.
func (c *client) setLocked(kind, id int, h uint64, version string, next *ask) {
	for len(c.held[kind]) <= id {
		c.held[kind] = append(c.held[kind], 0)
	}
	old := c.held[kind][id]
	switch {
	case old == 0 && h != 0:
		c.count[kind]++
	case old != 0 && h == 0:
		c.count[kind]--
	}
	c.held[kind][id] = h
	if c.resumes {
		if c.versions[kind] == nil {
			c.versions[kind] = map[int]string{}
		}
		if c.versions[kind][id] = version; h == 0 {
			delete(c.versions[kind], id)
		}
	}
	if old == h {
		return
	}
	// New references first, so that what both versions refer to is kept.
	for _, name := range c.refs(c.catalog.of(h), next) {
		if c.asked[next.kind][name]++; c.asked[next.kind][name] == 1 {
			next.names = append(next.names, name)
		}
	}
	for _, name := range c.refs(c.catalog.of(old), next) {
		c.asked[next.kind][name]--
		next.gone = append(next.gone, name)
	}
}

// refs are the names that the client asks for because of a body, of the kind that
// it notes in next.
func (c *client) refs(k *known, next *ask) []string {
	switch {
	case k == nil || len(k.refs) == 0 || k.kind == clusters && c.uses == nil:
		return nil // it has all clusters
	case k.demand:
		next.kind = hosts
		return c.uses
	}
	next.kind = k.kind
	return k.refs
}

// forgetLocked leaves in next.gone those names that nothing refers to, and
// drops their resources.
func (c *client) forgetLocked(next *ask) {
	slices.Sort(next.gone)
	next.gone = slices.DeleteFunc(slices.Compact(next.gone), func(name string) bool {
		return c.asked[next.kind][name] > 0
	})
	var below ask
	for _, name := range next.gone {
		delete(c.asked[next.kind], name)
		c.setLocked(next.kind, c.catalog.id(next.kind, name), 0, "", &below)
	}
	// A name that came and went within one response was never asked for.
	next.names = slices.DeleteFunc(next.names, func(name string) bool { return c.asked[next.kind][name] == 0 })
}

// complete reports whether the client has as many resources of each kind as it
// shall have.
func (c *client) complete() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for kind, want := range c.want {
		if c.count[kind] < want {
			return false
		}
	}
	return true
}

// holds reports whether the client has the resource with this number.
func (c *client) holds(kind, id int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return id < len(c.held[kind]) && c.held[kind][id] != 0
}

// ask is one request: it subscribes to names and gives others up, or answers
// the response with the nonce, unfavourably if a resource is refused.
type ask struct {
	kind        int
	names, gone []string
	nonce       string
	refused     string
}

// request sends it. The first request of clusters and of listeners asks for all.
func (c *client) request(a ask) error {
	var m proto.Message
	var detail *rpcstatus.Status
	if a.refused != "" {
		detail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: "Error adding/updating " + a.refused + ": refused by the load program"}
	}
	node := c.node
	if c.greeted {
		node = nil
	}
	if c.sotw {
		m = &discoveryv3.DiscoveryRequest{TypeUrl: kinds[a.kind], VersionInfo: c.version[a.kind], ResponseNonce: c.nonce[a.kind], Node: node,
			ResourceNames: slices.Sorted(maps.Keys(c.asked[a.kind])), ErrorDetail: detail}
	} else {
		r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: kinds[a.kind], ResponseNonce: a.nonce, Node: node,
			ResourceNamesSubscribe: a.names, ResourceNamesUnsubscribe: a.gone, ErrorDetail: detail}
		if !c.began[a.kind] && c.resumes {
			r.InitialResourceVersions = c.claims(a.kind)
		}
		m = r
	}
	c.greeted, c.began[a.kind] = true, true
	return c.link.send(m)
}

// claims are the versions of what the client holds of a kind.
func (c *client) claims(kind int) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]string, len(c.versions[kind]))
	for id, version := range c.versions[kind] {
		out[c.catalog.name(kind, id)] = version
	}
	return out
}
