package machine

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"lateen.dev/lateen/xds"
)

// next decides what to send now. Going up the ranks it sends what is to be
// added or changed of the first type that needs it, and nothing of later types
// until the client has answered. When nothing is to be added any more it goes
// down the ranks and takes away.
func (m *Machine) next() []*Frame {
	if len(m.changes) != len(m.types) {
		m.changes = make([]change, len(m.types))
	}
	changes := m.changes
	clear(changes)
	defer clear(changes) // what changed is not kept alive
	frames, quiet := m.additions(changes)
	if quiet {
		frames = append(frames, m.removals(changes)...)
	}
	m.settle(changes)
	return frames
}

// free types are only ever referred to and refer to nothing: they go out at any
// time. Endpoints must not even wait for the ACK of their clusters, because
// Envoy withholds that until the clusters are warm, endpoints included.
func (s *subscription) free() bool {
	return s.url == xds.EndpointType || s.url == xds.SecretType
}

// blocks reports whether later types wait for this one's answer. Nothing waits
// for secrets: what uses them warms on its own.
func (s *subscription) blocks() bool { return s.url != xds.SecretType }

// additions fills in what each type lacks that is not waiting for an answer,
// and reports whether no addition is under way, SDS apart.
func (m *Machine) additions(changes []change) (frames []*Frame, quiet bool) {
	blocked := math.MaxInt
	for i, s := range m.types {
		wants := s.inflight != nil
		if !wants {
			target := s.target
			s.forgive(target)
			c := m.pending(s, target)
			changes[i] = c
			allowed := m.withoutRefused(s, c.puts)
			wants = len(allowed) > 0 || s.owes || len(s.owed) > 0
			if wants && (s.rank <= blocked || s.free()) {
				frames = append(frames, m.send(s, target, c, allowed))
			}
		}
		if wants && s.blocks() {
			blocked = min(blocked, s.rank)
		}
	}
	return frames, blocked == math.MaxInt
}

// removals goes down the ranks as far as nothing above may still use what goes
// away: a refused or held-back change above means that the client lives on an
// older version, which may refer to anything that was there.
func (m *Machine) removals(changes []change) (frames []*Frame) {
	blocked := math.MinInt
	for i, s := range slices.Backward(m.types) {
		if s.rank < blocked {
			break
		}
		c := &changes[i]
		target := s.target
		switch {
		case len(c.removes) == 0 || s.inflight != nil:
		case !m.delta && !s.full(), s.url == xds.ExtensionConfigType:
			// Absence from a partial response means nothing; the client drops
			// such resources by itself when nothing refers to them. A listener that
			// is about to be replaced may still need its filters' configurations
			// after the client has acknowledged the new one, until that is warm.
			for _, name := range c.removes {
				s.put(name, nil)
			}
			c.removes = nil
		default:
			frames = append(frames, m.sendRemovals(s, target, *c))
		}
		if s.blocks() && (s.inflight != nil || len(s.refused) > 0 || len(c.puts) > 0) {
			blocked = s.rank
		}
	}
	return frames
}

// full reports whether each state-of-the-world response holds the whole
// subscription, so that absence means removal.
func (s *subscription) full() bool {
	return s.wildcard || s.collections || s.url == xds.ClusterType || s.url == xds.ListenerType
}

// forgive drops refusals of versions that nobody wants any more. It must not run
// while an answer is awaited, which may rebase on a set that has them.
func (s *subscription) forgive(target *xds.Set) {
	for name, r := range s.refused {
		if want := s.in(target, name); want == nil || want.Version != r.version {
			delete(s.refused, name)
			if has := s.has(name); want == nil || has != nil && has.Version == want.Version {
				delete(s.before, name)
			}
		}
	}
}

// pending is what the type lacks, in the order of names, endpoints of warming
// clusters included.
func (m *Machine) pending(s *subscription, target *xds.Set) change {
	c := s.pending(target)
	if s.url == xds.EndpointType {
		for name, then := range m.warming {
			if !s.subscribed(name) {
				continue
			}
			has, want := s.has(name), then
			if m.warmingOf == nil || target != m.warmingOf {
				want = target.Get(name)
			}
			switch {
			case want == nil:
				c.puts = append(c.puts, then)
			case has != nil && has.Version == want.Version, s.refused[name].version == want.Version:
				// Even a refusal tells the client that it need not wait.
				c.puts = append(c.puts, want)
			}
		}
	}
	if s.collections {
		// What a listener may still use goes with its route configuration.
		c.removes = slices.DeleteFunc(c.removes, func(name string) bool {
			return m.state.Set(xds.RouteType).Get(xds.Collection(s.url, name)) == nil
		})
	}
	if len(s.over) > 0 || len(m.warming) > 0 || target.OnDemand() {
		slices.SortFunc(c.puts, func(a, b *xds.Resource) int { return cmp.Compare(a.Name, b.Name) })
		slices.Sort(c.removes)
	}
	return c
}

