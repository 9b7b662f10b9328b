package hcm

import (
	"bytes"
	"context"
	"math/rand/v2"
	"time"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/http1"
	"lateen.dev/lateen/wire/sock"
)

// maxMirrored bounds the mirrored requests in flight; beyond it requests go unmirrored.
const maxMirrored = 1024

// mirrorTimeout bounds a mirrored request on a route without a timeout.
const mirrorTimeout = 15 * time.Second

// mirror sends copies of the request to where the decision says, and forgets about them.
func (s *stream) mirror(body []byte) {
	for i := range s.decision.Action.Mirror {
		if i >= 32 || s.decision.Mirrors&(1<<i) == 0 {
			continue
		}
		m := &s.decision.Action.Mirror[i]
		c := upstream.Of(s.mirrorCluster(m))
		e := s.m.engine
		if c == nil || e.mirrored.Add(1) > maxMirrored {
			if c != nil {
				e.mirrored.Add(-1)
			}
			continue
		}
		copied := copyHead(s.req)
		if !m.KeepHost {
			copied.Authority = shadowHost(copied.Authority)
		}
		q := &mirrored{
			head: copied, body: bytes.Clone(body), cluster: c, framed: s.router.framed,
			shard: s.c.acc.Shard, http2: s.rec.Protocol == telemetry.ProtocolHTTP2, timeout: s.router.timeouts.Global,
		}
		e.mirrors.Go(func() {
			defer e.mirrored.Add(-1)
			defer e.contain("mirrored request")
			q.run()
		})
	}
}

func (s *stream) mirrorCluster(m *plan.Mirror) *plan.Cluster {
	if m.ClusterHeader != nil {
		if v, ok := m.ClusterHeader.Of(&s.head); ok {
			return s.plan.ClusterNamed(v)
		}
		return nil
	}
	return s.plan.Cluster(m.Cluster)
}

// shadowHost appends -shadow to the host, before the port.
func shadowHost(authority []byte) []byte {
	bare := plan.WithoutPort(authority)
	out := append(append([]byte(nil), bare...), "-shadow"...)
	return append(out, authority[len(bare):]...)
}

// copyHead copies a head into memory of its own.
func copyHead(h *http1.Head) *http1.Head {
	c := &http1.Head{
		Method: h.Method, MethodName: bytes.Clone(h.MethodName), Path: bytes.Clone(h.Path), Authority: bytes.Clone(h.Authority),
		Scheme: h.Scheme, Form: h.Form, Minor: 1, TrailersOK: h.TrailersOK, Framing: h.Framing, ContentLength: h.ContentLength,
	}
	for i := range h.Fields {
		if f := &h.Fields[i]; !f.Removed && !f.Hop {
			c.AddID(f.ID, bytes.Clone(f.Name), bytes.Clone(f.Value))
		}
	}
	return c
}

// mirrored is a copied request.
type mirrored struct {
	head    *http1.Head
	body    []byte
	framed  bool
	cluster *upstream.Cluster
	shard   uint32
	http2   bool
	timeout time.Duration
}

// run sends the request and reads the answer to its end, so that the connection can be used again.
func (q *mirrored) run() {
	h := q.cluster.Pick(&upstream.Choice{Shard: q.shard, Hash: rand.Uint64(), HasHash: true})
	if h == nil {
		return
	}
	h.BeginRequest(q.shard)
	defer h.EndRequest(q.shard)
	if q.timeout <= 0 {
		q.timeout = mirrorTimeout
	}
	deadline := sock.Now().Add(q.timeout)
	up, err := h.Exchange(context.Background(), &upstream.Ask{
		ConnectOptions: upstream.ConnectOptions{Shard: q.shard, Deadline: deadline}, HTTP2: q.http2,
	})
	if err != nil {
		return
	}
	defer up.Close()
	q.cluster.Stats.Inc(q.shard, upstream.RqTotal)
	if up.Send(q.head, exchange.Piece{Data: q.body, End: true, Framed: q.framed}) != nil {
		return
	}
	up.Deadline(deadline)
	var resp http1.Head
	for {
		p, err := up.Response(&resp, false)
		if err != nil {
			return
		}
		if resp.Status < 200 && resp.Status != 101 {
			continue
		}
		h.Answered(q.shard, resp.Status)
		for !p.End && err == nil {
			p, err = up.Next()
		}
		return
	}
}
