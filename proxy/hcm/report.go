package hcm

import (
	"bytes"
	"math/rand/v2"

	"lateen.dev/lateen/proxy/peer"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
)

// exchangePeer is what the other side has told of itself in this exchange: a view of a header.
type exchangePeer struct {
	downstream, upstream []byte
	told                 bool // the client speaks metadata exchange
}

// peerCache is what a connection remembers of its client, and the series it counts in.
type peerCache struct {
	raw     []byte
	labels  telemetry.Peer
	entries []boundEntry
}

type boundEntry struct {
	cluster   *upstream.Cluster
	grpc      bool
	authority []byte // where the service's name comes from it
	bound     *telemetry.Bound
}

// maxEntries bounds what a connection remembers.
const maxEntries = 16

// hostBound is what is known of an upstream host, kept in upstream.Host.Peer.
type hostBound struct {
	raw    []byte
	source *Engine
	bound  [2]*telemetry.Bound // by whether it's gRPC
}

// exchangePeers takes the client's metadata from the request, and puts ours into it.
func (s *stream) exchangePeers() {
	f := s.m.filter.peer
	if f == nil {
		return
	}
	h := s.req
	if s.m.inbound {
		s.peer.downstream = h.Get(header.XEnvoyPeerMetadata)
		s.peer.told = s.peer.downstream != nil || h.Has(header.XEnvoyPeerMetadataID)
	}
	h.Remove(header.XEnvoyPeerMetadata)
	h.Remove(header.XEnvoyPeerMetadataID)
	if f.PropagateUpstream && !s.m.inbound && !(f.SkipExternalClusters && external(s.router.config)) {
		s.tell(h)
	}
}

func (s *stream) tell(h *http1.Head) {
	self := &s.m.engine.Self
	if len(self.Metadata) > 0 {
		h.AddKnown(header.XEnvoyPeerMetadata, self.Metadata)
	}
	if len(self.ID) > 0 {
		h.AddKnown(header.XEnvoyPeerMetadataID, self.ID)
	}
}

// external tells whether a cluster leads out of the mesh.
func external(c *plan.Cluster) bool {
	if ext, ok := c.Metadata.Get("istio", "external").(bool); ok {
		return ext
	}
	return c.Name == "PassthroughCluster"
}

// responsePeers takes the server's metadata from the response, and puts ours into it.
func (s *stream) responsePeers() {
	f := s.m.filter.peer
	if f == nil {
		return
	}
	h := &s.resp
	if !s.m.inbound {
		s.peer.upstream = s.kept(h.Get(header.XEnvoyPeerMetadata))
	}
	h.Remove(header.XEnvoyPeerMetadata)
	h.Remove(header.XEnvoyPeerMetadataID)
	if s.m.inbound && f.PropagateDownstream && s.peer.told {
		s.tell(h)
	}
}

// kept is what a host tells of itself in a form that outlives the response's buffer, which is somebody else's when the
// request is reported. Mostly it is what the host has told before.
func (s *stream) kept(raw []byte) []byte {
	if raw == nil || s.router.host == nil || s.m.filter.stats == nil || s.m.engine.Standard == nil {
		return nil
	}
	if p := s.router.host.Peer.Load(); p != nil {
		if old, ok := (*p).(*hostBound); ok && bytes.Equal(old.raw, raw) {
			return old.raw
		}
	}
	return bytes.Clone(raw)
}

// report counts the request in Istio's metrics.
func (s *stream) report() {
	e := s.m.engine
	if s.m.filter.stats == nil || e.Standard == nil {
		return
	}
	b := s.bound()
	r := &s.rec
	q := telemetry.RequestResult{
		Code: r.ResponseCode, GRPCStatus: r.GRPCStatus, Flags: r.Flags, Duration: r.Duration,
		RequestBytes: s.bodyIn + int64(s.req.Size), ResponseBytes: s.bodyOut + int64(s.resp.Size),
		RequestMessages: s.messagesIn.count, ResponseMessages: s.messagesOut.count,
	}
	b.Request(s.c.acc.Shard, &q)
}

