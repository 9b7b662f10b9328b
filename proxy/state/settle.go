package state

import (
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/plan"
)

// incoming is a resource as it arrives.
type incoming struct {
	body   *anypb.Any
	info   string
	static bool
}

func (s *Store) entry(kind plan.Kind, name string) *entry {
	e := s.kinds[kind][name]
	if e == nil {
		e = &entry{name: name}
		s.kinds[kind][name] = e
	}
	return e
}

// put compiles a resource and makes it live or warming.
func (s *Store) put(kind plan.Kind, name string, in incoming) error {
	if e := s.kinds[kind][name]; e != nil && e.static && !in.static {
		return errors.New("a static resource of this name is in the bootstrap")
	}
	c, err := s.cfg.Compiler.Resource(kind, name, in.body)
	if err == nil {
		err = s.staticSecrets(c.Needs.Secrets)
	}
	if err == nil {
		err = s.sources(c.Needs)
	}
	if err == nil && c.Extension != nil {
		err = s.accepts(c.Extension)
	}
	if r, ok := s.cfg.Engine.(reserver); ok && err == nil && c.Listener != nil {
		err = r.Reserve(c.Listener)
	}
	e := s.entry(kind, name)
	if err != nil {
		e.refusals++
		e.failure = &Failure{Details: err.Error(), Version: in.info, Time: s.cfg.Now(), Body: in.body}
		// What can't be used has arrived all the same: nobody need wait for it any longer.
		s.arrived(kind, name)
		s.there = append(s.there, key{kind, name})
		return err
	}
	e.static, e.failure = in.static, nil
	v := &version{Compiled: c, body: in.body, info: in.info, updated: s.cfg.Now()}
	if v.Secret != nil {
		v.Secret.VersionInfo, v.Secret.Updated = in.info, v.updated
	}
	if len(v.Needs.VirtualHosts) == 0 || e.live != nil {
		s.arrived(kind, name) // otherwise it has only when its virtual hosts have
	}
	if e.live.same(v) {
		e.live.info, e.warming = in.info, nil
		delete(s.pending[kind], name)
		delete(s.lost, name)
		s.there = append(s.there, key{kind, name})
		return nil
	}
	e.warming = v
	s.pending[kind][name] = e
	if kind == plan.KindCluster {
		delete(s.lost, name)
	}
	s.noteRefs(kind)
	if len(v.Needs.VirtualHosts) > 0 {
		s.refsChanged = true
	}
	return nil
}

// reserver is an engine that can open a listener's sockets before the listener goes live, so that one that can't be
// opened is refused when it arrives, as Envoy does, and not when what it waits for is there.
type reserver interface {
	Reserve(l *plan.Listener) error
	Unreserve(listener string)
}

// noteRefs remembers that references to other resources may have changed.
func (s *Store) noteRefs(kind plan.Kind) {
	s.refsChanged = s.refsChanged || kind == plan.KindListener || kind == plan.KindCluster ||
		s.demanding && (kind == plan.KindRouteConfig || kind == plan.KindVirtualHost)
}

// staticSecrets checks that the secrets that must be there already are.
func (s *Store) staticSecrets(needs []compile.Need) error {
	for _, n := range needs {
		if n.Static && !s.local[n.Name] && s.kinds[plan.KindSecret][n.Name] == nil {
			return fmt.Errorf("secret %q has no sds_config and is not among the static secrets", n.Name)
		}
	}
	return nil
}

// sources checks that there is somebody who asks the sources that a resource names. A proxy that is under a control plane
// as a whole asks on the one stream that it has, whatever service the resource names.
func (s *Store) sources(needs compile.Needs) error {
	for kind, list := range map[plan.Kind][]compile.Need{plan.KindRouteConfig: needs.RouteConfigs, plan.KindEndpoints: needs.Endpoints,
		plan.KindSecret: needs.Secrets, plan.KindVirtualHost: needs.VirtualHosts, plan.KindExtension: needs.Extensions} {
		for _, n := range list {
			e := s.kinds[kind][n.Name]
			switch {
			case n.Static || e != nil && e.static || kind == plan.KindSecret && s.local[n.Name]:
			case s.elsewhere == nil && n.From.Path != "":
				return fmt.Errorf("resource %q: path_config_source is not supported in what a control plane sends", n.Name)
			case s.elsewhere != nil && n.From.Aggregated() && s.subscriber == nil:
				return fmt.Errorf("resource %q comes by ads, and the bootstrap has no ads_config", n.Name)
			}
		}
	}
	return nil
}

// same reports whether v says the same as what is live.
func (old *version) same(v *version) bool {
	switch {
	case old == nil:
		return false
	case v.Listener != nil:
		return old.Listener.Version == v.Listener.Version
	case v.RouteConfig != nil:
		return old.RouteConfig.Version == v.RouteConfig.Version
	case v.Cluster != nil:
		return old.Cluster.Version == v.Cluster.Version && old.Cluster.Discovery == v.Cluster.Discovery &&
			(v.Cluster.Discovery == plan.EDS || endpointsVersion(old.Cluster) == endpointsVersion(v.Cluster))
	case v.Endpoints != nil:
		return old.Endpoints.Version == v.Endpoints.Version
	case v.Extension != nil:
		return old.Extension.Version == v.Extension.Version
	}
	return old.Secret.Version == v.Secret.Version
}

