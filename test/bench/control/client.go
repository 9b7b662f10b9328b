package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/model"
)

// client behaves as one sidecar: it subscribes to clusters, to the endpoints
// of those, then to listeners and to the routes that they name, and
// acknowledges everything.
type client struct {
	index   int
	sotw    bool
	node    *corev3.Node
	proxy   *model.Proxy
	catalog *catalog
	watch   *watch
	want    [kindCount]int

	bytes atomic.Int64

	// What follows belongs to run until it has returned, but for mu.
	stream  grpc.ClientStream
	began   [kindCount]bool
	version [kindCount]string
	nonce   [kindCount]string
	asked   [kindCount]map[string]bool

	mu sync.Mutex // guards held and count
	// held is the hash of each resource that it has, by number of the name.
	held  [kindCount][]uint64
	count [kindCount]int
}

// Windows like a current Envoy's.
const (
	streamWindow     = 16 << 20
	connectionWindow = 24 << 20
	maxMessage       = 256 << 20
)

// run connects and follows the server until ctx ends, which is no error.
func (c *client) run(ctx context.Context, target string) error {
	conn, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.ForceCodecV2(codec{})))
	if err != nil {
		return fmt.Errorf("client %d: %w", c.index, err)
	}
	defer conn.Close()
	method := discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName
	if c.sotw {
		method = discoveryv3.AggregatedDiscoveryService_StreamAggregatedResources_FullMethodName
	}
	c.stream, err = conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err == nil {
		err = c.follow()
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("client %d: %w", c.index, err)
	}
	return nil
}

func (c *client) follow() error {
	for i := range c.asked {
		c.asked[i] = map[string]bool{}
	}
	if err := c.request(clusters, "", nil); err != nil {
		return err
	}
	for {
		var r raw
		if err := c.stream.RecvMsg(&r); err != nil {
			return err
		}
		c.bytes.Add(int64(len(r.bytes)))
		err := c.take(r.bytes)
		r.free()
		if err != nil {
			return err
		}
	}
}

// take takes a response into use, answers it and asks for what it refers to.
func (c *client) take(b []byte) error {
	parse := parseDelta
	if c.sotw {
		parse = parseSotW
	}
	r, err := parse(b)
	if err != nil {
		return err
	}
	kind := kindOf(r.typeURL)
	if kind < 0 {
		return fmt.Errorf("a response of type %q, which was not asked for", r.typeURL)
	}
	news, of, err := c.keep(kind, r)
	if err != nil {
		return err
	}
	c.version[kind], c.nonce[kind] = r.version, r.nonce
	// What the response made necessary is asked for before it is acknowledged,
	// as Envoy does.
	if len(news) > 0 {
		if err := c.request(of, "", news); err != nil {
			return err
		}
	}
	if err := c.request(kind, r.nonce, nil); err != nil {
		return err
	}
	if kind == clusters && !c.began[listeners] {
		if err := c.request(listeners, "", nil); err != nil {
			return err
		}
	}
	c.watch.saw(c, kind, r)
	return nil
}

// keep notes what the client has now, and returns names that it has to ask for.
func (c *client) keep(kind int, r *response) (news []string, of int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	whole := c.sotw && (kind == clusters || kind == listeners)
	var seen map[int]bool
	if whole {
		seen = make(map[int]bool, len(r.resources))
	}
	for _, b := range r.resources {
		h := hash(b.value)
		k, err := c.catalog.look(kind, b, h)
		if err != nil {
			return nil, 0, err
		}
		c.setLocked(kind, k.id, h)
		if whole {
			seen[k.id] = true
		}
		for _, name := range k.refs {
			of = k.kind
			if !c.asked[of][name] {
				c.asked[of][name] = true
				news = append(news, name)
			}
		}
	}
	for _, name := range r.removed {
		c.setLocked(kind, c.catalog.id(kind, name), 0)
	}
	if whole {
		for id, h := range c.held[kind] {
			if h != 0 && !seen[id] {
				c.setLocked(kind, id, 0)
			}
		}
	}
	return news, of, nil
}

func (c *client) setLocked(kind, id int, h uint64) {
	for len(c.held[kind]) <= id {
		c.held[kind] = append(c.held[kind], 0)
	}
	switch old := c.held[kind][id]; {
	case old == 0 && h != 0:
		c.count[kind]++
	case old != 0 && h == 0:
		c.count[kind]--
	}
	c.held[kind][id] = h
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

// request subscribes to names, or answers a response if it has a nonce. The
// first request of clusters and of listeners asks for all.
func (c *client) request(kind int, nonce string, names []string) error {
	first := !c.began[clusters]
	c.began[kind] = true
	var m proto.Message
	if c.sotw {
		r := &discoveryv3.DiscoveryRequest{TypeUrl: kinds[kind], VersionInfo: c.version[kind], ResponseNonce: c.nonce[kind]}
		if first {
			r.Node = c.node
		}
		r.ResourceNames = slices.Sorted(maps.Keys(c.asked[kind]))
		m = r
	} else {
		r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: kinds[kind], ResponseNonce: nonce, ResourceNamesSubscribe: names}
		if first {
			r.Node = c.node
		}
		m = r
	}
	err := c.stream.SendMsg(m)
	if errors.Is(err, io.EOF) {
		// The stream has ended; receiving tells why.
		for err = nil; err == nil; {
			var r raw
			if err = c.stream.RecvMsg(&r); err == nil {
				r.free()
			}
		}
	}
	return err
}
