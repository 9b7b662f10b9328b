package machine

import (
	"cmp"
	"slices"

	"lateen.dev/lateen/xds"
)

// Difference is a resource of which the client does not have what it shall have.
type Difference struct {
	TypeURL, Name string
	// Wanted is nil if the client shall not have it, Has if the client does not. Of
	// what a client brought from an earlier stream only the version is known, and
	// its Body is nil.
	Wanted, Has *xds.Resource
	// Sent says that it is in a response which the client has not answered.
	Sent bool
	// Refused says that the client would not take Wanted. If Has is the same then,
	// its words did not tell which of several resources it meant.
	Refused bool
	// Reason is what the client said of it then.
	Reason string
}

// Differences compares what the client has acknowledged with what it shall have,
// in the order of types and names. It lists most of them at most, and returns
// how many there are.
func (m *Machine) Differences(most int) (list []Difference, total int) {
	for _, s := range m.types {
		for _, d := range s.differences(s.target) {
			if total++; len(list) < most {
				list = append(list, d)
			}
		}
	}
	return list, total
}

// Wanted is the state with what the client has asked for by name as members of their sets.
func (m *Machine) Wanted(state *xds.State) *xds.State {
	for _, s := range m.types {
		if !s.target.OnDemand() {
			continue
		}
		var asked []*xds.Resource
		for name := range s.names {
			if r := s.target.Get(name); r != nil {
				asked = append(asked, r)
			}
		}
		state = state.With(s.target.With(asked, nil))
	}
	return state
}

func (s *subscription) differences(target *xds.Set) (list []Difference) {
	pending := s.pending(target)
	for _, r := range pending.puts {
		list = append(list, Difference{TypeURL: s.url, Name: r.Name, Wanted: r, Has: s.has(r.Name), Sent: s.inflight.carries(r.Name)})
	}
	for _, name := range pending.removes {
		list = append(list, Difference{TypeURL: s.url, Name: name, Has: s.has(name), Sent: s.inflight.carries(name)})
	}
	for name, refused := range s.refused {
		if want := s.in(target, name); want != nil && want.Version == refused.version {
			list = append(list, Difference{TypeURL: s.url, Name: name, Wanted: want, Has: s.has(name), Refused: true, Reason: refused.reason})
		}
	}
	slices.SortFunc(list, func(a, b Difference) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Names are the names that the client has subscribed to, of each type by its URL, sorted; xds.Wildcard for all of a type.
// Of one type it lists most at most.
func (m *Machine) Names(most int) map[string][]string {
	out := make(map[string][]string, len(m.types))
	for _, s := range m.types {
		names := make([]string, 0, len(s.names)+1)
		if s.wildcard {
			names = append(names, xds.Wildcard)
		}
		for name := range s.names {
			names = append(names, name)
		}
		slices.Sort(names)
		out[s.url] = names[:min(len(names), most)]
	}
	return out
}

// carries tells whether the response has something to say about the name.
func (f *inflight) carries(name string) bool {
	return f != nil && (slices.Contains(f.removed, name) ||
		slices.ContainsFunc(f.resources, func(r *xds.Resource) bool { return r.Name == name }))
}
