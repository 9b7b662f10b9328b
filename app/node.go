package app

import (
	"net/netip"
	"strconv"
	"strings"

	"lateen.dev/lateen/app/dataplane"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// Node metadata of our own, beside Istio's. Both roles of this package use
// them: a proxy writes them, the control plane reads them.
const (
	metaLateen       = "LATEEN_VERSION"  // set by our own proxy only
	metaAdminAddress = "ADMIN_ADDRESS"   // host:port of its admin pages
	metaBindAddress  = "BIND_ADDRESS"    // where a proxy outside a namespace of its own listens
	metaBindPorts    = "BIND_PORTS"      // declared=bound, with commas between
	metaHTTPProxy    = "HTTP_PROXY_PORT" // the explicit proxy's port
	metaHTTP10       = "HTTP10"          // accept HTTP/1.0
	metaSDSCluster   = "SDS_CLUSTER"     // the static cluster of a stock Envoy that serves its own secrets
	metaGroup        = "AUTO_REGISTER_GROUP"
	metaWorkloadID   = "WORKLOAD_ID" // the registration that the proxy serves
)

// newProxy makes the model's proxy of what a client presented and proved.
func newProxy(c server.Client, mesh *model.Mesh) *model.Proxy {
	n := c.Node
	m := &n.Metadata
	name, _, _ := strings.Cut(n.Workload, ".")
	p := &model.Proxy{
		ID: n.ID, Name: firstOf(m.Name, name), Type: model.SidecarProxy, Flavor: flavor(n),
		Namespace: firstOf(m.Namespace, n.WorkloadNamespace(), "default"), IPs: n.IPs, Labels: m.Labels, Annotations: m.Annotations,
		ServiceAccount: firstOf(m.ServiceAccount, "default"), TrustDomain: mesh.TrustDomain,
		WorkloadName: firstOf(m.WorkloadName, name), Cluster: firstOf(m.ClusterID, mesh.Cluster), Network: m.Network, MeshID: m.MeshID,
		Locality: model.Locality{Region: n.Locality.Region, Zone: n.Locality.Zone, SubZone: n.Locality.SubZone},
		Version:  firstOf(n.Meta(metaLateen), m.ProxyVersion, n.UserAgent), DNSCapture: m.DNSCapture,
		BindPorts: parsePorts(n.Meta(metaBindPorts)),
	}
	for _, name := range []string{dataplane.MetaVHDS, dataplane.MetaOnDemand, dataplane.MetaECDS, metaSDSCluster} {
		if value := n.Meta(name); value != "" && (name != metaSDSCluster || p.Flavor != model.LateenProxy) {
			if p.Metadata == nil {
				p.Metadata = map[string]string{}
			}
			p.Metadata[name] = value
		}
	}
	if n.Type == xds.RouterNode {
		p.Type = model.GatewayProxy
	}
	switch m.InterceptionMode {
	case "NONE":
		p.Interception = model.InterceptNone
	case "TPROXY":
		p.Interception = model.InterceptTProxy
	}
	p.CanonicalName = firstOf(m.Labels["service.istio.io/canonical-name"], m.Labels["app.kubernetes.io/name"], m.Labels["app"], p.WorkloadName)
	p.CanonicalRevision = firstOf(m.Labels["service.istio.io/canonical-revision"], m.Labels["app.kubernetes.io/version"],
		m.Labels["version"], "latest")
	if a, err := netip.ParseAddr(n.Meta(metaBindAddress)); err == nil {
		p.BindAddress = a
	}
	p.HTTP10 = n.Meta(metaHTTP10) == "1" || n.Meta(metaHTTP10) == "true"
	if port, err := strconv.ParseUint(n.Meta(metaHTTPProxy), 10, 16); err == nil {
		p.HTTPProxyPort = uint32(port)
	}
	return p
}

func flavor(n *xds.Node) model.Flavor {
	switch {
	case n.Meta(metaLateen) != "":
		return model.LateenProxy
	case n.Metadata.Generator == "grpc":
		return model.GRPCClient
	case n.Metadata.ProxyVersion != "":
		return model.IstioEnvoy
	}
	return model.StockEnvoy
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// parsePorts reads "80=8080,443=8443"; parts that are none are left out.
func parsePorts(s string) map[uint32]uint32 {
	var ports map[uint32]uint32
	for _, part := range strings.Split(s, ",") {
		from, to, ok := strings.Cut(part, "=")
		f, ferr := strconv.ParseUint(strings.TrimSpace(from), 10, 16)
		t, terr := strconv.ParseUint(strings.TrimSpace(to), 10, 16)
		if !ok || ferr != nil || terr != nil {
			continue
		}
		if ports == nil {
			ports = map[uint32]uint32{}
		}
		ports[uint32(f)] = uint32(t)
	}
	return ports
}

// formatPorts writes what parsePorts reads.
func formatPorts(ports map[uint32]uint32) string {
	parts := make([]string, 0, len(ports))
	for from, to := range ports {
		parts = append(parts, strconv.FormatUint(uint64(from), 10)+"="+strconv.FormatUint(uint64(to), 10))
	}
	return strings.Join(parts, ",")
}
