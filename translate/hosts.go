package translate

import (
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/listener"
	"lateen.dev/lateen/translate/internal/pb"
)

// virtualHostsField is the number of RouteConfiguration.virtual_hosts.
const virtualHostsField = 2

// vhost is a virtual host, marshalled as a field of a route configuration.
type vhost struct {
	name    string
	domains []string
	field   []byte
	// at is where the virtual host itself begins in that.
	at int
	// parent is the host's name behind the first label. Tables are sorted by it, so that hosts whose short names differ in some
	// namespace's table stand together.
	parent string
	// ends says that a run ends with it.
	ends bool
}

// body is the virtual host alone.
func (v *vhost) body() []byte { return v.field[v.at:] }

func pack(m *routev3.VirtualHost) *vhost {
	return packBytes(m.GetName(), m.GetDomains(), pb.Marshal(m))
}

func packBytes(name string, domains []string, body []byte) *vhost {
	at := protowire.SizeTag(virtualHostsField) + protowire.SizeVarint(uint64(len(body)))
	b := protowire.AppendTag(make([]byte, 0, at+len(body)), virtualHostsField, protowire.BytesType)
	_, parent, _ := strings.Cut(name[:max(strings.LastIndexByte(name, ':'), 0)], ".")
	return &vhost{name: name, domains: domains, at: at, field: protowire.AppendBytes(b, body), parent: parent, ends: endsRun(name)}
}

// endsRun chooses every 16th name: the same ones everywhere, so that what stands in between is cut alike in all tables and by
// all replicas, whatever else the tables have.
func endsRun(name string) bool {
	const every = 16
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32()%every == 0
}

// inTable is the order of virtual hosts in a table.
func inTable(a, b *vhost) int {
	if c := strings.Compare(a.parent, b.parent); c != 0 {
		return c
	}
	return strings.Compare(a.name, b.name)
}

// hostList is a table's virtual hosts without the one for everything else, and what they were found with. Its slices are
// not changed once it is made.
type hostList struct {
	index *routeIndex
	// foreign are those of hosts that no service declares.
	foreign []*vhost
	// hosts are all in the order of the table, without domains that an earlier one has.
	hosts []*vhost
	// runs are the same; nil until they are needed.
	runs []*run
}

// virtualHosts lists a table's hosts, and the one for everything else last.
func (s *scope) virtualHosts(n routeTableName) []*vhost { return s.withRest(n, s.hosts(n).hosts) }

func (s *scope) withRest(n routeTableName, hosts []*vhost) []*vhost {
	if n.only != "" {
		return hosts
	}
	return append(slices.Clip(hosts), s.elsewhere(n.open))
}

// hosts lists a table's hosts.
func (s *scope) hosts(n routeTableName) *hostList {
	index := s.routeIndex(n)
	var foreign []*vhost
	if n.only == "" {
		foreign = s.foreignHosts(n, index)
	}
	list := s.patched(n, s.kept.hosts[n.name], index, foreign)
	if list == nil {
		list = &hostList{index: index, foreign: foreign, hosts: s.distinct(append(s.serviceHosts(n, index), foreign...))}
	}
	if s.kept.hosts == nil {
		s.kept.hosts = map[string]*hostList{}
	}
	s.kept.hosts[n.name] = list
	return list
}

// serviceHosts lists the hosts of services in the order in which they compete for domains.
func (s *scope) serviceHosts(n routeTableName, index *routeIndex) []*vhost {
	var out []*vhost
	for _, e := range s.egresses(n.egress) {
		for _, svc := range e.Services {
			s.portHosts(n, index, svc, func(v *vhost) bool {
				out = append(out, v)
				return true
			})
		}
	}
	return out
}

// portHosts yields the hosts of a service's ports that belong into the table.
func (s *scope) portHosts(n routeTableName, index *routeIndex, svc *model.Service, yield func(*vhost) bool) {
	if svc.Resolution == model.Alias || n.only != "" && svc.Hostname != n.only {
		return
	}
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if listener.KindOf(p.Protocol) != listener.KindTCP && (n.port == 0 || p.Number == n.port) && !yield(s.serviceHost(n, index, svc, p)) {
			return
		}
	}
}

// distinct takes from each host the domains that an earlier one has, and puts what is left into the order of the table.
func (s *scope) distinct(found []*vhost) []*vhost {
	out := make([]*vhost, 0, len(found))
	taken := make(map[string]bool, 4*len(found))
	for _, v := range found {
		if slices.ContainsFunc(v.domains, func(d string) bool { return taken[d] }) {
			free := slices.DeleteFunc(slices.Clone(v.domains), func(d string) bool { return taken[d] })
			if len(free) == 0 {
				continue
			}
			v = s.withDomains(v, free)
		}
		for _, d := range v.domains {
			taken[d] = true
		}
		out = append(out, v)
	}
	return sorted(out)
}

// sorted puts hosts that are nearly in the order of their names into the order of the table.
func sorted(hosts []*vhost) []*vhost {
	of := map[string][]*vhost{}
	for _, v := range hosts {
		of[v.parent] = append(of[v.parent], v)
	}
	out := make([]*vhost, 0, len(hosts))
	for _, parent := range slices.Sorted(maps.Keys(of)) {
		group := of[parent]
		if !slices.IsSortedFunc(group, inTable) {
			slices.SortStableFunc(group, inTable)
		}
		out = append(out, group...)
	}
	return out
}

// patched is the list after a change of routes alone: most of those touch one virtual host of a thousand. It is nil if the
// hosts must be found anew.
func (s *scope) patched(n routeTableName, before *hostList, index *routeIndex, foreign []*vhost) *hostList {
	if before == nil || !s.sameServices || len(s.world.Egress) != 1 ||
		!slices.Equal(before.index.wild, index.wild) || len(before.foreign) != len(foreign) {
		return nil
	}
	p := patch{hosts: before.hosts}
	for i, v := range foreign {
		old := before.foreign[i]
		if v == old {
			continue
		}
		// Of routes that claim the same host, only the first one's stands in the list.
		if v.name != old.name || !slices.Contains(p.hosts, old) || !p.replace(v) {
			return nil
		}
	}
	services := s.world.Egress[0].Services
	for host := range index.changedSince(before.index) {
		i, ok := slices.BinarySearchFunc(services, host, func(svc *model.Service, host string) int { return strings.Compare(svc.Hostname, host) })
		if !ok {
			continue // a foreign one
		}
		ok = true
		s.portHosts(n, index, services[i], func(v *vhost) bool {
			ok = p.replace(v)
			return ok
		})
		if !ok {
			return nil
		}
	}
	return &hostList{index: index, foreign: foreign, hosts: p.hosts, runs: s.t.answers.cutAgain(before.runs, p.hosts, p.at)}
}

// patch replaces hosts in a list, of which it makes a copy.
type patch struct {
	hosts []*vhost
	// at is where.
	at []int
}

// replace puts a host into the place of the one with its name. It fails if that changes more. A host that isn't in the list
// has lost all its domains to others, whatever its routes are.
func (p *patch) replace(v *vhost) bool {
	i, ok := slices.BinarySearchFunc(p.hosts, v, inTable)
	if !ok || p.hosts[i] == v {
		return true
	}
	if !slices.Equal(p.hosts[i].domains, v.domains) || i+1 < len(p.hosts) && p.hosts[i+1].name == v.name {
		return false
	}
	if p.at == nil {
		p.hosts = slices.Clone(p.hosts)
	}
	p.hosts[i] = v
	p.at = append(p.at, i)
	return true
}
