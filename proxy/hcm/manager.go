package hcm

import (
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/wire/http1"
)

// Manager is the runtime of one HTTP connection manager.
type Manager struct {
	engine *Engine
	cfg    *plan.HTTPConnectionManager
	limits http1.Limits
	filter filters
	// upgrades are the steps of upgraded requests, for each of the configuration's Upgrades that has filters of its own.
	upgrades [][]step
	// Stats of the manager, which outlive changes of its configuration under one prefix.
	Stats      *Stats
	serverName []byte
	via        []byte
	inbound    bool
	outbound   bool
}

// filters are the manager's filters, by kind: what isn't configured is nil and costs a comparison.
type filters struct {
	order  []step
	router *plan.Router
	stats  *plan.Stats
	peer   *plan.PeerMetadata
	alpn   *plan.ALPN
	grpc   bool
	// waits says that there are filters which must have a goroutine to run in.
	waits bool
}

// step is a filter that decides about requests, in its place in the order.
type step struct {
	name     string
	disabled bool
	rbac     *plan.RBAC
	fault    *plan.Fault
	cors     *plan.CORS
	grpcWeb  bool
	// found is set, and nothing before it, where the configuration comes by itself.
	found *plan.FilterDiscovery
}

// New compiles a manager. stats may come from a manager that this one replaces.
func New(e *Engine, cfg *plan.HTTPConnectionManager, direction plan.Direction, shards int, stats *Stats) *Manager {
	if stats == nil {
		stats = &Stats{shards: make([]statShard, max(1, shards))}
	}
	m := &Manager{
		engine: e, cfg: cfg, Stats: stats, serverName: []byte(cfg.ServerName), via: []byte(cfg.Via),
		inbound: direction == plan.Inbound, outbound: direction == plan.Outbound,
		limits: http1.Limits{
			MaxHeadBytes: int(cfg.Limits.MaxHeadBytes), MaxFields: int(cfg.Limits.MaxHeaderCount), AcceptHTTP10: cfg.HTTP1.AcceptHTTP10,
		},
	}
	if len(m.serverName) == 0 {
		m.serverName = []byte("envoy")
	}
	m.filter = compileFilters(cfg.Filters)
	m.upgrades = make([][]step, len(cfg.Upgrades))
	for i := range cfg.Upgrades {
		if cfg.Upgrades[i].Filters != nil {
			m.upgrades[i] = compileFilters(cfg.Upgrades[i].Filters).order
		}
	}
	return m
}

func compileFilters(list []plan.HTTPFilter) filters {
	var f filters
	for i := range list {
		s := step{name: list[i].Name, disabled: list[i].Disabled}
		if list[i].Discovery != nil {
			s.found = list[i].Discovery
			f.order = append(f.order, s)
			continue
		}
		switch c := list[i].Config.(type) {
		case *plan.Router:
			f.router = c
			continue
		case *plan.Stats:
			f.stats = c
			continue
		case *plan.PeerMetadata:
			f.peer = c
			continue
		case *plan.ALPN:
			f.alpn = c
			continue
		case *plan.GRPCStats:
			f.grpc = true
			continue
		}
		if !s.decide(list[i].Config) {
			f.waits = true
			continue
		}
		f.order = append(f.order, s)
	}
	return f
}

// decide makes the step one that decides as configured; false if it is none of those.
func (st *step) decide(config plan.HTTPFilterConfig) bool {
	switch c := config.(type) {
	case *plan.RBAC:
		st.rbac = c
	case *plan.Fault:
		st.fault = c
	case *plan.CORS:
		st.cors = c
	case *plan.GRPCWeb:
		st.grpcWeb = true
	default:
		return false
	}
	return true
}

// under is a step whose configuration comes by itself as it is configured under p. It is false while there is none for it.
func (st *step) under(p *plan.Plan) (step, bool) {
	out := step{name: st.name, disabled: st.disabled}
	return out, out.decide(st.found.HTTPConfig(p))
}

// stat is the shard's statistics.
func (m *Manager) stat(shard uint32) *statShard {
	return &m.Stats.shards[shard%uint32(len(m.Stats.shards))]
}
