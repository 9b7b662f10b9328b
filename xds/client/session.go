package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"lateen.dev/lateen/xds"
)

// session is one stream's part: what has been said on it.
type session struct {
	client *Client
	st     stream
	// sent is what the server knows, by type.
	sent     map[string]*sent
	greeted  bool
	received chan *response
	failed   chan error
}

// sent is the subscription as the server knows it, and the last response's
// nonce.
type sent struct {
	wildcard bool
	names    map[string]struct{}
	nonce    string
	// accepted is the version of the last response without refusals; a
	// state-of-the-world server wants to hear it.
	accepted string
}

func (s *session) run(ctx context.Context) (served bool, err error) {
	if err := s.subscribe(); err != nil {
		return false, err
	}
	for {
		select {
		case r := <-s.received:
			if !served {
				served = true
				s.connected()
			}
			if err := s.take(ctx, r); err != nil {
				return served, err
			}
		case <-s.client.changed:
			if err := s.subscribe(); err != nil {
				return served, err
			}
		case err := <-s.failed:
			return served, err
		case <-ctx.Done():
			return served, ctx.Err()
		}
	}
}

func (s *session) connected() {
	s.client.mu.Lock()
	s.client.connected = time.Now()
	s.client.mu.Unlock()
	s.client.cfg.Log.Info("discovery stream open", "server", s.client.cfg.Target)
}

func (s *session) read(ctx context.Context) {
	for {
		r, err := s.st.receive()
		if err != nil {
			s.failed <- err
			return
		}
		select {
		case s.received <- r:
		case <-ctx.Done():
			return
		}
	}
}

