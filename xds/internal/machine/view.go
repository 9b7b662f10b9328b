package machine

import (
	"cmp"
	"slices"

	"lateen.dev/lateen/xds"
)

// View is where one type stands.
type View struct {
	TypeURL  string
	Names    int
	Wildcard bool
	// Wanted is the newest set, Acked that of the last time when the client had
	// all of it.
	Wanted, Acked                 *xds.Set
	WantedRevision, AckedRevision uint64
	// Sent is false before the first response.
	Sent    bool
	Waiting bool
	Refused []Refusal
}

// Refusal is a resource version that the client would not take.
type Refusal struct {
	Name     string
	Version  string
	Revision uint64
	// After is the revision that the client had all of before it refused this
	// version, and those before it that it refused too.
	After uint64
	// Reason is what the client said of it.
	Reason string
}

// Views tells where each subscribed type stands, in the order of additions.
func (m *Machine) Views() []View { return m.AppendViews(make([]View, 0, len(m.types))) }

// AppendViews appends what Views returns.
func (m *Machine) AppendViews(out []View) []View {
	for _, s := range m.types {
		v := View{
			TypeURL:        s.url,
			Names:          len(s.names),
			Wildcard:       s.wildcard,
			Wanted:         s.target,
			Acked:          s.acked,
			WantedRevision: m.state.Revision,
			AckedRevision:  s.ackedRevision,
			Sent:           s.sent,
			Waiting:        s.inflight != nil,
		}
		for name, r := range s.refused {
			v.Refused = append(v.Refused, Refusal{Name: name, Version: r.version, Revision: r.revision, After: r.after, Reason: r.reason})
		}
		slices.SortFunc(v.Refused, func(a, b Refusal) int { return cmp.Compare(a.Name, b.Name) })
		out = append(out, v)
	}
	return out
}

// Acked is the newest revision of which the client has, or has refused,
// everything that it subscribed to; 0 before it subscribed to anything.
func (m *Machine) Acked() uint64 {
	if len(m.types) == 0 {
		return 0
	}
	oldest := m.types[0].ackedRevision
	for _, s := range m.types[1:] {
		oldest = min(oldest, s.ackedRevision)
	}
	return oldest
}
