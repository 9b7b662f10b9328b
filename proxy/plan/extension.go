package plan

import "slices"

// Extension is a filter's configuration that comes by itself (ECDS). HTTP or Network is set, by what the filter is for.
type Extension struct {
	Name    string
	Version Hash
	// Type is the full name of the configuration's message.
	Type    string
	HTTP    HTTPFilterConfig
	Network NetworkFilterConfig
}

// FilterDiscovery says that a filter's configuration comes by itself, under the filter's name. It is resolved against the
// plan in force, for each request or connection anew.
type FilterDiscovery struct {
	Ref ExtensionRef
	// Types are the messages that the configuration may be of; another one counts as missing.
	Types []string
	// HTTP or Network is what applies while the configuration is missing; nil for nothing.
	HTTP    HTTPFilterConfig
	Network NetworkFilterConfig
}

// HTTPConfig returns what an HTTP filter is configured with under p; nil if nothing is known, so that requests must be
// refused.
func (d *FilterDiscovery) HTTPConfig(p *Plan) HTTPFilterConfig {
	if x := p.Extension(d.Ref); x != nil && x.HTTP != nil && slices.Contains(d.Types, x.Type) {
		return x.HTTP
	}
	return d.HTTP
}

// NetworkConfig returns what a network filter is configured with under p; nil if nothing is known, so that connections must
// be refused.
func (d *FilterDiscovery) NetworkConfig(p *Plan) NetworkFilterConfig {
	if x := p.Extension(d.Ref); x != nil && x.Network != nil && slices.Contains(d.Types, x.Type) {
		return x.Network
	}
	return d.Network
}
