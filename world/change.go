package world

import "lateen.dev/lateen/model"

// Effect says in what respect a service changed; effects add up.
type Effect uint8

// The effects.
const (
	// Endpoints were added, removed, or changed.
	EndpointsChanged Effect = 1 << iota
	// IdentitiesChanged: the set of the endpoints' SPIFFE ids changed, or whether all of them take mutual TLS. Clusters
	// depend on it. It comes with EndpointsChanged.
	IdentitiesChanged
	// DefinitionChanged: the service itself was added, removed, or changed.
	DefinitionChanged
)

// Change says what differs between two Snapshots.
type Change struct {
	// From is the version it starts at; zero if there was no Snapshot before.
	From, To uint64
	// Mesh says that MeshConfig changed: everything may differ.
	Mesh bool
	// Services are the services that differ.
	Services map[model.ServiceKey]Effect
	// VirtualServices, DestinationRules, Gateways and Sidecars are the objects whose values differ. A DestinationRule that
	// was merged with others stands under each of them; a delegate makes the routes differ that it is part of.
	VirtualServices  map[model.ConfigKey]struct{}
	DestinationRules map[model.ConfigKey]struct{}
	Gateways         map[model.ConfigKey]struct{}
	Sidecars         map[model.ConfigKey]struct{}
	// Policies are the objects of the other kinds that differ: security, telemetry, EnvoyFilter, ProxyConfig, WasmPlugin.
	Policies map[model.ConfigKey]struct{}
}

// Empty reports whether nothing differs.
func (c *Change) Empty() bool {
	return !c.Mesh && len(c.Services) == 0 && len(c.VirtualServices) == 0 && len(c.DestinationRules) == 0 &&
		len(c.Gateways) == 0 && len(c.Sidecars) == 0 && len(c.Policies) == 0
}

// EndpointsOnly reports whether nothing differs but endpoints whose identities are the same, so that nothing but endpoint
// resources need be made anew.
func (c *Change) EndpointsOnly() bool {
	if c.Mesh || len(c.VirtualServices)+len(c.DestinationRules)+len(c.Gateways)+len(c.Sidecars)+len(c.Policies) > 0 {
		return false
	}
	for _, e := range c.Services {
		if e != EndpointsChanged {
			return false
		}
	}
	return true
}

// Then returns the change that c and the later one make together.
func (c Change) Then(later Change) Change {
	return Change{
		From: c.From, To: later.To, Mesh: c.Mesh || later.Mesh,
		Services:         joinEffects(c.Services, later.Services),
		VirtualServices:  joinKeys(c.VirtualServices, later.VirtualServices),
		DestinationRules: joinKeys(c.DestinationRules, later.DestinationRules),
		Gateways:         joinKeys(c.Gateways, later.Gateways),
		Sidecars:         joinKeys(c.Sidecars, later.Sidecars),
		Policies:         joinKeys(c.Policies, later.Policies),
	}
}

func joinEffects(a, b map[model.ServiceKey]Effect) map[model.ServiceKey]Effect {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make(map[model.ServiceKey]Effect, len(a)+len(b))
	for k, e := range a {
		out[k] = e
	}
	for k, e := range b {
		out[k] |= e
	}
	return out
}

func joinKeys(a, b map[model.ConfigKey]struct{}) map[model.ConfigKey]struct{} {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make(map[model.ConfigKey]struct{}, len(a)+len(b))
	for k := range a {
		out[k] = struct{}{}
	}
	for k := range b {
		out[k] = struct{}{}
	}
	return out
}
