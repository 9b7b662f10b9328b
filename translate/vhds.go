package translate

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"lateen.dev/lateen/translate/internal/pb"
	"lateen.dev/lateen/xds"
)

// headKey is what a route configuration without virtual hosts is made of.
type headKey struct {
	name  string
	ports bool
	// otherwise is the virtual host that stands in it all the same, on demand.
	otherwise *vhost
}

// sentKey is what a virtual host's resource is made of.
type sentKey struct {
	table string
	host  *vhost
}

// apart makes the route configuration of a proxy that takes virtual hosts one by one, and notes which it shall have.
func (s *scope) apart(name string, ports bool, hosts []*vhost) *xds.Resource {
	if s.tableOnDemand(hosts) {
		return s.apartOnDemand(name, ports, hosts)
	}
	if s.kept.next == nil {
		s.kept.next = map[string][]*vhost{}
	}
	s.kept.next[name] = hosts
	return s.t.answers.heads.get(s.gen.seq, headKey{name: name, ports: ports}, func() *xds.Resource {
		head := tableHead(name, ports)
		head.Vhds = &routev3.Vhds{ConfigSource: pb.ADS()}
		return resource(name, head)
	})
}

// hostResource is a virtual host of a table, as TABLE/HOST.
func (s *scope) hostResource(table string, v *vhost) *xds.Resource {
	return s.t.answers.sent.get(s.gen.seq, sentKey{table, v}, func() *xds.Resource {
		return xds.Assemble(table+"/"+v.name, xds.VirtualHostType, v.body())
	})
}

// sentHosts is the set of all virtual hosts that are sent apart, made of the one before by what changed. It is nil for a
// proxy that takes whole tables.
func (s *scope) sentHosts(before *xds.Set) *xds.Set {
	if !s.key.dialect.VHDS {
		return nil
	}
	var put []*xds.Resource
	var removed []string
	for table, now := range s.kept.next {
		was := s.kept.sent[table]
		if slices.Equal(was, now) {
			continue
		}
		for _, v := range onlyIn(now, was) {
			put = append(put, s.hostResource(table, v))
		}
		for _, v := range onlyIn(was, now) {
			removed = append(removed, table+"/"+v.name)
		}
	}
	for table, was := range s.kept.sent {
		if _, stays := s.kept.next[table]; stays {
			continue
		}
		for _, v := range was {
			removed = append(removed, table+"/"+v.name)
		}
	}
	s.kept.sent, s.kept.next = s.kept.next, nil
	told := before
	switch {
	case before == nil:
		told = xds.NewSet(xds.VirtualHostType, put)
	case len(put)+len(removed) > 0:
		told = before.With(put, removed) // of a name that is put and removed, the put counts
	}
	if s.key.onDemand {
		return s.hostsOnDemand(before, told)
	}
	return told
}

// onlyIn lists the hosts of a that b lacks. Tables mostly differ in a few hosts only, at the same places.
func onlyIn(a, b []*vhost) (out []*vhost) {
	if slices.EqualFunc(a, b, func(x, y *vhost) bool { return x.name == y.name }) {
		for i, v := range a {
			if v != b[i] {
				out = append(out, v)
			}
		}
		return out
	}
	in := make(map[*vhost]bool, len(b))
	for _, v := range b {
		in[v] = true
	}
	for _, v := range a {
		if !in[v] {
			out = append(out, v)
		}
	}
	return out
}