func endpointsVersion(c *plan.Cluster) plan.Hash {
	if c.Endpoints == nil {
		return 0
	}
	return c.Endpoints.Version
}

// remove takes a resource away. Routes, endpoints and secrets go only when nothing refers to them any more: a server
// that takes them away first would otherwise break what still runs. A filter's configuration goes at once, as in Envoy: then its
// default applies, or requests are refused.
func (s *Store) remove(kind plan.Kind, name string) {
	if kind == plan.KindVirtualHost {
		s.removeHost(name)
		return
	}
	if kind == plan.KindCluster && s.keepsCluster(name) {
		return
	}
	s.arrived(kind, name)
	if kind != plan.KindListener && kind != plan.KindCluster && kind != plan.KindExtension {
		return
	}
	if kind == plan.KindListener {
		s.none = append(s.none, key{kind, name})
	}
	if e := s.kinds[kind][name]; e != nil && !e.static {
		if r, ok := s.cfg.Engine.(reserver); ok && kind == plan.KindListener {
			r.Unreserve(name)
		}
		delete(s.kinds[kind], name)
		delete(s.pending[kind], name)
		s.touch(kind, name)
		s.noteRefs(kind)
	}
}

// arrived notes that a name needs no more waiting for.
func (s *Store) arrived(kind plan.Kind, name string) {
	if w := s.wants[key{kind, name}]; w != nil {
		w.settled = true
	}
}

// settle brings everything to rest after a change: subscriptions, warming, and the plan. It returns the listeners that
// the engine could not open.
func (s *Store) settle() []plan.Rejection {
	s.dropLost()
	s.resubscribe()
	s.promote()
	// What went live may have dropped the last reference to something.
	s.resubscribe()
	rejected := s.publish()
	s.asks.answer(s.there, s.none)
	s.there, s.none = s.there[:0], s.none[:0]
	s.forget()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return rejected
}

// promote makes live what has nothing left to wait for. Kinds that others wait for come first.
func (s *Store) promote() {
	endpoints := map[string]bool{}
	for _, kind := range []plan.Kind{plan.KindSecret, plan.KindEndpoints, plan.KindRouteConfig, plan.KindCluster, plan.KindVirtualHost,
		plan.KindExtension, plan.KindListener} {
		for name, e := range s.pending[kind] {
			if !s.warm(e.warming) {
				continue
			}
			delete(s.pending[kind], name)
			if kind == plan.KindListener || kind == plan.KindVirtualHost {
				s.there = append(s.there, key{kind, name})
			}
			if kind == plan.KindVirtualHost {
				s.placeHost(name, e)
				s.refsChanged = true
				continue
			}
			e.live, e.warming = e.warming, nil
			e.reloads++
			s.touch(kind, name)
			switch kind {
			case plan.KindEndpoints:
				endpoints[name] = true
			case plan.KindRouteConfig:
				s.arrived(kind, name)
				s.refsChanged = s.refsChanged || s.demanding || len(e.live.Needs.VirtualHosts) > 0 || s.hosts[name] != nil
				s.changeTable(e)
				s.takeHosts(e)
			case plan.KindCluster:
				s.refsChanged = true
				if e.live.Cluster.Discovery == plan.EDS {
					s.attach(e)
				}
			case plan.KindListener:
				s.refsChanged = true
			}
		}
		if kind == plan.KindEndpoints && len(endpoints) > 0 {
			s.spread(endpoints)
		}
		if kind == plan.KindRouteConfig || kind == plan.KindVirtualHost {
			s.swapHosts()
		}
	}
}

// spread gives new endpoints to the clusters that are live with them.
func (s *Store) spread(names map[string]bool) {
	for _, e := range s.kinds[plan.KindCluster] {
		if e.live != nil && e.live.Cluster.Discovery == plan.EDS && names[e.live.Cluster.EDSName] {
			s.attach(e)
			s.touch(plan.KindCluster, e.name)
		}
	}
}

// attach gives a cluster its endpoints: a copy, because the cluster may be in a published plan.
func (s *Store) attach(e *entry) {
	c := *e.live.Cluster
	if eps := s.kinds[plan.KindEndpoints][c.EDSName]; eps != nil && eps.live != nil {
		c.Endpoints = compile.ForCluster(&c, eps.live.Endpoints)
	}
	e.live.Cluster = &c
}

// warm reports whether v has everything it waits for.
func (s *Store) warm(v *version) bool { return s.missing(v) == "" }

