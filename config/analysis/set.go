package analysis

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/config/mesh"
	"lateen.dev/lateen/config/protocol"
)

// Set holds objects ready for analysis while they come and go, so that judging
// a few of them costs what they touch and not what the mesh has. It is for one
// goroutine at a time.
type Set struct{ f *facts }

// NewSet makes a Set of objects, of which no two have the same key. They must
// have passed validation.
func NewSet(objects []*config.Object) *Set {
	s := &Set{}
	s.rebuild(slices.Clone(objects))
	return s
}

func (s *Set) rebuild(objects []*config.Object) {
	s.f = &facts{
		kinds: map[config.Kind][]*config.Object{}, byKey: make(map[config.Key]*config.Object, len(objects)),
		exact: map[host.Name][]service{}, rules: map[host.Name][]*config.Object{}, labelled: map[label][]workload{},
		routed: map[host.Name][]routeClaim{}, spoken: map[hostPort][]portClaim{}, mesh: mesh.Default(),
	}
	slices.SortFunc(objects, compareObjects)
	for _, o := range objects {
		if spec := config.As[*config.MeshConfigSpec](o); spec != nil {
			if m, err := mesh.Apply(mesh.Default(), spec); err == nil {
				s.f.mesh = m
			}
		}
	}
	for _, o := range objects {
		s.f.file(o)
	}
}

// Put takes an object in, in place of the one with its key.
func (s *Set) Put(o *config.Object) {
	old := s.f.byKey[o.Key]
	if o.Kind == config.MeshConfig {
		// Much follows from it, and it rarely changes.
		s.f.byKey[o.Key] = o
		s.rebuild(slices.Collect(maps.Values(s.f.byKey)))
		return
	}
	if old != nil {
		s.f.unfile(old)
	}
	s.f.file(o)
}

// Delete takes an object out.
func (s *Set) Delete(key config.Key) {
	old := s.f.byKey[key]
	switch {
	case old == nil:
	case key.Kind == config.MeshConfig:
		delete(s.f.byKey, key)
		s.rebuild(slices.Collect(maps.Values(s.f.byKey)))
	default:
		s.f.unfile(old)
	}
}

// Analyze returns every complaint about the Set, sorted by place.
func (s *Set) Analyze() config.Problems { return s.f.analyze(nil) }

// About returns what Analyze would say about these objects if they were in the
// Set, in place of those with their keys. The Set stays as it is.
func (s *Set) About(objects []*config.Object) config.Problems {
	before := make([]*config.Object, len(objects))
	about := map[config.Kind][]*config.Object{}
	for i, o := range objects {
		before[i] = s.f.byKey[o.Key]
		s.Put(o)
		about[o.Kind] = insert(about[o.Kind], o, compareObjects)
	}
	problems := s.f.analyze(about)
	for i, o := range slices.Backward(objects) {
		if before[i] != nil {
			s.Put(before[i])
		} else {
			s.Delete(o.Key)
		}
	}
	return problems
}

func (f *facts) analyze(about map[config.Kind][]*config.Object) config.Problems {
	f.about, f.problems = about, nil
	for _, analyze := range analyzers {
		analyze(f)
	}
	f.about = nil
	return f.problems.Sorted()
}

// compareObjects puts Services before ServiceEntries, as they count first.
func compareObjects(a, b *config.Object) int {
	if a.Kind != b.Kind && a.Kind == config.Service {
		return -1
	}
	if a.Kind != b.Kind && b.Kind == config.Service {
		return 1
	}
	return a.Compare(b.Key)
}

// insert puts an entry into a sorted list, after those that are equal.
func insert[T any](list []T, entry T, compare func(T, T) int) []T {
	if n := len(list); n == 0 || compare(list[n-1], entry) <= 0 {
		return append(list, entry)
	}
	i, _ := slices.BinarySearchFunc(list, entry, func(a, b T) int {
		if compare(a, b) <= 0 {
			return -1
		}
		return 1
	})
	return slices.Insert(list, i, entry)
}

