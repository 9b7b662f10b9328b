package state

import (
	"fmt"

	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
)

// hostSet is the virtual hosts that came for one route configuration.
type hostSet struct {
	byName map[string]*entry
	// of is what they were compiled for.
	of *compile.Hosts
	// changed holds, for each that changed or went since the table was made, what the table has: nil if nothing.
	changed map[string]*plan.VirtualHost
}

// note remembers that a virtual host is about to change.
func (h *hostSet) note(name string) {
	if _, ok := h.changed[name]; ok {
		return
	}
	h.changed[name] = nil
	if e := h.byName[name]; e != nil && e.live != nil {
		h.changed[name] = e.live.VirtualHost
	}
}

// answeredHosts notes what the server's answer says of route configurations that wait for their virtual hosts. One that
// says nothing at all says that there are none.
func (s *Store) answeredHosts(u *xds.Update) {
	if len(u.Added)+len(u.Removed) > 0 {
		return
	}
	for k, w := range s.wants {
		w.settled = w.settled || k.kind == plan.KindVirtualHost
	}
}

// context is what virtual hosts of a route configuration are compiled for; nil if it takes none.
func (s *Store) context(route string) *compile.Hosts {
	e := s.kinds[plan.KindRouteConfig][route]
	switch {
	case e == nil:
		return nil
	case e.warming != nil:
		return e.warming.Hosts
	case e.live != nil:
		return e.live.Hosts
	}
	return nil
}

// putHost compiles a virtual host. It waits for nothing: it is live when its route configuration is.
func (s *Store) putHost(kind plan.Kind, name string, in incoming) error {
	route := xds.Collection(xds.VirtualHostType, name)
	s.arrived(kind, route)
	of := s.context(route)
	if of == nil {
		return fmt.Errorf("route configuration %q takes no virtual hosts by VHDS", route)
	}
	e := s.entry(kind, name)
	c, err := s.cfg.Compiler.VirtualHost(of, in.body)
	if err != nil {
		e.failure = &Failure{Details: err.Error(), Version: in.info, Time: s.cfg.Now(), Body: in.body}
		s.there = append(s.there, key{kind, name})
		return err
	}
	if s.tableDemand(route) {
		e.failure, e.warming = nil, &version{Compiled: c, body: in.body, info: in.info, updated: s.cfg.Now(), of: of}
		s.pending[kind][name] = e
		s.refsChanged = true
		return nil
	}
	set := s.hosts[route]
	if set == nil {
		set = &hostSet{byName: map[string]*entry{}, of: of, changed: map[string]*plan.VirtualHost{}}
		s.hosts[route] = set
	}
	set.note(name)
	set.byName[name] = e
	e.failure, e.live = nil, &version{Compiled: c, body: in.body, info: in.info, updated: s.cfg.Now()}
	return nil
}

// tableDemand reports whether a table's virtual hosts are asked for one by one, and wait for their clusters.
func (s *Store) tableDemand(route string) bool {
	e := s.kinds[plan.KindRouteConfig][route]
	return e != nil && (e.warming != nil && e.warming.RouteConfig.Demand != nil || e.warming == nil && e.live != nil && e.live.RouteConfig.Demand != nil)
}

// removeHost takes a virtual host away, or notes that there is none of that name, or that a route configuration has none.
func (s *Store) removeHost(name string) {
	s.none = append(s.none, key{plan.KindVirtualHost, name})
	s.forgetHost(name)
	s.refsChanged = s.refsChanged || s.demanding
}

func (s *Store) forgetHost(name string) {
	delete(s.pending[plan.KindVirtualHost], name)
	if s.kinds[plan.KindVirtualHost][name] == nil {
		s.arrived(plan.KindVirtualHost, name)
		return
	}
	if set := s.hosts[xds.Collection(xds.VirtualHostType, name)]; set != nil {
		set.note(name)
		delete(set.byName, name)
	}
	delete(s.kinds[plan.KindVirtualHost], name)
}

// dropHosts forgets all virtual hosts of a route configuration that takes none any more.
func (s *Store) dropHosts(route string) {
	delete(s.hosts, route)
	for name := range s.pending[plan.KindVirtualHost] {
		if xds.Collection(xds.VirtualHostType, name) == route {
			delete(s.pending[plan.KindVirtualHost], name)
		}
	}
	for name := range s.kinds[plan.KindVirtualHost] {
		if xds.Collection(xds.VirtualHostType, name) == route {
			delete(s.kinds[plan.KindVirtualHost], name)
		}
	}
}

// takeHosts gives a route configuration that has just gone live the virtual hosts that came for it.
func (s *Store) takeHosts(e *entry) {
	set := s.hosts[e.name]
	if set == nil || e.live.Hosts == nil {
		return
	}
	var all []*plan.VirtualHost
	for name, host := range set.byName {
		if set.of != e.live.Hosts {
			c, err := s.cfg.Compiler.VirtualHost(e.live.Hosts, host.live.body)
			if err != nil {
				host.failure = &Failure{Details: err.Error(), Version: host.live.info, Time: s.cfg.Now(), Body: host.live.body}
				delete(set.byName, name)
				continue
			}
			host.live.Compiled = c
		}
		all = append(all, host.live.VirtualHost)
	}
	set.of = e.live.Hosts
	clear(set.changed)
	rc := *e.live.RouteConfig
	rc.Hosts = rc.Hosts.With(all, nil)
	e.live.RouteConfig = &rc
}

// swapHosts puts changed virtual hosts into the tables of live route configurations.
func (s *Store) swapHosts() {
	for route, set := range s.hosts {
		e := s.kinds[plan.KindRouteConfig][route]
		if len(set.changed) == 0 || e == nil || e.live == nil || e.live.Hosts != set.of {
			continue
		}
		var put, gone []*plan.VirtualHost
		for name, before := range set.changed {
			if before != nil {
				gone = append(gone, before)
			}
			if now := set.byName[name]; now != nil {
				put = append(put, now.live.VirtualHost)
			}
		}
		clear(set.changed)
		rc := *e.live.RouteConfig // the one before may be in a published plan
		rc.Hosts = rc.Hosts.With(put, gone)
		e.live.RouteConfig, e.live.updated = &rc, s.cfg.Now()
		s.touch(plan.KindRouteConfig, route)
	}
}
