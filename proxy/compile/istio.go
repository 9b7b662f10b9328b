package compile

import (
	"encoding/json"
	"fmt"
	"time"

	alpnv2 "istio.io/api/envoy/config/filter/http/alpn/v2alpha1"

	"lateen.dev/lateen/proxy/plan"
)

// defaultTCPReporting is Istio's.
const defaultTCPReporting = 5 * time.Second

// jsonDuration reads "5s".
type jsonDuration time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (d *jsonDuration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration: %w", err)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("duration: %w", err)
	}
	*d = jsonDuration(v)
	return nil
}

// pluginConfig is Istio's stats.PluginConfig, which is not among the published messages.
type pluginConfig struct {
	StatPrefix                string       `json:"stat_prefix"`
	DisableHostHeaderFallback bool         `json:"disable_host_header_fallback"`
	TCPReportingDuration      jsonDuration `json:"tcp_reporting_duration"`
	Reporter                  any          `json:"reporter"`
	Metrics                   []struct {
		Name         string            `json:"name"`
		Drop         bool              `json:"drop"`
		Dimensions   map[string]string `json:"dimensions"`
		TagsToRemove []string          `json:"tags_to_remove"`
		Match        string            `json:"match"`
	} `json:"metrics"`
	Definitions []struct {
		Name string `json:"name"`
	} `json:"definitions"`
}

func statsFilter(e *extension) (*plan.Stats, error) {
	var m pluginConfig
	if err := e.object(&m); err != nil {
		return nil, err
	}
	if len(m.Definitions) > 0 {
		return nil, fmt.Errorf("definitions of further metrics are not supported by this proxy")
	}
	out := &plan.Stats{
		StatPrefix: m.StatPrefix, DisableHostHeaderFallback: m.DisableHostHeaderFallback,
		TCPReportingDuration: time.Duration(m.TCPReportingDuration),
	}
	if out.TCPReportingDuration <= 0 {
		out.TCPReportingDuration = defaultTCPReporting
	}
	if m.Reporter == "SERVER_GATEWAY" || m.Reporter == float64(1) {
		out.Reporter = plan.ReporterServerGateway
	}
	for i, o := range m.Metrics {
		if o.Match != "" {
			return nil, fmt.Errorf("metrics[%d]: match is not supported by this proxy", i)
		}
		out.Metrics = append(out.Metrics, plan.MetricOverride{Name: o.Name, Drop: o.Drop, Tags: o.Dimensions, RemoveTags: o.TagsToRemove})
	}
	return out, nil
}

func alpnFilter(e *extension) (*plan.ALPN, error) {
	var m alpnv2.FilterConfig
	if err := e.into(&m); err != nil {
		return nil, err
	}
	out := &plan.ALPN{}
	for i, o := range m.GetAlpnOverride() {
		switch o.GetUpstreamProtocol() {
		case alpnv2.FilterConfig_HTTP10:
			out.HTTP10 = o.GetAlpnOverride()
		case alpnv2.FilterConfig_HTTP11:
			out.HTTP11 = o.GetAlpnOverride()
		case alpnv2.FilterConfig_HTTP2:
			out.HTTP2 = o.GetAlpnOverride()
		default:
			return nil, fmt.Errorf("alpn_override[%d]: protocol %v is unknown", i, o.GetUpstreamProtocol())
		}
	}
	return out, nil
}

// peerConfig is Istio's io.istio.http.peer_metadata.Config, which is not among the published messages.
type peerConfig struct {
	DownstreamDiscovery   []map[string]any `json:"downstream_discovery"`
	UpstreamDiscovery     []map[string]any `json:"upstream_discovery"`
	DownstreamPropagation []map[string]any `json:"downstream_propagation"`
	UpstreamPropagation   []map[string]any `json:"upstream_propagation"`
	SharedWithUpstream    bool             `json:"shared_with_upstream"`
	AdditionalLabels      []string         `json:"additional_labels"`
}

func peerMetadata(e *extension) (*plan.PeerMetadata, error) {
	var m peerConfig
	if err := e.object(&m); err != nil {
		return nil, err
	}
	out := &plan.PeerMetadata{AdditionalLabels: m.AdditionalLabels}
	var err error
	if out.Downstream, err = discoveries(m.DownstreamDiscovery); err != nil {
		return nil, at(err, "downstream_discovery")
	}
	if out.Upstream, err = discoveries(m.UpstreamDiscovery); err != nil {
		return nil, at(err, "upstream_discovery")
	}
	for _, p := range m.DownstreamPropagation {
		if _, ok := p["istio_headers"]; ok {
			out.PropagateDownstream = true
		}
	}
	for _, p := range m.UpstreamPropagation {
		if h, ok := p["istio_headers"]; ok {
			out.PropagateUpstream = true
			opts, _ := h.(map[string]any)
			out.SkipExternalClusters, _ = opts["skip_external_clusters"].(bool)
		}
	}
	return out, nil
}

func discoveries(in []map[string]any) ([]plan.PeerDiscovery, error) {
	var out []plan.PeerDiscovery
	for i, d := range in {
		for name := range d {
			switch name {
			case "istio_headers":
				out = append(out, plan.DiscoverIstioHeaders)
			case "workload_discovery":
				out = append(out, plan.DiscoverWorkload)
			case "baggage":
				out = append(out, plan.DiscoverBaggage)
			default:
				return nil, fmt.Errorf("[%d]: %q is unknown", i, name)
			}
		}
	}
	return out, nil
}