// withoutRefused holds back what refers to a resource that the client refused
// and has no older version of: it would break what works now.
func (m *Machine) withoutRefused(s *subscription, puts []*xds.Resource) []*xds.Resource {
	lacking := m.lackingBelow(s)
	if len(lacking) == 0 {
		return puts
	}
	return slices.DeleteFunc(slices.Clone(puts), func(r *xds.Resource) bool {
		return slices.ContainsFunc(lacking, func(name string) bool { return refers(r, name) })
	})
}

func (m *Machine) lackingBelow(s *subscription) (names []string) {
	for _, lower := range m.types {
		if lower.rank >= s.rank {
			break
		}
		if lower.url == xds.EndpointType {
			// Endpoints are not referred to by name; clusters of the same name are.
			continue
		}
		for name := range lower.refused {
			if lower.has(name) == nil {
				names = append(names, name)
			}
		}
	}
	return names
}

// send makes the frame for additions and changes.
func (m *Machine) send(s *subscription, target *xds.Set, c change, allowed []*xds.Resource) *Frame {
	removed := m.takeOwed(s, target)
	f := &inflight{revision: m.state.Revision}
	frame := &Frame{TypeURL: s.url, Nonce: m.newNonce()}
	switch {
	case s.collections:
		// A domain that one virtual host gives up and another takes moves at one
		// moment: all additions and removals are one frame. Nothing refers to a
		// virtual host, so none is needed any longer than the state wants it.
		f.resources = allowed
		if len(allowed) == len(c.puts) {
			f.removed, c.removes = c.removes, nil
		}
		m.fill(s, frame, f, target)
		frame.Removed = append(frame.Removed, removed...)
	case m.delta:
		f.resources = allowed
		if !xds.Whole(s.url) {
			f.resources = m.fitting(allowed)
		}
		frame.Resources, frame.Removed = f.resources, removed
	case s.full():
		f.resources = allowed
		frame.Resources = s.whole(target, f.resources, c.removes)
	default:
		f.resources = m.fitting(allowed)
		frame.Resources = f.resources
	}
	if len(f.resources) == len(c.puts) && len(c.removes) == 0 && !beyond(target, f.resources) {
		f.completes = target
	}
	frame.Version = m.version(target, f)
	m.noteWarming(s, f.resources)
	s.sending(f, frame.Nonce)
	return frame
}

// fill puts into a frame what it changes in collections; the whole subscription
// in state-of-the-world, where absence would say that something is gone.
func (m *Machine) fill(s *subscription, frame *Frame, f *inflight, target *xds.Set) {
	if m.delta {
		frame.Resources, frame.Removed = f.resources, slices.Clone(f.removed)
		return
	}
	kept := slices.DeleteFunc(s.stray(target), func(name string) bool { _, gone := slices.BinarySearch(f.removed, name); return gone })
	frame.Resources = s.whole(target, f.resources, kept)
}

// sendRemovals makes the frame that takes away. Puts that are still there are
// held back or refused.
func (m *Machine) sendRemovals(s *subscription, target *xds.Set, c change) *Frame {
	f := &inflight{removed: c.removes, revision: m.state.Revision}
	if s.url == xds.ClusterType {
		for _, name := range c.removes {
			delete(m.warming, name)
		}
	}
	frame := &Frame{TypeURL: s.url, Nonce: m.newNonce()}
	switch {
	case s.collections:
		m.fill(s, frame, f, target)
	case m.delta:
		frame.Removed = c.removes
	default:
		frame.Resources = s.whole(target, nil, nil)
	}
	if len(c.puts) == 0 {
		f.completes = target
	}
	frame.Version = m.version(target, f)
	s.sending(f, frame.Nonce)
	return frame
}

// beyond reports whether some resources are not the target's.
func beyond(target *xds.Set, resources []*xds.Resource) bool {
	cursor := target.Cursor()
	return slices.ContainsFunc(resources, func(r *xds.Resource) bool { return cursor.Get(r.Name) != r })
}

func (s *subscription) sending(f *inflight, nonce string) {
	s.inflight, s.nonce, s.sent, s.owes = f, nonce, true, false
}

