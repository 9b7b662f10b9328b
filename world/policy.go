package world

import (
	"sync"

	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/lib/persist"
	"lateen.dev/lateen/model"

	security "istio.io/api/security/v1beta1"
)

// byNamespace holds objects of one kind by namespace, each list by age.
type byNamespace[S proto.Message] = persist.Map[string, []*model.Scoped[S]]

// policySet is what is carried as it is, for the workloads that its scope takes in.
type policySet struct {
	authorization  persist.Map[string, []*model.AuthorizationPolicy]
	authentication persist.Map[string, []*model.RequestAuthentication]
	peers          persist.Map[string, []*model.PeerAuthentication]
	telemetry      persist.Map[string, []*model.Telemetry]
	filters        persist.Map[string, []*model.EnvoyFilter]
	proxyConfigs   persist.Map[string, []*model.ProxyConfig]
	plugins        persist.Map[string, []*model.WasmPlugin]
}

// inScope returns the objects that apply to workloads of the namespace with these labels: the root namespace's first, then
// the namespace's own, each by age.
func inScope[S proto.Message](m byNamespace[S], root, namespace string, labels map[string]string) []*model.Scoped[S] {
	var out []*model.Scoped[S]
	add := func(list []*model.Scoped[S]) {
		for _, p := range list {
			if p.Selects(labels) {
				out = append(out, p)
			}
		}
	}
	add(m.At(root))
	if namespace != root {
		add(m.At(namespace))
	}
	return out
}

// mostSpecific returns at most one object of each level, the most general first: the root namespace's, the namespace's, the
// workload's. Of several on one level the oldest counts.
func mostSpecific[S proto.Message](m byNamespace[S], root, namespace string, labels map[string]string) []*model.Scoped[S] {
	var levels [3]*model.Scoped[S]
	put := func(level int, p *model.Scoped[S]) {
		if levels[level] == nil {
			levels[level] = p
		}
	}
	for _, p := range m.At(root) {
		if p.Selector == nil && len(p.TargetRefs) == 0 {
			put(0, p)
		}
	}
	for _, p := range m.At(namespace) {
		switch {
		case !p.Selects(labels):
		case p.Selector != nil:
			put(2, p)
		case namespace != root:
			put(1, p)
		}
	}
	out := make([]*model.Scoped[S], 0, len(levels))
	for _, p := range levels {
		if p != nil {
			out = append(out, p)
		}
	}
	return out
}

// AuthorizationPolicies returns the policies for workloads of the namespace with these labels, the root namespace's first.
func (s *Snapshot) AuthorizationPolicies(namespace string, labels map[string]string) []*model.AuthorizationPolicy {
	return inScope(s.policies.authorization, s.mesh.RootNamespace, namespace, labels)
}

// RequestAuthentications returns the policies for workloads of the namespace with these labels, the root namespace's first.
func (s *Snapshot) RequestAuthentications(namespace string, labels map[string]string) []*model.RequestAuthentication {
	return inScope(s.policies.authentication, s.mesh.RootNamespace, namespace, labels)
}

// EnvoyFilters returns the patches for workloads of the namespace with these labels, the root namespace's first.
func (s *Snapshot) EnvoyFilters(namespace string, labels map[string]string) []*model.EnvoyFilter {
	return inScope(s.policies.filters, s.mesh.RootNamespace, namespace, labels)
}

// WasmPlugins returns the plugins for workloads of the namespace with these labels, the root namespace's first.
func (s *Snapshot) WasmPlugins(namespace string, labels map[string]string) []*model.WasmPlugin {
	return inScope(s.policies.plugins, s.mesh.RootNamespace, namespace, labels)
}

// Telemetries returns the objects that a workload's telemetry is composed of, at most one of each level, the most general
// first: what a later one says goes over what an earlier one said.
func (s *Snapshot) Telemetries(namespace string, labels map[string]string) []*model.Telemetry {
	return mostSpecific(s.policies.telemetry, s.mesh.RootNamespace, namespace, labels)
}

// ProxyConfigs returns the objects that a proxy's own settings are composed of, in the same manner as Telemetries.
func (s *Snapshot) ProxyConfigs(namespace string, labels map[string]string) []*model.ProxyConfig {
	return mostSpecific(s.policies.proxyConfigs, s.mesh.RootNamespace, namespace, labels)
}

// peerAuths remembers the effective peer authentication of whole namespaces. Snapshots with the same policies share it.
type peerAuths struct {
	mu    sync.RWMutex
	known map[string]*model.PeerAuth
}

func newPeerAuths() *peerAuths { return &peerAuths{known: make(map[string]*model.PeerAuth)} }

// PeerAuth returns the effective peer authentication of workloads of the namespace with these labels. Mesh, namespace and
// workload level each override the one before, unset modes inherit, and where nothing is said the mode is PERMISSIVE.
// Port settings count at workload level only. The root namespace speaks for the mesh, never for single workloads.
func (s *Snapshot) PeerAuth(namespace string, labels map[string]string) *model.PeerAuth {
	root := s.mesh.RootNamespace
	if namespace != root {
		for _, p := range s.policies.peers.At(namespace) { // the oldest first
			if p.Selector != nil && p.Selects(labels) {
				return s.composePeerAuth(namespace, p)
			}
		}
	}
	c := s.peerAuths
	c.mu.RLock()
	found := c.known[namespace]
	c.mu.RUnlock()
	if found == nil {
		found = s.composePeerAuth(namespace, nil)
		c.mu.Lock()
		c.known[namespace] = found
		c.mu.Unlock()
	}
	return found
}

func (s *Snapshot) composePeerAuth(namespace string, workload *model.PeerAuthentication) *model.PeerAuth {
	out := &model.PeerAuth{Default: model.MTLSPermissive}
	apply := func(p *model.PeerAuthentication) {
		if p == nil {
			return
		}
		out.From = append(out.From, p.Config)
		if m := mtlsMode(p.Spec.GetMtls()); m != model.MTLSUnset {
			out.Default = m
		}
	}
	root := s.mesh.RootNamespace
	apply(firstForAll(s.policies.peers.At(root)))
	if namespace != root {
		apply(firstForAll(s.policies.peers.At(namespace)))
	}
	apply(workload)
	if workload == nil {
		return out
	}
	for port, mtls := range workload.Spec.GetPortLevelMtls() {
		m := mtlsMode(mtls)
		if m == model.MTLSUnset {
			m = out.Default
		}
		if out.Ports == nil {
			out.Ports = make(map[uint32]model.MTLSMode, len(workload.Spec.GetPortLevelMtls()))
		}
		out.Ports[port] = m
	}
	return out
}

// firstForAll returns the oldest policy that has no selector.
func firstForAll(list []*model.PeerAuthentication) *model.PeerAuthentication {
	for _, p := range list {
		if p.Selector == nil {
			return p
		}
	}
	return nil
}

func mtlsMode(m *security.PeerAuthentication_MutualTLS) model.MTLSMode {
	switch m.GetMode() {
	case security.PeerAuthentication_MutualTLS_DISABLE:
		return model.MTLSDisable
	case security.PeerAuthentication_MutualTLS_PERMISSIVE:
		return model.MTLSPermissive
	case security.PeerAuthentication_MutualTLS_STRICT:
		return model.MTLSStrict
	default:
		return model.MTLSUnset
	}
}
