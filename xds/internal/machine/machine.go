// Package machine is the server's side of one xDS stream as a pure state
// machine: what the client asks for and what the control plane wants go in as
// events, the frames to send come out. It does no I/O, reads no clock and
// starts no goroutines; the same machine serves delta and state-of-the-world.
//
// Its promise is make before break. Additions and changes go out in the order
// of xds.Rank, removals in the reverse, and each step waits until the client
// has acknowledged the one before, so that at every moment the client has all
// that its configuration refers to. A client that is busy acknowledging holds
// one frame for each type; newer states replace each other meanwhile.
//
// Called by xds/server. A Machine belongs to one goroutine.
//
// May import: xds.
package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"

	"lateen.dev/lateen/xds"
)

// Limits of one client.
type Limits struct {
	Names      int
	Types      int
	FrameBytes int
}

// ErrLimit ends the stream of a client that asks for too much.
var ErrLimit = errors.New("too many subscriptions")

// Request is a client's message of either protocol.
type Request struct {
	TypeURL string
	// Nonce of the response that this answers; "" for none.
	Nonce string
	// Refused is set by an error detail, Reason is its message.
	Refused bool
	Reason  string

	// Names is the whole subscription, state-of-the-world only. Digest, if not
	// 0, is the names' digest. A request that answers a response and has the
	// digest of which the machine says that it Knows may leave the names out and
	// set Repeats.
	Names   []string
	Digest  uint64
	Repeats bool

	// Subscribe and Unsubscribe change the subscription, Initial tells the
	// versions held from an earlier stream; delta only.
	Subscribe, Unsubscribe []string
	Initial                map[string]string
}

// Frame is one response to send.
type Frame struct {
	TypeURL   string
	Nonce     string
	Version   string
	Resources []*xds.Resource
	// Removed is empty in state-of-the-world, where absence says it.
	Removed []string
}

// Nack is a client's refusal of a frame.
type Nack struct {
	TypeURL string
	// Names refused, as far as the reason tells; all of the frame otherwise.
	Names    []string
	Reason   string
	Revision uint64
}

// Demand names what was subscribed to and is not in the state.
type Demand struct {
	TypeURL string
	Names   []string
}

// Out is what a step leads to.
type Out struct {
	Frames []*Frame
	Nack   *Nack
	Demand *Demand
	// Same says that nothing but the revision has changed: the client has, or has
	// refused, all of it.
	Same bool
}

// Machine is the state of one stream.
type Machine struct {
	delta  bool
	limits Limits
	state  *xds.State
	// types is sorted in the order of additions.
	types []*subscription
	names int
	// nameBytes is the length of all names subscribed to.
	nameBytes int
	nonce     uint64
	salt      string
	// changes is what next needs while it runs.
	changes []change
	// warming holds, for clusters that were sent while their endpoints have not
	// been sent since, what these endpoints then were: a client takes a new or
	// changed cluster into use only after hearing of its endpoints, unchanged
	// ones too, and those of a cluster that nobody wants any more: Envoy would
	// wait for them, and acknowledge no clusters meanwhile.
	warming map[string]*xds.Resource
	// warmingOf is the set that all of warming was taken from, nil if there were
	// several.
	warmingOf *xds.Set
}

// New starts a stream on which the client shall have the given state.
func New(delta bool, limits Limits, state *xds.State) *Machine {
	return &Machine{delta: delta, limits: limits, state: state}
}

// Held is about how many bytes the client's subscriptions take in memory.
// Resources, which all clients share, are not counted.
func (m *Machine) Held() int {
	const (
		name  = 56 // in a map, its text apart
		other = 80
	)
	held := m.nameBytes + m.names*name
	for _, s := range m.types {
		held += (len(s.over) + len(s.refused) + len(s.owed)) * other
		if f := s.inflight; f != nil {
			held += (len(f.resources)+len(f.removed))*16 + len(f.overtaken)*name
		}
	}
	return held
}

// Salt is what all nonces shall begin with. A client that can't guess it can't
// answer what it has not read.
func (m *Machine) Salt(salt string) { m.salt = salt }