func (s *stream) bound() *telemetry.Bound {
	if s.m.inbound || s.router.host == nil || s.router.config == nil || len(s.router.config.Services) == 0 {
		return s.c.bound(s)
	}
	h := s.router.host
	k := 0
	if s.grpc {
		k = 1
	}
	var old *hostBound
	if p := h.Peer.Load(); p != nil {
		old, _ = (*p).(*hostBound)
	}
	if old != nil && old.bound[k] != nil && (s.peer.upstream == nil || bytes.Equal(old.raw, s.peer.upstream)) {
		return old.bound[k]
	}
	return s.bindHost(h, old, k)
}

// bindHost binds the series of a host, with what it has told of itself or what the control plane has.
func (s *stream) bindHost(h *upstream.Host, old *hostBound, k int) *telemetry.Bound {
	next := &hostBound{source: s.m.engine}
	switch {
	case s.peer.upstream != nil:
		next.raw = s.peer.upstream
	case old != nil:
		next.raw = old.raw
	}
	if old != nil && bytes.Equal(old.raw, next.raw) {
		next.bound = old.bound
	}
	w := &h.Endpoint().Workload
	dst := telemetry.Peer{
		Workload: w.Name, Namespace: w.Namespace, App: w.CanonicalName, Version: w.CanonicalRevision,
		CanonicalName: w.CanonicalName, CanonicalRevision: w.CanonicalRevision, Cluster: w.Cluster,
	}
	if next.raw != nil {
		if p, err := peer.Decode(next.raw); err == nil {
			dst = p
		}
	}
	dst.Principal = h.Principal()
	l := s.labels()
	l.Destination, l.Service = dst, telemetry.Service(s.router.config.Services[0])
	next.bound[k] = s.m.engine.Standard.Bind(l)
	var v any = next
	h.Peer.Store(&v)
	return next.bound[k]
}

// labels are those that don't depend on the peer.
func (s *stream) labels() telemetry.StandardLabels {
	l := telemetry.StandardLabels{Protocol: "http", Security: "unknown", Reporter: telemetry.ReporterSource}
	if s.grpc {
		l.Protocol = "grpc"
	}
	self := s.m.engine.Self.Labels
	self.Principal = s.m.engine.ownURI()
	if !s.m.inbound {
		l.Source = self
		return l
	}
	l.Reporter, l.Destination, l.Security = telemetry.ReporterDestination, self, "none"
	if s.c.mutual {
		l.Security = "mutual_tls"
	}
	return l
}

// bound returns the series of a request that the connection's client decides about, or that has reached no host.
func (c *conn) bound(s *stream) *telemetry.Bound {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.peers
	if s.peer.downstream != nil && !bytes.Equal(p.raw, s.peer.downstream) {
		*p = peerCache{raw: bytes.Clone(s.peer.downstream)}
		if labels, err := peer.Decode(p.raw); err == nil {
			p.labels = labels
		}
	}
	named := s.router.config != nil && len(s.router.config.Services) > 0
	for i := range p.entries {
		e := &p.entries[i]
		if e.cluster == s.router.cluster && e.grpc == s.grpc && (named || bytes.Equal(e.authority, s.rec.Authority)) {
			return e.bound
		}
	}
	l := s.labels()
	l.Service = s.service(named)
	if s.m.inbound {
		l.Source = p.labels
		l.Source.Principal = s.rec.DownstreamPeerURI
	}
	if len(p.entries) >= maxEntries {
		p.entries = p.entries[:0]
	}
	b := s.m.engine.Standard.Bind(l)
	p.entries = append(p.entries, boundEntry{
		cluster: s.router.cluster, grpc: s.grpc, authority: bytes.Clone(s.rec.Authority), bound: b,
	})
	return b
}

// service names the destination: as the cluster has it, or else as the client called it.
func (s *stream) service(named bool) telemetry.Service {
	if named {
		return telemetry.Service(s.router.config.Services[0])
	}
	var out telemetry.Service
	if !s.m.filter.stats.DisableHostHeaderFallback {
		out.Host = string(plan.WithoutPort(s.rec.Authority))
		out.Name = out.Host
	}
	if s.router.cluster != nil {
		switch s.router.cluster.Name {
		case "PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster":
			out.Name = s.router.cluster.Name
		}
	}
	return out
}

// log writes the access logs.
func (s *stream) log() {
	for _, l := range s.m.cfg.AccessLogs {
		sink, ok := l.Runtime.(Sink)
		if !ok || !l.Filter.Log(&s.rec, &s.head, rand.Uint64()) {
			continue
		}
		s.line = l.Formatter.Append(s.line[:0], &s.rec)
		sink.Write(s.line)
	}
}
