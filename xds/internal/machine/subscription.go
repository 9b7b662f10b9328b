package machine

import (
	"iter"
	"slices"

	"lateen.dev/lateen/xds"
)

// subscription is what one client asked for, has, and was sent, of one type.
type subscription struct {
	url  string
	rank int
	// collections says that a name may stand for all resources of a collection.
	collections bool

	// target is the newest state's set.
	target *xds.Set

	wildcard bool
	names    map[string]struct{}
	// told is a digest of the names in the last request, state-of-the-world only.
	told uint64

	// What the client has is base, corrected by over (nil: it does not have
	// it), restricted to what it subscribed to. A client that is up to date has
	// the newest set as base and nothing in over, so it costs no memory of its
	// own.
	base *xds.Set
	over map[string]*xds.Resource

	// refused holds what the client would not take, until the state wants
	// another version or the name leaves the subscription.
	refused map[string]refusal
	// before holds, for what was refused, version after version, the revision
	// that the client had all of before the first of them.
	before map[string]uint64
	// owed names do not exist, and the client waits to hear it. owes says that
	// it waits for a response even if that is empty.
	owed map[string]struct{}
	owes bool

	nonce    string
	inflight *inflight

	// ackedRevision and acked are the newest revision of which the client has
	// everything, and the set it then had; sent says that there was a response
	// or that none was needed.
	ackedRevision uint64
	acked         *xds.Set
	sent          bool
}

type refusal struct {
	version  string
	revision uint64
	// after is the last revision before which the client refused no version of
	// it: what it would not take changed after that.
	after uint64
	// reason is what the client said.
	reason string
}

// acceptedBefore is a new refusal's after.
func (s *subscription) acceptedBefore(name string) uint64 {
	if s.before == nil {
		s.before = make(map[string]uint64)
	}
	if _, earlier := s.before[name]; !earlier {
		s.before[name] = s.ackedRevision
	}
	return s.before[name]
}

// accept notes that the client took a version of what it may have refused.
func (s *subscription) accept(name string) {
	delete(s.refused, name)
	delete(s.before, name)
}

// inflight is a response that has not been answered.
type inflight struct {
	resources []*xds.Resource
	removed   []string
	revision  uint64
	// completes is the set that the client has after taking the response, apart
	// from what is in refused; nil if more must follow, or if the
	// subscription changed meanwhile.
	completes *xds.Set
	// overtaken names were subscribed to anew or given up after the response
	// was sent: its answer says nothing about them.
	overtaken map[string]struct{}
}

// overtake notes a change of the subscription while a response is in flight.
func (s *subscription) overtake(name string) {
	f := s.inflight
	if f == nil {
		return
	}
	f.completes = nil
	if f.overtaken == nil {
		f.overtaken = make(map[string]struct{})
	}
	f.overtaken[name] = struct{}{}
}

func newSubscription(url string) *subscription {
	return &subscription{
		url:     url,
		rank:    xds.Rank(url),
		names:   make(map[string]struct{}),
		over:    make(map[string]*xds.Resource),
		refused: make(map[string]refusal),
		owed:    make(map[string]struct{}),

		collections: url == xds.VirtualHostType,
	}
}

func (s *subscription) subscribed(name string) bool {
	if s.wildcard {
		return true
	}
	_, ok := s.names[name]
	if !ok && s.collections {
		_, ok = s.names[xds.Collection(s.url, name)]
	}
	return ok
}

// members are the names of the collection that are known of the client.
func (s *subscription) members(collection string) (names []string) {
	if !s.collections {
		return nil
	}
	for r := range s.base.Members(collection) {
		names = append(names, r.Name)
	}
	for name := range s.over {
		if xds.Collection(s.url, name) == collection {
			names = append(names, name)
		}
	}
	for name := range s.refused {
		if xds.Collection(s.url, name) == collection {
			names = append(names, name)
		}
	}
	return names
}

// exists reports whether the set has what the name stands for.
func (s *subscription) exists(name string, set *xds.Set) bool {
	if set.Get(name) != nil {
		return true
	}
	if s.collections {
		for range set.Members(name) {
			return true
		}
	}
	return false
}

// has is the client's version of a resource; nil if it has none.
func (s *subscription) has(name string) *xds.Resource {
	if r, ok := s.over[name]; ok {
		return r
	}
	return s.in(s.base, name)
}