// Target replaces the state that the client shall have.
func (m *Machine) Target(state *xds.State) Out {
	was := m.state
	m.state = state
	same := state.Same(was)
	changed := !same && state.Set(xds.RouteType) != was.Set(xds.RouteType) // which keeps virtual hosts, whether subscribed to or not
	for _, s := range m.types {
		target := s.target
		if !same {
			target = state.Set(s.url)
			if target != s.target && s.ackedRevision == was.Revision && len(m.warming) == 0 && s.unconcerned(target) {
				s.target, s.base, s.acked = target, target, target
			}
		}
		changed = changed || target != s.target || s.ackedRevision != was.Revision || s.inflight != nil
		s.target = target
	}
	if !changed {
		// The client rests with all of this: only the number is new. That is so for
		// nearly all clients of a large mesh, whatever changes.
		for _, s := range m.types {
			s.ackedRevision = state.Revision
		}
		return Out{Same: true}
	}
	return Out{Frames: m.next()}
}

// AppendTargets appends what the client shall have of each type, in the order of
// additions.
func (m *Machine) AppendTargets(out []*xds.Set) []*xds.Set {
	for _, s := range m.types {
		out = append(out, s.target)
	}
	return out
}

// Extend says that the state is right up to a later revision: nothing but the
// number has changed.
func (m *Machine) Extend(revision uint64) {
	was := m.state.Revision
	m.state = m.state.At(revision, m.state.Changed)
	for _, s := range m.types {
		if s.ackedRevision == was && s.inflight == nil {
			s.ackedRevision = revision
		}
	}
}

// Request takes in a client's message.
func (m *Machine) Request(r *Request) (Out, error) {
	s, fresh, err := m.subscription(r.TypeURL)
	if err != nil {
		return Out{}, err
	}
	var out Out
	if !fresh && r.Nonce != "" {
		if stale := r.Nonce != s.nonce; stale && !m.delta {
			// The client will answer the newer response too, and then tell its
			// names again.
			return Out{}, nil
		} else if !stale {
			out.Nack = m.answered(s, r)
		}
	}
	var missing []string
	if m.delta {
		missing = m.changeDelta(s, r, fresh)
	} else {
		missing = m.changeSotW(s, r, fresh)
	}
	if m.names > m.limits.Names {
		return Out{}, fmt.Errorf("%w: more than %d names", ErrLimit, m.limits.Names)
	}
	if len(missing) > 0 {
		out.Demand = &Demand{TypeURL: r.TypeURL, Names: missing}
	}
	out.Frames = m.next()
	return out, nil
}

// find is the place of the type's subscription among those of the others.
func (m *Machine) find(typeURL string) (place int, found bool) {
	for i, s := range m.types {
		if s.url == typeURL {
			return i, true
		}
	}
	return slices.BinarySearchFunc(m.types, typeURL, func(s *subscription, url string) int { return xds.CompareTypes(s.url, url) })
}

// count notes by how many names, 0 or 1, the subscriptions grew or shrank.
func (m *Machine) count(n int, name string) {
	m.names += n
	m.nameBytes += n * len(name)
}

// subscription finds or begins the type's.
func (m *Machine) subscription(typeURL string) (s *subscription, fresh bool, err error) {
	i, found := m.find(typeURL)
	if found {
		return m.types[i], false, nil
	}
	if typeURL == "" {
		return nil, false, errors.New("request without a type URL")
	}
	if len(m.types) >= m.limits.Types {
		return nil, false, fmt.Errorf("%w: more than %d types", ErrLimit, m.limits.Types)
	}
	s = newSubscription(typeURL)
	s.target = m.state.Set(typeURL)
	m.types = slices.Insert(m.types, i, s)
	return s, true, nil
}