// missing names the first thing that v waits for.
func (s *Store) missing(v *version) string {
	now := s.cfg.Now()
	name := ""
	v.each(func(kind plan.Kind, n compile.Need) {
		if name != "" || n.Default {
			return
		}
		w := s.wants[key{kind, n.Name}]
		if w == nil || w.settled {
			return
		}
		if !w.deadline.IsZero() && !now.Before(w.deadline) {
			w.settled = true
			s.cfg.Log.Warn("resource did not arrive in time, going on without it", slog.String("kind", kind.String()), slog.String("name", n.Name))
			return
		}
		name = fmt.Sprintf("%s %q", noun(kind), n.Name)
	})
	if name == "" {
		if c := s.missingCluster(v); c != "" {
			name = fmt.Sprintf("%s %q", noun(plan.KindCluster), c)
		}
	}
	return name
}

// each calls f with everything that v needs.
func (v *version) each(f func(plan.Kind, compile.Need)) {
	if v == nil {
		return
	}
	for _, n := range v.Needs.RouteConfigs {
		f(plan.KindRouteConfig, n)
	}
	for _, n := range v.Needs.Endpoints {
		f(plan.KindEndpoints, n)
	}
	for _, n := range v.Needs.Secrets {
		f(plan.KindSecret, n)
	}
	for _, n := range v.Needs.VirtualHosts {
		f(plan.KindVirtualHost, n)
	}
	for _, n := range v.Needs.Extensions {
		f(plan.KindExtension, n)
	}
}

// resubscribe brings wants and subscriptions in line with what is needed, and drops resources that no longer are.
func (s *Store) resubscribe() {
	for s.refsChanged {
		s.refsChanged = false
		s.resubscribeOnce()
	}
}

func (s *Store) resubscribeOnce() {
	needed := map[key]compile.Need{}
	note := func(k plan.Kind, n compile.Need) {
		if _, ok := needed[key{k, n.Name}]; !ok {
			needed[key{k, n.Name}] = n
		}
	}
	for _, kind := range []plan.Kind{plan.KindListener, plan.KindCluster} {
		for _, e := range s.kinds[kind] {
			e.live.each(note)
			e.warming.each(note)
		}
	}
	for name, e := range s.kinds[plan.KindRouteConfig] {
		if _, ok := needed[key{plan.KindRouteConfig, name}]; ok {
			e.live.each(note)
			e.warming.each(note)
		}
	}
	s.noteClusters(note)
	add, gone := bySource{}, bySource{}
	for k, w := range s.wants {
		n, ok := needed[k]
		if ok && n.From == w.from {
			continue
		}
		if w.asked {
			gone.put(k, w.from)
		}
		asked := w.asked
		w.asked, w.from = false, n.From
		if !ok {
			delete(s.wants, k)
			s.drop(k, asked)
		}
	}
	for k, n := range needed {
		s.want(k, n, add)
	}
	for _, kind := range []plan.Kind{plan.KindCluster, plan.KindEndpoints, plan.KindRouteConfig, plan.KindSecret, plan.KindVirtualHost,
		plan.KindExtension} {
		for from, names := range gone[kind] {
			s.subscriberOf(from).Unsubscribe(typeOf(kind), names...)
		}
		for from, names := range add[kind] {
			s.subscriberOf(from).Subscribe(typeOf(kind), names...)
		}
	}
}

// bySource is names by kind and source.
type bySource map[plan.Kind]map[plan.Source][]string

func (l bySource) put(k key, from plan.Source) {
	if l[k.kind] == nil {
		l[k.kind] = map[plan.Source][]string{}
	}
	l[k.kind][from] = append(l[k.kind][from], k.name)
}

// subscriberOf returns who asks a source; nil while there is nobody.
func (s *Store) subscriberOf(from plan.Source) Subscriber {
	if s.elsewhere != nil && !from.Aggregated() {
		return s.elsewhere(from)
	}
	return s.subscriber
}

func (s *Store) want(k key, n compile.Need, add bySource) {
	w := s.wants[k]
	if w == nil {
		w = &want{from: n.From}
		if n.Timeout > 0 {
			w.deadline = s.cfg.Now().Add(n.Timeout)
		}
		if e := s.kinds[k.kind][k.name]; e != nil && (e.live != nil || e.warming != nil) {
			w.settled = true
		}
		s.wants[k] = w
	}
	if !w.asked && !s.provided(k, s.kinds[k.kind][k.name]) && s.subscriberOf(n.From) != nil {
		w.asked = true
		add.put(k, n.From)
	}
}

// drop forgets a resource that nothing needs, unless it came otherwise than by subscription.
func (s *Store) drop(k key, asked bool) {
	switch k.kind {
	case plan.KindVirtualHost:
		if e := s.kinds[plan.KindRouteConfig][k.name]; e == nil || e.live == nil || e.live.RouteConfig.Demand == nil {
			s.dropHosts(k.name)
		}
		return
	case plan.KindCluster:
		_, lost := s.lost[k.name]
		delete(s.lost, k.name)
		if !asked && !lost {
			return // the wildcard's
		}
		s.refsChanged = true
	case plan.KindRouteConfig:
		s.asks.drop(k.name)
		s.dropHosts(k.name)
	}
	e := s.kinds[k.kind][k.name]
	if e == nil || e.static || k.kind == plan.KindSecret && s.local[k.name] {
		return
	}
	delete(s.kinds[k.kind], k.name)
	delete(s.pending[k.kind], k.name)
	s.touch(k.kind, k.name)
}