// in is what a set has for the client under a name; nil if it has nothing, or the
// client does not ask for it.
func (s *subscription) in(set *xds.Set, name string) *xds.Resource {
	if _, named := s.names[name]; named {
		return set.Get(name)
	}
	if !s.subscribed(name) {
		return nil
	}
	return set.Member(name)
}

// aside yields the names that are asked for and not members of the set: what can
// be had by name only is among them.
func (s *subscription) aside(set *xds.Set) iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range s.names {
			if set.Member(name) == nil && !yield(name) {
				return
			}
		}
	}
}

// subscribeAll begins a wildcard subscription: the client has only what it
// named before.
func (s *subscription) subscribeAll() {
	s.owes = true
	if s.wildcard {
		return
	}
	over := make(map[string]*xds.Resource, len(s.names))
	for name := range s.names {
		over[name] = s.has(name)
	}
	s.wildcard, s.base, s.over = true, nil, over
	s.overtake(xds.Wildcard)
}

// restart forgets what the client has, because it begins again.
func (s *subscription) restart() {
	s.inflight, s.base, s.owes = nil, nil, true
	clear(s.over)
	clear(s.refused)
}

// unsubscribeAll ends it: the client forgets what it did not name.
func (s *subscription) unsubscribeAll() {
	s.wildcard = false
	s.overtake(xds.Wildcard)
	for name := range s.over {
		if !s.subscribed(name) {
			delete(s.over, name)
		}
	}
	for name := range s.refused {
		if !s.subscribed(name) {
			delete(s.refused, name)
		}
	}
}

// expect prepares for n names, of which a subscription without any knows that
// the client has nothing. Where they are few of the target, base becomes the
// target, so that the rest need never be looked at.
func (s *subscription) expect(n int, target *xds.Set) {
	const few = 4
	if len(s.names) > 0 || s.wildcard || n == 0 {
		return
	}
	s.base = nil
	if !s.collections && few*n < target.Len() {
		s.base = target
	}
	s.names = make(map[string]struct{}, n)
}

// subscribe adds a name, which the client by that says it does not have, and
// returns by how many names the subscription grew.
func (s *subscription) subscribe(name string) int {
	s.lose(name)
	for _, member := range s.members(name) {
		s.lose(member)
	}
	s.overtake(name)
	if _, had := s.names[name]; had {
		return 0
	}
	s.names[name] = struct{}{}
	return 1
}

// doubtful reports whether a client that subscribes to a name may have the resource
// all the same: from before, or because it is on its way.
func (s *subscription) doubtful(name string) bool {
	if !s.wildcard && !s.collections {
		return false
	}
	f := s.inflight
	return s.has(name) != nil || f != nil && slices.ContainsFunc(f.resources, func(r *xds.Resource) bool { return r.Name == name })
}

// lose notes that the client does not have a resource, whatever it was sent.
func (s *subscription) lose(name string) {
	if s.base == nil {
		delete(s.over, name)
	} else {
		s.over[name] = nil
	}
	delete(s.refused, name)
}

// unsubscribe takes a name out, and returns by how many names the subscription
// shrank. Under a wildcard the client forgets the resource and must hear of it
// again.
func (s *subscription) unsubscribe(name string) int {
	_, had := s.names[name]
	s.overtake(name)
	delete(s.names, name)
	delete(s.owed, name)
	for _, gone := range append(s.members(name), name) {
		switch {
		case s.wildcard:
			s.over[gone] = nil
		case s.subscribed(gone):
			continue // by its own name, or by its collection's
		default:
			delete(s.over, gone)
		}
		delete(s.refused, gone)
	}
	if had {
		return 1
	}
	return 0
}

// claim believes a client that comes back with what it has. Only its words are
// known, not the bodies.
func (s *subscription) claim(versions map[string]string, target *xds.Set) {
	if len(versions) == 0 {
		return
	}
	if s.wildcard {
		s.base = target
		for r := range target.All() {
			if _, ok := versions[r.Name]; !ok {
				s.over[r.Name] = nil
			}
		}
		for name := range s.aside(target) {
			s.over[name] = nil
		}
	}
	for name, version := range versions {
		if !s.subscribed(name) {
			continue
		}
		delete(s.owed, name)
		switch want := s.in(target, name); {
		case want == nil || want.Version != version:
			s.over[name] = xds.Received(name, s.url, version, nil)
		case s.base == target:
			delete(s.over, name)
		default:
			s.over[want.Name] = want
		}
	}
}