// cause is why the stream ended, which only the receiving side learns. What was
// still to be received has no answer to go to.
func (s *session) cause(ctx context.Context) error {
	for {
		select {
		case <-s.received:
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// subscribe tells the server what it does not know yet. On a new stream that is
// everything, with what is already held.
func (s *session) subscribe() error {
	for _, r := range s.subscriptions() {
		if err := s.send(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) send(r *request) error {
	if !s.greeted {
		r.node = s.client.cfg.Node
		s.greeted = true
	}
	return s.st.send(r)
}

func (s *session) subscriptions() (out []*request) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	order := slices.Clone(c.cfg.Wildcards)
	for _, url := range slices.SortedFunc(maps.Keys(c.types), xds.CompareTypes) {
		if !slices.Contains(order, url) {
			order = append(order, url)
		}
	}
	for _, url := range order {
		h := c.types[url]
		if !h.wildcard && len(h.names) == 0 && s.sent[url] == nil {
			continue
		}
		if r := s.difference(url, h); r != nil {
			out = append(out, r)
		}
	}
	return out
}

// difference is the request that brings the server's knowledge of a type up to
// date; nil if it is.
func (s *session) difference(url string, h *holding) *request {
	known, r := s.sent[url], &request{typeURL: url}
	fresh := known == nil
	if fresh {
		known = &sent{names: make(map[string]struct{})}
		s.sent[url] = known
		known.wildcard = h.wildcard
		r.initial = maps.Clone(h.versions)
		r.version = h.version
		if h.wildcard && (len(h.names) > 0 || xds.ByNameOnly(url)) {
			r.subscribe = append(r.subscribe, xds.Wildcard)
		}
	}
	for name := range h.names {
		if _, ok := known.names[name]; !ok {
			r.subscribe = append(r.subscribe, name)
		}
	}
	for name := range known.names {
		if _, ok := h.names[name]; !ok {
			r.unsubscribe = append(r.unsubscribe, name)
		}
	}
	if !fresh && len(r.subscribe)+len(r.unsubscribe) == 0 {
		return nil
	}
	slices.Sort(r.subscribe)
	slices.Sort(r.unsubscribe)
	known.names = maps.Clone(h.names)
	r.names = known.list(url)
	if !fresh && s.client.cfg.SotW {
		r.nonce, r.version = known.nonce, known.accepted
	}
	return r
}

// list is the subscription as a state-of-the-world request names it.
func (k *sent) list(url string) []string {
	names := slices.Sorted(maps.Keys(k.names))
	if k.wildcard && (len(names) > 0 || xds.ByNameOnly(url)) {
		names = append([]string{xds.Wildcard}, names...)
	}
	return names
}

// take hands a response to the handler and answers it.
func (s *session) take(ctx context.Context, r *response) error {
	known := s.sent[r.typeURL]
	if known == nil {
		s.client.cfg.Log.Warn("the server sent a type that was not asked for", "type", r.typeURL)
		return nil
	}
	u := s.compare(r)
	refusals := s.client.cfg.Handler.Update(ctx, u)
	s.keep(u, refusals)
	if len(refusals) == 0 {
		known.accepted = r.version
	}
	// What the update refers to is asked for before it is acknowledged. For the
	// same type that request still has the old nonce: it is no answer.
	if err := s.subscribe(); err != nil {
		return err
	}
	known.nonce = r.nonce
	answer := &request{typeURL: r.typeURL, nonce: r.nonce, version: known.accepted, names: known.list(r.typeURL)}
	if len(refusals) > 0 {
		answer.reason = reason(refusals)
		s.client.cfg.Log.Warn("configuration refused", "type", xds.ShortType(r.typeURL), "reason", answer.reason)
	}
	return s.send(answer)
}

// maxReasonBytes of refusals are told to the server.
const maxReasonBytes = 4000

// reason names each refused resource, so that the server can tell them from the
// others of the same response.
func reason(refusals []xds.Refusal) string {
	text := make([]string, len(refusals))
	for i, r := range refusals {
		text[i] = r.Error()
	}
	joined := strings.Join(text, "; ")
	if len(joined) > maxReasonBytes {
		joined = joined[:maxReasonBytes]
	}
	return joined
}

// compare leaves of a response what is new: what the handler already uses in
// the same version, or has given up meanwhile, is not told again.
func (s *session) compare(r *response) xds.Update {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.types[r.typeURL]
	u := xds.Update{TypeURL: r.typeURL, Version: r.version}
	seen := make(map[string]struct{}, len(r.resources))
	for _, res := range r.resources {
		seen[res.Name] = struct{}{}
		if h.wants(r.typeURL, res.Name) && h.versions[res.Name] != res.Version {
			u.Added = append(u.Added, res)
		}
	}
	for _, name := range r.removed {
		if h.wants(r.typeURL, name) {
			u.Removed = append(u.Removed, name)
		}
	}
	if r.whole && (h.wildcard || !partial(r.typeURL)) {
		for name := range h.versions {
			if _, ok := seen[name]; !ok {
				u.Removed = append(u.Removed, name)
			}
		}
		slices.Sort(u.Removed)
	}
	return u
}

// partial reports whether state-of-the-world responses of the type may hold
// only a part of what was asked for.
func partial(typeURL string) bool {
	return typeURL != xds.ClusterType && typeURL != xds.ListenerType && typeURL != xds.VirtualHostType
}

func (h *holding) wants(typeURL, name string) bool {
	if h.wildcard {
		return true
	}
	_, ok := h.names[name]
	if !ok && typeURL == xds.VirtualHostType {
		_, ok = h.names[xds.Collection(typeURL, name)]
	}
	return ok
}

// keep notes what the handler uses now. A refused resource stays at the version
// it had.
func (s *session) keep(u xds.Update, refusals []xds.Refusal) {
	c := s.client
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.types[u.TypeURL]
	h.version, h.received = u.Version, time.Now()
	if len(refusals) > 0 {
		h.refusals, h.refusedAt = refusals, h.received
	}
	for _, r := range u.Added {
		refused := slices.ContainsFunc(refusals, func(x xds.Refusal) bool { return x.Name == r.Name })
		if !refused && h.wants(u.TypeURL, r.Name) {
			h.versions[r.Name] = r.Version
		}
	}
	for _, name := range u.Removed {
		delete(h.versions, name)
	}
}

var errSendClosed = errors.New("the stream does not take requests any more")
