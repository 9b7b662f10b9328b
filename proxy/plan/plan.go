package plan

import (
	"sync/atomic"
)

// Plan is one consistent state of the configuration.
type Plan struct {
	// Version counts the plans of this process, from 1.
	Version uint64
	// Listeners are those that are warm, sorted by name.
	Listeners []*Listener

	listeners    map[string]*Listener
	clusters     table[Cluster]
	routeConfigs table[RouteConfig]
	secrets      table[Secret]
	extensions   table[Extension]
}

// Ref names a resource by its place in the plan's tables. The zero Ref refers to nothing.
type Ref struct {
	slot uint32
	gen  uint32 // counts the names that the slot has had; 0 is none
}

// IsZero reports whether r refers to nothing.
func (r Ref) IsZero() bool { return r.gen == 0 }

// Refs of each kind, so that they can't be mixed up.
type (
	ClusterRef     struct{ Ref }
	RouteConfigRef struct{ Ref }
	SecretRef      struct{ Ref }
	ExtensionRef   struct{ Ref }
)

// Listener returns the listener of that name, or nil.
func (p *Plan) Listener(name string) *Listener { return p.listeners[name] }

// Cluster returns the cluster that r refers to, or nil when there is none at present.
func (p *Plan) Cluster(r ClusterRef) *Cluster { return p.clusters.get(r.Ref) }

// ClusterNamed returns the cluster of that name, or nil. It is for cluster_header and for admin; routes have a Ref.
func (p *Plan) ClusterNamed(name []byte) *Cluster { return p.clusters.byName[string(name)] }

// RouteConfig returns the route configuration that r refers to, or nil when it has not arrived.
func (p *Plan) RouteConfig(r RouteConfigRef) *RouteConfig { return p.routeConfigs.get(r.Ref) }

// RouteConfigNamed returns the route configuration of that name, or nil.
func (p *Plan) RouteConfigNamed(name string) *RouteConfig { return p.routeConfigs.byName[name] }

// Secret returns the secret that r refers to, or nil when it has not arrived.
func (p *Plan) Secret(r SecretRef) *Secret { return p.secrets.get(r.Ref) }

// SecretNamed returns the secret of that name, or nil.
func (p *Plan) SecretNamed(name string) *Secret { return p.secrets.byName[name] }

// Extension returns the filter configuration that r refers to, or nil when it has not arrived.
func (p *Plan) Extension(r ExtensionRef) *Extension { return p.extensions.get(r.Ref) }

// Extensions returns the filter configurations got by ECDS, sorted by name. The slice is the plan's own.
func (p *Plan) Extensions() []*Extension { return p.extensions.sorted }

// Clusters returns the clusters sorted by name. The slice is the plan's own.
func (p *Plan) Clusters() []*Cluster { return p.clusters.sorted }

// RouteConfigs returns the route configurations got by RDS, sorted by name. The slice is the plan's own.
func (p *Plan) RouteConfigs() []*RouteConfig { return p.routeConfigs.sorted }

// Secrets returns the secrets sorted by name. The slice is the plan's own.
func (p *Plan) Secrets() []*Secret { return p.secrets.sorted }

// Current is where the plan in force hangs. There is one per proxy, made by proxy/state and handed to the engine.
type Current struct{ p atomic.Pointer[Plan] }

// Load returns the plan in force; it is never nil.
func (c *Current) Load() *Plan {
	if p := c.p.Load(); p != nil {
		return p
	}
	return &Plan{}
}

// Publish puts p in force. Only proxy/state (and tests) call it.
func (c *Current) Publish(p *Plan) { c.p.Store(p) }

// Engine is told of plans. Both calls come from the single goroutine that writes the state, one after the other.
type Engine interface {
	// Prepare is called before next is published: the engine fills the Runtime fields that are nil, carrying over
	// pools, outlier state and counters from the resource of the same name in prev. It must not block.
	Prepare(prev, next *Plan)
	// Activate is called when next is in force: the engine opens, changes and drains listeners, starts and stops DNS
	// resolution and health checks. It returns the listeners that could not be opened, which become NACKs.
	Activate(prev, next *Plan) []Rejection
}

// Kind is a kind of resource.
type Kind uint8

// The kinds.
const (
	KindListener Kind = iota
	KindRouteConfig
	KindCluster
	KindEndpoints
	KindSecret
	// KindVirtualHost is a virtual host that comes by itself. In the plan it is part of its route configuration.
	KindVirtualHost
	// KindExtension is a filter's configuration that comes by itself.
	KindExtension
)

// String returns the kind's discovery service: LDS, RDS, CDS, EDS, SDS, VHDS or ECDS.
func (k Kind) String() string {
	return [...]string{"LDS", "RDS", "CDS", "EDS", "SDS", "VHDS", "ECDS"}[k]
}

// Rejection is a resource that was refused, and why.
type Rejection struct {
	Kind   Kind
	Name   string
	Reason string
}
