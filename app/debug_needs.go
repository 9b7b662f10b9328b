package app

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/world"
)

// changes remembers with which Snapshot each object came to be what it is, and when
// that was.
type changes struct {
	mu sync.Mutex // guards what follows
	of map[config.Key]objectChange
	// arrived are batches that no proxy has been translated for yet.
	arrived []arrival
}

type objectChange struct {
	snapshot uint64
	version  string
	time     time.Time
}

// arrival is when a batch came that makes a Snapshot newer than after.
type arrival struct {
	after uint64
	at    time.Time
}

// begin is called before a batch is applied to the Snapshot of that version. One
// batch is applied at a time.
func (c *changes) begin(after uint64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arrived = append(c.arrived, arrival{after, at})
}

// takeOldest is when the first of those batches came that the Snapshot has and
// none before had; the zero time if there is none.
func (c *changes) takeOldest(snapshot uint64) (oldest time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.arrived) > 0 && c.arrived[0].after < snapshot {
		if oldest.IsZero() {
			oldest = c.arrived[0].at
		}
		c.arrived = c.arrived[1:]
	}
	return oldest
}

// note is called after a batch has become a part of the Snapshot.
func (c *changes) note(list []source.Change, snapshot uint64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.arrived); n > 0 && c.arrived[n-1].after == snapshot {
		c.arrived = c.arrived[:n-1] // it changed nothing
	}
	if c.of == nil {
		c.of = map[config.Key]objectChange{}
	}
	for _, change := range list {
		if change.Object == nil {
			delete(c.of, change.Key)
			continue
		}
		version := change.Object.ResourceVersion
		if version == "" {
			version = strconv.FormatInt(change.Object.Generation, 10)
		}
		c.of[change.Key] = objectChange{snapshot: snapshot, version: version, time: at}
	}
}

// at is what brought an object as it is.
func (c *changes) at(key config.Key) objectChange {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[key]
}

// needs reports whether an object has a say in what a proxy does: whether its
// selector or its gateways choose the proxy, or its service is in the proxy's
// scope.
func needs(snap *world.Snapshot, p *model.Proxy, o *config.Object) bool {
	root := snap.Mesh().RootNamespace
	switch spec := o.Spec.(type) {
	case *networking.ServiceEntry: // its selector chooses endpoints
	case interface {
		GetSelector() *typev1beta1.WorkloadSelector
	}:
		return (o.Namespace == root || o.Namespace == p.Namespace) && model.SubsetOf(spec.GetSelector().GetMatchLabels(), p.Labels)
	case interface {
		GetWorkloadSelector() *networking.WorkloadSelector
	}:
		return (o.Namespace == root || o.Namespace == p.Namespace) && model.SubsetOf(spec.GetWorkloadSelector().GetLabels(), p.Labels)
	case *networking.Gateway:
		return p.Type == model.GatewayProxy && model.SubsetOf(spec.GetSelector(), p.Labels)
	}
	if p.Type == model.GatewayProxy {
		return true // what its gateways lead to is not scoped
	}
	return inScope(snap.Scope(p.Namespace, snap.Sidecar(p.Namespace, p.Labels)), o, snap.Mesh().Domain)
}

// inScope reports whether a scope's services or routes come from the object.
func inScope(scope *world.Scope, o *config.Object, domain string) bool {
	switch spec := o.Spec.(type) {
	case *networking.VirtualService:
		return slices.ContainsFunc(scope.Egress, func(e world.EgressScope) bool {
			return slices.ContainsFunc(e.VirtualServices, func(v *model.VirtualService) bool { return v.Config == o.Key || slices.Contains(v.Delegates, o.Key) })
		})
	case *networking.DestinationRule:
		rule := host.Resolve(strings.ToLower(spec.GetHost()), o.Namespace, domain)
		return slices.ContainsFunc(scope.Services, func(s *model.Service) bool { return rule.Matches(host.Name(s.Hostname)) })
	case *networking.ServiceEntry:
		return slices.ContainsFunc(scope.Services, func(s *model.Service) bool { return s.Config == o.Key || slices.Contains(s.MergedFrom, o.Key) })
	}
	return true // what applies to the whole mesh
}