// without takes the entries of an object out of a sorted list.
func without[T any](list []T, o *config.Object, compare func(T, *config.Object) int) []T {
	i, found := slices.BinarySearchFunc(list, o, compare)
	if !found {
		return list
	}
	end := i + 1
	for end < len(list) && compare(list[end], o) == 0 {
		end++
	}
	return slices.Delete(list, i, end)
}

// from lets entries of every index be compared and found by their object.
type from interface{ from() *config.Object }

func compareFrom[T from](a, b T) int { return compareObjects(a.from(), b.from()) }

func (w workload) from() *config.Object   { return w.object }
func (s service) from() *config.Object    { return s.object }
func (c routeClaim) from() *config.Object { return c.object }
func (c portClaim) from() *config.Object  { return c.object }

// filing is either taking an object into the indexes or out of them.
type filing struct {
	f   *facts
	o   *config.Object
	out bool
}

func (f *facts) file(o *config.Object) {
	f.byKey[o.Key] = o
	filing{f: f, o: o}.everywhere()
}

func (f *facts) unfile(o *config.Object) {
	delete(f.byKey, o.Key)
	filing{f: f, o: o, out: true}.everywhere()
}

func (x filing) everywhere() {
	fileObject(x, x.f.kinds, x.o.Kind)
	switch spec := x.o.Spec.(type) {
	case *config.ServiceSpec:
		x.service(service{x.o, host.FQDN(x.o.Name, x.o.Namespace, ""), len(spec.Ports), annotationList(x.o, "networking.istio.io/exportTo")})
	case *networking.ServiceEntry:
		x.serviceEntry(spec)
	case *networking.WorkloadEntry:
		w := workload{x.o, labelsOf(x.o)}
		for name, value := range w.labels {
			for _, ns := range []string{x.o.Namespace, anyNamespace} {
				fileEntry(x, x.f.labelled, label{ns, name, value}, w)
			}
		}
	case *networking.DestinationRule:
		h := host.Resolve(strings.ToLower(spec.Host), x.o.Namespace, "")
		if h.IsWildcard() {
			x.f.wildRule = x.object(x.f.wildRule)
		} else {
			fileObject(x, x.f.rules, h)
		}
	case *networking.VirtualService:
		if !onMesh(spec) {
			return
		}
		for i, h := range spec.Hosts {
			fileEntry(x, x.f.routed, host.Resolve(strings.ToLower(h), x.o.Namespace, ""), routeClaim{x.o, i})
		}
	}
}

func (x filing) serviceEntry(se *networking.ServiceEntry) {
	for _, h := range se.Hosts {
		h = strings.ToLower(h)
		x.service(service{x.o, host.Name(h), len(se.Ports), se.ExportTo})
		for i, p := range se.Ports {
			fileEntry(x, x.f.spoken, hostPort{h, p.Number}, portClaim{x.o, i, protocol.Parse(p.Protocol).String()})
		}
	}
}

func (x filing) service(s service) {
	if len(s.exportTo) == 0 {
		s.exportTo = x.f.mesh.GetDefaultServiceExportTo()
	}
	if s.host.IsWildcard() {
		x.f.wild = edit(x, x.f.wild, s)
		return
	}
	fileEntry(x, x.f.exact, s.host, s)
}

func fileEntry[K comparable, T from](x filing, into map[K][]T, key K, entry T) {
	if into[key] = edit(x, into[key], entry); len(into[key]) == 0 {
		delete(into, key)
	}
}

func edit[T from](x filing, list []T, entry T) []T {
	if x.out {
		return without(list, x.o, func(t T, o *config.Object) int { return compareObjects(t.from(), o) })
	}
	return insert(list, entry, compareFrom)
}

func fileObject[K comparable](x filing, into map[K][]*config.Object, key K) {
	if into[key] = x.object(into[key]); len(into[key]) == 0 {
		delete(into, key)
	}
}

func (x filing) object(list []*config.Object) []*config.Object {
	if x.out {
		return without(list, x.o, compareObjects)
	}
	return insert(list, x.o, compareObjects)
}