// takeOwed is the names to call non-existent, sorted. Those of warming clusters
// are sent instead.
func (m *Machine) takeOwed(s *subscription, target *xds.Set) (names []string) {
	for name := range s.owed {
		_, warming := m.warming[name]
		if s.gone(target, name) && !(warming && s.url == xds.EndpointType) {
			names = append(names, name)
		}
	}
	clear(s.owed)
	slices.Sort(names)
	return names
}

// gone reports whether there is nothing under a name for the client. What can be had
// by name only is gone for a client that asks for everything and not, any more, for
// the name.
func (s *subscription) gone(target *xds.Set, name string) bool {
	if s.wildcard {
		return s.in(target, name) == nil && s.has(name) == nil
	}
	return target.Get(name) == nil && s.has(name) == nil
}

// fitting is as many of the resources as one frame takes, but at least one.
func (m *Machine) fitting(puts []*xds.Resource) []*xds.Resource {
	size := 0
	for i, r := range puts {
		if size += r.Size(); size > m.limits.FrameBytes && i > 0 {
			return puts[:i]
		}
	}
	return puts
}

// whole is everything that the client shall have after a state-of-the-world
// response: the new versions in puts, what it has of the rest, and of what is
// to be removed as much as is kept for now.
func (s *subscription) whole(target *xds.Set, puts []*xds.Resource, kept []string) []*xds.Resource {
	changed := make(map[string]struct{}, len(puts))
	for _, r := range puts {
		changed[r.Name] = struct{}{}
	}
	out := make([]*xds.Resource, 0, target.Len()+len(kept))
	for r := range target.All() {
		if _, ok := changed[r.Name]; ok {
			out = append(out, r)
		} else if has := s.has(r.Name); has != nil {
			out = append(out, has)
		}
	}
	for _, name := range kept {
		if has := s.has(name); has != nil {
			out = append(out, has)
		}
	}
	if target.OnDemand() {
		out = s.wholeAside(out, target, changed, puts)
	}
	slices.SortFunc(out, func(a, b *xds.Resource) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// wholeAside adds what the client has, or gets, that is not among the target's
// members.
func (s *subscription) wholeAside(out []*xds.Resource, target *xds.Set, changed map[string]struct{}, puts []*xds.Resource) []*xds.Resource {
	for name := range s.aside(target) {
		_, put := changed[name]
		if has := s.has(name); !put && has != nil && target.Get(name) != nil {
			out = append(out, has)
		}
	}
	for _, r := range puts {
		if target.Member(r.Name) == nil {
			out = append(out, r)
		}
	}
	return out
}

// version is a hash of the content where the protocol gives the version a
// meaning, with a mark while old resources are kept; in delta, where it has
// none, the revision tells more.
func (m *Machine) version(target *xds.Set, f *inflight) string {
	switch {
	case m.delta:
		return strconv.FormatUint(f.revision, 10)
	case f.completes == nil:
		return target.Version() + "+"
	}
	return target.Version()
}

// noteWarming remembers clusters that the client will warm, until their
// endpoints have been sent after them.
func (m *Machine) noteWarming(s *subscription, sent []*xds.Resource) {
	switch s.url {
	case xds.ClusterType:
		endpoints := m.state.Set(xds.EndpointType)
		if len(m.warming) == 0 {
			m.warming, m.warmingOf = make(map[string]*xds.Resource, len(sent)), endpoints
		} else if m.warmingOf != endpoints {
			m.warmingOf = nil
		}
		cursor := endpoints.Cursor()
		for _, r := range sent {
			if e := cursor.Get(r.Name); e != nil {
				m.warming[r.Name] = e
			}
		}
	case xds.EndpointType:
		for _, r := range sent {
			delete(m.warming, r.Name)
		}
	}
	if len(m.warming) == 0 {
		m.warming, m.warmingOf = nil, nil // a map keeps the room of its best days
	}
}

// settle notes which types are up to date now. When nothing is in flight, what
// is still pending is held back by refusals, and waits for the state to change.
func (m *Machine) settle(changes []change) {
	idle := !slices.ContainsFunc(m.types, func(s *subscription) bool { return s.inflight != nil })
	for i, s := range m.types {
		target := s.target
		complete := changes[i].empty()
		if s.inflight != nil || !complete && !idle {
			continue
		}
		s.ackedRevision, s.acked = m.state.Revision, target
		if complete && (s.base != target || len(s.over) > len(s.refused)) {
			s.rebase(target)
		}
	}
}
