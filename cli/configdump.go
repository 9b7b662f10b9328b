package cli

import (
	"encoding/json"
	"fmt"
	"strings"
)

// configDump is what this package reads of Envoy's /config_dump, which our
// proxy and a stock Envoy both serve. Parts that are only passed on stay raw.
type configDump struct {
	clusters  []json.RawMessage
	listeners []json.RawMessage
	routes    []json.RawMessage
	endpoints []json.RawMessage
	secrets   []secretDump
	// extensions are filters' configurations that came by themselves.
	extensions []json.RawMessage
	bootstrap  json.RawMessage
}

// dumpSection is the union of the dump's sections; each uses its own fields.
type dumpSection struct {
	Type            string          `json:"@type"`
	Bootstrap       json.RawMessage `json:"bootstrap"`
	StaticClusters  []dumpCluster   `json:"static_clusters"`
	ActiveClusters  []dumpCluster   `json:"dynamic_active_clusters"`
	StaticListeners []struct {
		Listener json.RawMessage `json:"listener"`
	} `json:"static_listeners"`
	DynamicListeners []struct {
		Name   string `json:"name"`
		Active struct {
			Listener json.RawMessage `json:"listener"`
		} `json:"active_state"`
	} `json:"dynamic_listeners"`
	StaticRoutes    []dumpRoute    `json:"static_route_configs"`
	DynamicRoutes   []dumpRoute    `json:"dynamic_route_configs"`
	StaticEndpoints []dumpEndpoint `json:"static_endpoint_configs"`
	Endpoints       []dumpEndpoint `json:"dynamic_endpoint_configs"`
	StaticSecrets   []secretDump   `json:"static_secrets"`
	Secrets         []secretDump   `json:"dynamic_active_secrets"`
	Warming         []secretDump   `json:"dynamic_warming_secrets"`
	Extensions      []struct {
		Filter json.RawMessage `json:"ecds_filter"`
	} `json:"ecds_filters"`
}

type dumpCluster struct {
	Cluster json.RawMessage `json:"cluster"`
}

type dumpRoute struct {
	RouteConfig json.RawMessage `json:"route_config"`
}

type dumpEndpoint struct {
	EndpointConfig json.RawMessage `json:"endpoint_config"`
}

type secretDump struct {
	Name   string `json:"name"`
	Status string `json:"-"`
	Secret struct {
		Certificate *struct {
			Chain struct {
				InlineBytes  string `json:"inline_bytes"`
				InlineString string `json:"inline_string"`
			} `json:"certificate_chain"`
		} `json:"tls_certificate"`
		Validation *struct {
			CA struct {
				InlineBytes  string `json:"inline_bytes"`
				InlineString string `json:"inline_string"`
			} `json:"trusted_ca"`
		} `json:"validation_context"`
	} `json:"secret"`
}

func parseConfigDump(b []byte) (*configDump, error) {
	var raw struct {
		Configs []json.RawMessage `json:"configs"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("config dump: %w", err)
	}
	d := &configDump{}
	for _, section := range raw.Configs {
		var s dumpSection
		if err := json.Unmarshal(section, &s); err != nil {
			return nil, fmt.Errorf("config dump, section: %w", err)
		}
		d.add(&s)
	}
	return d, nil
}

func (d *configDump) add(s *dumpSection) {
	if len(s.Bootstrap) > 0 {
		d.bootstrap = s.Bootstrap
	}
	for _, c := range append(s.StaticClusters, s.ActiveClusters...) {
		d.clusters = append(d.clusters, c.Cluster)
	}
	for _, l := range s.StaticListeners {
		d.listeners = append(d.listeners, l.Listener)
	}
	for _, l := range s.DynamicListeners {
		if len(l.Active.Listener) > 0 {
			d.listeners = append(d.listeners, l.Active.Listener)
		}
	}
	for _, r := range append(s.StaticRoutes, s.DynamicRoutes...) {
		d.routes = append(d.routes, r.RouteConfig)
	}
	for _, e := range append(s.StaticEndpoints, s.Endpoints...) {
		d.endpoints = append(d.endpoints, e.EndpointConfig)
	}
	for _, x := range s.Extensions {
		if len(x.Filter) > 0 {
			d.extensions = append(d.extensions, x.Filter)
		}
	}
	for _, x := range append(s.StaticSecrets, s.Secrets...) {
		x.Status = "ACTIVE"
		d.secrets = append(d.secrets, x)
	}
	for _, x := range s.Warming {
		x.Status = "WARMING"
		d.secrets = append(d.secrets, x)
	}
}

// clusterName is the four parts of Istio's cluster names:
// direction|port|subset|host.
type clusterName struct{ direction, port, subset, host string }

func parseClusterName(s string) clusterName {
	parts := strings.SplitN(s, "|", 4)
	if len(parts) != 4 {
		return clusterName{direction: "-", port: "-", subset: "-", host: s}
	}
	for i := range parts[:3] {
		if parts[i] == "" {
			parts[i] = "-"
		}
	}
	return clusterName{parts[0], parts[1], parts[2], parts[3]}
}

// istioMetadata is the part of a resource's metadata that names its objects.
type istioMetadata struct {
	FilterMetadata struct {
		Istio struct {
			Config string `json:"config"`
		} `json:"istio"`
		Lateen struct {
			Origin string `json:"origin"`
		} `json:"lateen"`
	} `json:"filter_metadata"`
}

// object is "NAME.NAMESPACE" of the object behind a resource, and where it was
// written.
func (m *istioMetadata) object() string {
	config := m.FilterMetadata.Istio.Config
	if config == "" {
		return ""
	}
	// /apis/GROUP/VERSION/namespaces/NAMESPACE/KIND/NAME
	parts := strings.Split(strings.TrimPrefix(config, "/"), "/")
	name := config
	if len(parts) == 7 {
		name = parts[6] + "." + parts[4]
	}
	if origin := m.FilterMetadata.Lateen.Origin; origin != "" {
		name += " (" + origin + ")"
	}
	return name
}
