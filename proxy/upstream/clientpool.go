package upstream

import (
	"net/netip"
	"time"
)

// client is what a PROXY header tells of: the client's connection.
type client struct{ source, destination netip.AddrPort }

type clientPoolKey struct {
	variant
	client
}

const (
	// maxClientPools bounds the clients of a host and shard whose connections are kept. Those of others serve one
	// exchange each.
	maxClientPools = 1024
	// clientIdle is how long a connection that tells of one client may idle. When that client has gone nobody else can use it.
	clientIdle = 30 * time.Second
)

// clientPool returns the pool of the connections that tell of one client.
func (h *Host) clientPool(shard uint32, v variant, c client) *pool {
	s := &h.shards[shard%uint32(len(h.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	key := clientPoolKey{v, c}
	if p := s.clients[key]; p != nil {
		return p
	}
	p := &pool{host: h, shard: shard, variant: v, client: c}
	if len(s.clients) >= maxClientPools {
		p.unkept.Store(true)
		return p
	}
	if s.clients == nil {
		s.clients = map[clientPoolKey]*pool{}
	}
	s.clients[key] = p
	return p
}

// forgetClients takes the pools of clients out of the table that have no connection any more. A request that has just
// found one of them opens a connection that is not kept.
func (h *Host) forgetClients() {
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		for key, p := range s.clients {
			p.mu.Lock()
			if len(p.links) == 0 && len(p.muxes) == 0 && p.opening == nil {
				p.unkept.Store(true)
				delete(s.clients, key)
			}
			p.mu.Unlock()
		}
		s.mu.Unlock()
	}
}
