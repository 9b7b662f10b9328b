package bootstrap

import (
	"errors"
	"fmt"
	"slices"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
)

// Discovery is what a bootstrap says about resources that come later.
type Discovery struct {
	// ADS is the aggregated service; its Cluster is "" for none.
	ADS plan.DiscoveryService
	// Listeners and Clusters are where all listeners and clusters come from beside the static ones; nil for nowhere.
	Listeners, Clusters *plan.Source
}

// Dynamic says that anything is to come.
func (d *Discovery) Dynamic() bool { return d.Listeners != nil || d.Clusters != nil }

// discovery reads whom to ask, and for what.
func (b *Bootstrap) discovery(raw *bootstrapv3.Bootstrap) error {
	for field, set := range map[string]bool{"hds_config": raw.GetHdsConfig() != nil, "config_sources": len(raw.GetConfigSources()) > 0,
		"default_config_source": raw.GetDefaultConfigSource() != nil, "xds_delegate_extension": raw.GetXdsDelegateExtension() != nil,
		"xds_config_tracker_extension": raw.GetXdsConfigTrackerExtension() != nil} {
		if set {
			return fmt.Errorf("%s is not supported by this proxy", field)
		}
	}
	r := raw.GetDynamicResources()
	if r.GetLdsResourcesLocator() != "" || r.GetCdsResourcesLocator() != "" {
		return errors.New("dynamic_resources: resources by name (lds_resources_locator, cds_resources_locator) are not supported by this proxy; write lds_config and cds_config")
	}
	d := &b.Discovery
	var err error
	if r.GetAdsConfig() != nil {
		if d.ADS, err = compile.DiscoveryService(r.GetAdsConfig()); err != nil {
			return fmt.Errorf("dynamic_resources: ads_config: %w", err)
		}
	}
	if d.Clusters, err = b.source(r.GetCdsConfig()); err != nil {
		return fmt.Errorf("dynamic_resources: cds_config: %w", err)
	}
	if d.Listeners, err = b.source(r.GetLdsConfig()); err != nil {
		return fmt.Errorf("dynamic_resources: lds_config: %w", err)
	}
	return b.staticCluster(d.ADS)
}

func (b *Bootstrap) source(c *corev3.ConfigSource) (*plan.Source, error) {
	if c == nil {
		return nil, nil
	}
	s, _, err := compile.ConfigSource(c)
	if err != nil {
		return nil, err
	}
	if s.Aggregated() && b.Discovery.ADS.Cluster == "" {
		return nil, errors.New("ads_config is missing, which ads refers to")
	}
	if err := b.staticCluster(s.Service); err != nil {
		return nil, err
	}
	return &s, nil
}

// staticCluster checks that the cluster that a service is reached by is there from the beginning.
func (b *Bootstrap) staticCluster(s plan.DiscoveryService) error {
	if s.Cluster == "" {
		return nil
	}
	for _, c := range b.Raw.GetStaticResources().GetClusters() {
		if c.GetName() == s.Cluster {
			return nil
		}
	}
	return fmt.Errorf("envoy_grpc: cluster_name: %q is not among static_resources.clusters", s.Cluster)
}

// runtime notes the layers that make no difference here, and refuses those that are to come by discovery.
func (b *Bootstrap) runtime(r *bootstrapv3.LayeredRuntime) error {
	for _, l := range r.GetLayers() {
		switch {
		case l.GetRtdsLayer() != nil:
			return fmt.Errorf("%s: rtds_layer is not supported by this proxy; write a static_layer", l.GetName())
		case l.GetDiskLayer() != nil:
			b.Ignored = append(b.Ignored, "layered_runtime: "+l.GetName()+": disk_layer")
		}
		for key := range l.GetStaticLayer().GetFields() {
			if key != "overload" && key != "overload."+maxConnectionsKey {
				b.Ignored = append(b.Ignored, "layered_runtime: "+l.GetName()+": "+key)
			}
		}
	}
	slices.Sort(b.Ignored)
	return nil
}

// Resources reads a file that a path_config_source names: a discovery response, in YAML or JSON. name stands in errors.
func Resources(name, typeURL string, text []byte) (list []*xds.Resource, version string, err error) {
	if len(text) > maxFile {
		return nil, "", fmt.Errorf("%s: more than %d MiB", name, maxFile>>20)
	}
	json, err := toJSON(text)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, err)
	}
	response := new(discoveryv3.DiscoveryResponse)
	if err := protojson.Unmarshal(json, response); err != nil {
		return nil, "", withLine("discovery response", name, err)
	}
	for i, body := range response.GetResources() {
		if body.GetTypeUrl() != typeURL {
			return nil, "", fmt.Errorf("%s: resources[%d] is a %s, where %s is expected", name, i, body.GetTypeUrl(), typeURL)
		}
		m, err := body.UnmarshalNew()
		if err != nil {
			return nil, "", fmt.Errorf("%s: resources[%d]: %w", name, i, err)
		}
		r := xds.FromAny(nameOf(m), body)
		if r.Name == "" {
			return nil, "", fmt.Errorf("%s: resources[%d] has no name", name, i)
		}
		list = append(list, r)
	}
	return list, response.GetVersionInfo(), nil
}

func nameOf(m any) string {
	switch m := m.(type) {
	case interface{ GetName() string }:
		return m.GetName()
	case interface{ GetClusterName() string }:
		return m.GetClusterName()
	}
	return ""
}