// changeDelta applies what a delta request says about the subscription and
// returns the names that the state lacks.
func (m *Machine) changeDelta(s *subscription, r *Request, fresh bool) (missing []string) {
	target := s.target
	if fresh && len(r.Subscribe) == 0 && len(r.Unsubscribe) == 0 && !xds.ByNameOnly(s.url) {
		s.subscribeAll()
	}
	s.expect(len(r.Subscribe), target)
	cursor := target.Cursor()
	for _, name := range r.Subscribe {
		if name == xds.Wildcard {
			s.subscribeAll()
			continue
		}
		there := cursor.Get(name)
		if there != nil {
			name = there.Name // one string for all clients
		}
		doubtful := s.doubtful(name)
		m.count(s.subscribe(name), name)
		if doubtful {
			// In no known version: it is sent again, or taken away if the state has
			// given it up by then.
			s.over[name] = &xds.Resource{Name: name, TypeURL: s.url}
		}
		if there == nil && !s.exists(name, target) {
			s.owed[name] = struct{}{}
			missing = append(missing, name)
		}
	}
	for _, name := range r.Unsubscribe {
		if name == xds.Wildcard {
			s.unsubscribeAll()
			continue
		}
		m.count(-s.unsubscribe(name), name)
		if s.wildcard && s.in(target, name) == nil {
			s.owed[name] = struct{}{}
		}
	}
	if fresh {
		s.claim(r.Initial, target)
	}
	return missing
}

// changeSotW applies the names of a state-of-the-world request.
func (m *Machine) changeSotW(s *subscription, r *Request, fresh bool) (missing []string) {
	target := s.target
	digest := r.Digest
	if digest == 0 && len(r.Names) > 0 {
		digest = digestOf(r.Names)
	}
	if !fresh && r.Nonce != "" && (r.Repeats || digest != 0 && digest == s.told) {
		return nil // the client repeats all its names with each answer
	}
	all := slices.Contains(r.Names, xds.Wildcard)
	if len(r.Names) == 0 && !xds.ByNameOnly(s.url) && len(s.names) == 0 && (fresh || s.wildcard) {
		all = true
	}
	if !fresh && r.Nonce == "" {
		s.restart()
	}
	s.told = digest
	switch {
	case all && !s.wildcard:
		s.subscribeAll()
	case !all && s.wildcard:
		s.unsubscribeAll()
	}
	wanted := make(map[string]struct{}, len(r.Names))
	s.expect(len(r.Names), target)
	cursor := target.Cursor()
	for _, name := range r.Names {
		if name == xds.Wildcard {
			continue
		}
		wanted[name] = struct{}{}
		if _, have := s.names[name]; have && r.Nonce != "" {
			continue
		}
		there := cursor.Get(name)
		if there != nil {
			name = there.Name // one string for all clients
		}
		m.count(s.subscribe(name), name)
		s.owes = true
		if there == nil && !s.exists(name, target) {
			missing = append(missing, name)
		}
	}
	for name := range s.names {
		if _, ok := wanted[name]; !ok {
			m.count(-s.unsubscribe(name), name)
		}
	}
	return missing
}

// namesSeed makes digests of this process.
var namesSeed = maphash.MakeSeed()

// NamesSeed is what digests of names begin with.
func NamesSeed() maphash.Seed { return namesSeed }

// DigestName adds a name to a digest, DigestOf is the digest of all that were
// added; it is never 0.
func DigestName(h *maphash.Hash, name []byte) {
	digestLength(h, len(name))
	h.Write(name)
}

// DigestOf is explained at DigestName.
func DigestOf(h *maphash.Hash) uint64 { return h.Sum64() | 1 }

// digestLength keeps apart names that are divided differently.
func digestLength(h *maphash.Hash, n int) {
	var length [4]byte
	binary.LittleEndian.PutUint32(length[:], uint32(n))
	h.Write(length[:])
}

func digestOf(names []string) uint64 {
	var h maphash.Hash
	h.SetSeed(namesSeed)
	for _, name := range names {
		digestLength(&h, len(name))
		h.WriteString(name)
	}
	return DigestOf(&h)
}

// Knows reports whether the digest is that of the names that the client told
// last, so that a request which answers a response need not be read for them.
func (m *Machine) Knows(typeURL string, digest uint64) bool {
	i, found := m.find(typeURL)
	return found && m.types[i].told == digest
}

func (m *Machine) newNonce() string {
	m.nonce++
	return m.salt + strconv.FormatUint(m.nonce, 10)
}

// Revision of the newest state.
func (m *Machine) Revision() uint64 { return m.state.Revision }
