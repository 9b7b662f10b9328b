package translate

import (
	"slices"
	"strconv"
	"sync"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/listener"
	"lateen.dev/lateen/translate/internal/stencil"
	"lateen.dev/lateen/xds"
)

// inboundShape is what inbound sides have in common that differ in the names of services only: the workloads of a namespace,
// mostly. The second one and all others are written by Stencils.
type inboundShape struct {
	// keep is what the shape's description points to.
	keep *inboundInput

	mu sync.Mutex
	// first is the one that was made of messages, with its names.
	first *inbound
	names []string
	// tried says that there are Stencils, or none can be had.
	tried               bool
	listeners, clusters []*stencil.Stencil
}

// shape describes an inbound side without the names of services, and lists those. It is false for one that no Stencil should
// write.
func (in *inboundInput) shape() (shape string, names []string, ok bool) {
	if in.grpc != nil {
		return "", nil, false
	}
	for _, list := range [][]listener.InboundPort{in.chains.Ports, in.chains.Modes} {
		if slices.ContainsFunc(list, func(p listener.InboundPort) bool { return p.Owner != nil }) {
			return "", nil, false // its host is the Sidecar's name
		}
	}
	shape = in.describe(func(name string) string {
		if name == "" {
			return "" // an undeclared port's
		}
		i := slices.Index(names, name)
		if i < 0 {
			i = len(names)
			names = append(names, name)
		}
		return strconv.Itoa(i)
	})
	return shape, names, len(names) <= stencil.Holes && !slices.ContainsFunc(names, func(n string) bool { return !stencil.Free(n) })
}

// inbound is the inbound side of the shape with the names.
func (s *inboundShape) inbound(in *inboundInput, names []string) *inbound {
	if made := s.prepare(in, names); made != nil {
		return made
	}
	if s.listeners == nil {
		return in.make()
	}
	return s.write(in, names)
}

// prepare makes the first inbound side, or tries to make Stencils. After that nothing of the shape changes any more.
func (s *inboundShape) prepare(in *inboundInput, names []string) *inbound {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.first == nil:
		s.first, s.names = in.make(), names
		return s.first
	case !s.tried:
		s.tried = true
		if s.compile(in, names) && !s.proves() {
			s.listeners, s.clusters = nil, nil
		}
	}
	return nil
}

// compile makes the Stencils.
func (s *inboundShape) compile(in *inboundInput, names []string) bool {
	listeners, clusters := in.withHoles(names).messages()
	ls, cs := make([]*stencil.Stencil, len(listeners)), make([]*stencil.Stencil, len(clusters))
	for i, l := range listeners {
		ls[i] = stencil.New(l)
	}
	for i, c := range clusters {
		cs[i] = stencil.New(c)
	}
	if slices.Contains(ls, nil) || slices.Contains(cs, nil) {
		return false
	}
	s.listeners, s.clusters = ls, cs
	return true
}

// proves reports whether the Stencils write what was made of messages.
func (s *inboundShape) proves() bool {
	same := func(a, b *xds.Resource) bool { return a.Version == b.Version }
	again := s.write(s.first.keep, s.names)
	return slices.EqualFunc(again.listeners, s.first.listeners, same) && slices.EqualFunc(again.clusters, s.first.clusters, same)
}

func (s *inboundShape) write(in *inboundInput, names []string) *inbound {
	out := &inbound{keep: in}
	var v stencil.Values
	copy(v.Text[:], names)
	var b []byte
	for i, st := range s.listeners {
		b = st.Append(b[:0], &v)
		out.listeners = append(out.listeners, xds.Assemble(s.first.listeners[i].Name, xds.ListenerType, b))
	}
	for i, st := range s.clusters {
		b = st.Append(b[:0], &v)
		out.clusters = append(out.clusters, xds.Assemble(s.first.clusters[i].Name, xds.ClusterType, b))
	}
	return out
}

// withHoles is the input with holes in place of the names.
func (in *inboundInput) withHoles(names []string) *inboundInput {
	hole := func(name string) string {
		if name == "" {
			return ""
		}
		return stencil.Hole(slices.Index(names, name))
	}
	out := *in
	out.chains.Ports = slices.Clone(in.chains.Ports)
	for i := range out.chains.Ports {
		out.chains.Ports[i].Host = hole(out.chains.Ports[i].Host)
	}
	out.clusters = slices.Clone(in.clusters)
	for i := range out.clusters {
		services := out.clusters[i].Services
		out.clusters[i].Services = make([]*model.Service, len(services))
		for j, svc := range services {
			out.clusters[i].Services[j] = &model.Service{Hostname: hole(svc.Hostname), Name: hole(svc.Name), Namespace: hole(svc.Namespace)}
		}
	}
	return &out
}
