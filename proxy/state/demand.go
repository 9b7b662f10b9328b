package state

import (
	"time"

	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
)

// On demand the control plane sends clusters, listeners and virtual hosts to those who name them. Clusters are named by the
// store, as what is live or warming refers to them; listeners and virtual hosts by whoever meets a connection or a request
// for them (asks).

const (
	// absentGrace is how long a reference waits for a cluster of which the server has said that there is none: what refers
	// to it was overtaken by a change, as a rule, and the next version of that is on its way.
	absentGrace = 250 * time.Millisecond
	// lostGrace is how long a cluster that the server took away is kept while something live refers to it.
	lostGrace = 5 * time.Second
)

// onDemand reports whether clusters must be asked for: some listener says that not all there is has been sent.
func (s *Store) onDemand() bool {
	for _, e := range s.kinds[plan.KindListener] {
		if e.live != nil && e.live.Listener.Demand != nil || e.warming != nil && e.warming.Listener.Demand != nil {
			return true
		}
	}
	return false
}

// noteClusters tells which clusters something refers to, as far as they have to be asked for.
func (s *Store) noteClusters(note func(plan.Kind, compile.Need)) {
	if s.demanding = s.onDemand(); !s.demanding {
		return
	}
	const fetch = 15 * time.Second
	for _, kind := range []plan.Kind{plan.KindListener, plan.KindRouteConfig, plan.KindVirtualHost} {
		for _, e := range s.kinds[kind] {
			for _, v := range []*version{e.live, e.warming} {
				if v == nil {
					continue
				}
				for _, c := range v.Needs.Clusters {
					note(plan.KindCluster, compile.Need{Name: c, Timeout: fetch})
				}
			}
		}
	}
}

// provided reports whether a resource comes otherwise than by its name's subscription.
func (s *Store) provided(k key, e *entry) bool {
	switch {
	case e == nil:
		return k.kind == plan.KindSecret && s.local[k.name]
	case k.kind == plan.KindCluster:
		_, lost := s.lost[k.name]
		return !lost
	}
	return e.static || k.kind == plan.KindSecret && s.local[k.name]
}

// missingCluster names the first cluster that v needs and that is not live.
func (s *Store) missingCluster(v *version) string {
	if !s.demanding || v.Listener == nil && v.VirtualHost == nil {
		return ""
	}
	for _, name := range v.Needs.Clusters {
		e, w := s.kinds[plan.KindCluster][name], s.wants[key{plan.KindCluster, name}]
		switch {
		case e != nil && e.live != nil, w == nil:
		case e != nil && e.warming != nil:
			return name
		case w.settled:
		case !w.deadline.IsZero() && !s.cfg.Now().Before(w.deadline):
			w.settled = true
		default:
			return name
		}
	}
	return ""
}

// keepsCluster reports whether a cluster that the server takes away, or says it doesn't have, is still needed. Then it is
// kept for a while, or waited for.
func (s *Store) keepsCluster(name string) bool {
	w := s.wants[key{plan.KindCluster, name}]
	if w == nil || !s.demanding {
		return false
	}
	e := s.kinds[plan.KindCluster][name]
	if e == nil || e.live == nil {
		if soon := s.cfg.Now().Add(absentGrace); !w.settled && (w.deadline.IsZero() || soon.Before(w.deadline)) {
			w.deadline = soon
		}
		return e == nil
	}
	s.lost[name] = s.cfg.Now().Add(lostGrace)
	s.refsChanged = true
	return true
}

// dropLost takes away the clusters that were kept for long enough.
func (s *Store) dropLost() {
	for name, until := range s.lost {
		if s.cfg.Now().Before(until) {
			continue
		}
		delete(s.lost, name)
		delete(s.kinds[plan.KindCluster], name)
		delete(s.pending[plan.KindCluster], name)
		s.touch(plan.KindCluster, name)
		s.refsChanged = true
	}
}

// placeHost puts a virtual host that has all its clusters into its route configuration's table.
func (s *Store) placeHost(name string, e *entry) {
	route := xds.Collection(xds.VirtualHostType, name)
	of := s.context(route)
	if of == nil {
		e.warming = nil
		return
	}
	set := s.hosts[route]
	if set == nil {
		set = &hostSet{byName: map[string]*entry{}, of: of, changed: map[string]*plan.VirtualHost{}}
		s.hosts[route] = set
	}
	if e.warming.of != set.of {
		c, err := s.cfg.Compiler.VirtualHost(set.of, e.warming.body)
		if err != nil {
			e.failure = &Failure{Details: err.Error(), Version: e.warming.info, Time: s.cfg.Now(), Body: e.warming.body}
			e.warming = nil
			return
		}
		e.warming.Compiled = c
	}
	set.note(name)
	set.byName[name] = e
	e.live, e.warming = e.warming, nil
}

// changeTable prepares a route configuration that has just gone live for the way in which its virtual hosts come.
func (s *Store) changeTable(e *entry) {
	if e.live.RouteConfig.Demand == nil {
		for _, name := range s.asks.drop(e.name) {
			s.forgetHost(name)
		}
		return
	}
	if s.wants[key{plan.KindVirtualHost, e.name}] != nil {
		s.dropHosts(e.name) // they came as a whole before; now those that are used are asked for
	}
	if names := s.remembered[e.name]; len(names) > 0 {
		delete(s.remembered, e.name)
		s.asks.subscribe(plan.KindVirtualHost, names)
	}
}

// maxRemembered bounds what the control plane may have a proxy ask for.
const maxRemembered = manyAsked

// Remember asks for what the control plane remembers of the workload: listeners, and virtual hosts as TABLE/HOST. Those
// are asked for when their route configuration is there.
func (s *Store) Remember(listeners, hosts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks.subscribe(plan.KindListener, listeners[:min(len(listeners), maxRemembered)])
	tables := map[string][]string{}
	for _, name := range hosts[:min(len(hosts), maxRemembered)] {
		table := xds.Collection(xds.VirtualHostType, name)
		tables[table] = append(tables[table], name)
	}
	s.remembered = tables
	for name, e := range s.kinds[plan.KindRouteConfig] {
		if e.live != nil && e.live.RouteConfig.Demand != nil {
			s.asks.subscribe(plan.KindVirtualHost, tables[name])
			delete(tables, name)
		}
	}
}
