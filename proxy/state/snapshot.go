package state

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/plan"
)

// Failure is a refusal.
type Failure struct {
	Details string
	// Version is the discovery response's version, and Body what was refused.
	Version string
	Time    time.Time
	Body    *anypb.Any
}

// Resource is a resource with what is known of it, for admin. It is a copy; the bodies are shared and read-only.
type Resource struct {
	Kind   plan.Kind
	Name   string
	Static bool
	// Live is in the plan, Warming waits for something; either may be missing.
	Live, Warming *Accepted
	// Failure is the last refusal, nil when the last version was accepted.
	Failure *Failure
}

// Accepted is one accepted version.
type Accepted struct {
	// Body is nil for secrets that came from the identity's holder.
	Body    *anypb.Any
	Version string
	Updated time.Time
	// Waits is what a warming version waits for.
	Waits string
}

// Resources lists the resources of a kind by name.
func (s *Store) Resources(kind plan.Kind) []Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Resource, 0, len(s.kinds[kind]))
	for _, e := range s.kinds[kind] {
		r := Resource{Kind: kind, Name: e.name, Static: e.static, Live: accepted(e.live), Warming: accepted(e.warming), Failure: e.failure}
		if e.warming != nil {
			r.Warming.Waits = s.missing(e.warming)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Resource) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func accepted(v *version) *Accepted {
	if v == nil {
		return nil
	}
	return &Accepted{Body: v.body, Version: v.info, Updated: v.updated}
}