// change is what a client lacks of one type.
type change struct {
	// puts are to be added or replaced, removes to be taken away.
	puts    []*xds.Resource
	removes []string
}

func (c *change) empty() bool { return len(c.puts) == 0 && len(c.removes) == 0 }

// unconcerned reports whether a client that rests, with all of the set before,
// has all of the target, too: nothing differs that it has asked for. It looks at
// a few differences only.
func (s *subscription) unconcerned(target *xds.Set) bool {
	const few = 64
	if s.wildcard || s.collections || s.base != s.target || s.inflight != nil || s.owes || len(s.over)+len(s.refused)+len(s.owed) > 0 ||
		target == nil || s.base == nil || target.OnDemand() || s.base.OnDemand() {
		return false
	}
	d := target.DiffFrom(s.base)
	if len(d.Changed)+len(d.Removed) > few {
		return false
	}
	for _, r := range d.Changed {
		if _, asked := s.names[r.Name]; asked {
			return false
		}
	}
	for _, name := range d.Removed {
		if _, asked := s.names[name]; asked {
			return false
		}
	}
	return true
}

// pending compares what the client has with the target. What the client has
// refused in just that version is not pending.
func (s *subscription) pending(target *xds.Set) change {
	var c change
	if s.base != target {
		d := target.DiffFrom(s.base)
		for _, r := range d.Changed {
			if s.lacks(r) {
				c.puts = append(c.puts, r)
			}
		}
		for _, name := range d.Removed {
			if _, corrected := s.over[name]; !corrected && s.subscribed(name) && s.in(target, name) == nil {
				c.removes = append(c.removes, name)
			}
		}
		if target.OnDemand() || s.base.OnDemand() {
			s.pendingAside(&c, target)
		}
	}
	for name, has := range s.over {
		want := s.in(target, name)
		switch {
		case !s.subscribed(name):
		case want == nil && has != nil:
			c.removes = append(c.removes, name)
		case want != nil && (has == nil || has.Version != want.Version) && s.refused[name].version != want.Version:
			c.puts = append(c.puts, want)
		}
	}
	return c
}

// pendingAside compares what is not among the target's members.
func (s *subscription) pendingAside(c *change, target *xds.Set) {
	for name := range s.aside(target) {
		if _, corrected := s.over[name]; corrected {
			continue
		}
		want, has := target.Get(name), s.base.Get(name)
		switch {
		case want == nil && has != nil && s.base.Member(name) == nil:
			c.removes = append(c.removes, name)
		case want != nil && (has == nil || has.Version != want.Version) && s.refused[name].version != want.Version:
			c.puts = append(c.puts, want)
		}
	}
}

// lacks is for resources on which base and target differ.
func (s *subscription) lacks(r *xds.Resource) bool {
	if _, corrected := s.over[r.Name]; corrected || !s.subscribed(r.Name) {
		return false
	}
	return s.refused[r.Name].version != r.Version
}

// put notes that the client has a resource, or with nil that it has not.
func (s *subscription) put(name string, r *xds.Resource) {
	if s.subscribed(name) {
		s.over[name] = r
	}
}

// rebase notes that the client has all of the set but what it refused.
func (s *subscription) rebase(set *xds.Set) {
	over := make(map[string]*xds.Resource, len(s.refused))
	for name := range s.refused {
		over[name] = s.has(name)
	}
	for _, name := range s.stray(set) {
		over[name] = s.has(name)
	}
	s.base, s.over = set, over
}

// stray are the members of collections that the client has beyond the set. They
// go with the collection, when the client does not ask for that any more.
func (s *subscription) stray(set *xds.Set) (names []string) {
	if !s.collections {
		return nil
	}
	if s.base != set {
		for _, name := range set.DiffFrom(s.base).Removed {
			if _, corrected := s.over[name]; !corrected && s.subscribed(name) && s.in(set, name) == nil {
				names = append(names, name)
			}
		}
	}
	for name, has := range s.over {
		if has != nil && s.subscribed(name) && s.in(set, name) == nil {
			names = append(names, name)
		}
	}
	if s.base != set && s.base.OnDemand() {
		for name := range s.aside(set) {
			_, corrected := s.over[name]
			if !corrected && set.Get(name) == nil && s.base.Get(name) != nil && s.base.Member(name) == nil {
				names = append(names, name)
			}
		}
	}
	return names
}
