package app

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/nds"
)

// What tools decode our pages into, field by field as they name them. A field that
// we write in another type fails to decode, one that we don't write stays empty.
type (
	// kialiService is a service of /debug/registryz in Kiali.
	kialiService struct {
		Attributes struct {
			ServiceRegistry string              `json:"ServiceRegistry"`
			Name            string              `json:"Name"`
			Namespace       string              `json:"Namespace"`
			Labels          map[string]string   `json:"Labels"`
			ExportTo        map[string]struct{} `json:"ExportTo"`
			LabelSelectors  map[string]string   `json:"LabelSelectors"`
		} `json:"Attributes"`
		Ports []struct {
			Name     string `json:"name"`
			Port     int    `json:"port"`
			Protocol string `json:"protocol"`
		} `json:"ports"`
		ServiceAccounts      []string  `json:"serviceAccounts"`
		CreationTime         time.Time `json:"creationTime"`
		Hostname             string    `json:"hostname"`
		Address              string    `json:"address"`
		AutoAllocatedAddress string    `json:"autoAllocatedAddress"`
		ClusterVIPs          struct {
			Addresses map[string][]string `json:"Addresses"`
		} `json:"clusterVIPs"`
		Resolution      int    `json:"Resolution"`
		MeshExternal    bool   `json:"MeshExternal"`
		ResourceVersion string `json:"ResourceVersion"`
	}
	// kialiEndpoints are those of a service in /debug/endpointz.
	kialiEndpoints struct {
		Service   string `json:"svc"`
		Endpoints []struct {
			Service     kialiService `json:"service"`
			ServicePort struct {
				Name     string `json:"name"`
				Port     int    `json:"port"`
				Protocol string `json:"protocol"`
			} `json:"servicePort"`
			Endpoint struct {
				Labels          map[string]string
				Address         string
				ServicePortName string
				ServiceAccount  string
				Network         string
				Locality        struct{ Label, ClusterID string }
				EndpointPort    uint32
				LbWeight        uint32
				TLSMode         string
				Namespace       string
				WorkloadName    string
			} `json:"endpoint"`
		} `json:"ep"`
	}
	// istioSync is a proxy in istioctl's reading of /debug/syncz, and in Kiali's.
	istioSync struct {
		ClusterID     string `json:"cluster_id"`
		ProxyID       string `json:"proxy"`
		ProxyType     string `json:"proxy_type"`
		ProxyVersion  string `json:"proxy_version"`
		IstioVersion  string `json:"istio_version"`
		ClusterSent   string `json:"cluster_sent"`
		ClusterAcked  string `json:"cluster_acked"`
		ListenerSent  string `json:"listener_sent"`
		ListenerAcked string `json:"listener_acked"`
		RouteSent     string `json:"route_sent"`
		RouteAcked    string `json:"route_acked"`
		EndpointSent  string `json:"endpoint_sent"`
		EndpointAcked string `json:"endpoint_acked"`
	}
	// istioClients are those of /debug/adsz.
	istioClients struct {
		Total     int `json:"totalClients"`
		Connected []struct {
			ConnectionID string              `json:"connectionId"`
			ConnectedAt  time.Time           `json:"connectedAt"`
			PeerAddress  string              `json:"address"`
			Labels       map[string]string   `json:"labels"`
			Metadata     map[string]any      `json:"metadata"`
			Locality     *corev3.Locality    `json:"locality"`
			Watches      map[string][]string `json:"watches"`
		} `json:"clients"`
	}
	// istioObject is one of /debug/configz.
	istioObject struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name, Namespace string
			Labels          map[string]string
			Annotations     map[string]string
			ResourceVersion string
		} `json:"metadata"`
		Spec map[string]any `json:"spec"`
	}
	// istioPolicies are those of /debug/authorizationz and /debug/pushcontext.
	istioPolicies struct {
		Namespaces map[string][]struct {
			Name        string            `json:"name"`
			Namespace   string            `json:"namespace"`
			Annotations map[string]string `json:"annotations"`
			Spec        map[string]any    `json:"spec"`
		} `json:"namespace_to_policies"`
		Root string `json:"root_namespace"`
	}
	// istioCluster is one of /debug/clusterz.
	istioCluster struct {
		ID         string `json:"id"`
		SecretName string `json:"secretName"`
		SyncStatus string `json:"syncStatus"`
	}
	// istioGateway is one of /debug/networkz.
	istioGateway struct {
		Network, Cluster, Addr string
		Port                   uint32
	}
)

// istioStatus is how istioctl tells the state of a type from syncz.
func istioStatus(sent, acked string) string {
	switch {
	case sent == "":
		return "NOT SENT"
	case sent == acked:
		return "SYNCED"
	case acked == "":
		return "STALE (Never Acknowledged)"
	}
	return "STALE"
}

// Each page decodes into what istioctl and Kiali have for it, with what they show
// in it.
func TestPagesHaveTheShapesOfTheirReaders(t *testing.T) {
	d := startDebugged(t)
	const host, node = "reviews.default.svc.cluster.local", "sidecar~10.0.0.1~reviews-v1.default~default.svc.cluster.local"

	var services []kialiService
	d.get(t, "registryz", &services)
	if len(services) != 1 || services[0].Hostname != host || services[0].Attributes.Namespace != "default" || services[0].Attributes.Name == "" ||
		services[0].Attributes.ServiceRegistry != "External" || len(services[0].Ports) != 1 || services[0].Ports[0].Port != 9080 ||
		services[0].Ports[0].Protocol != "HTTP" || services[0].ClusterVIPs.Addresses["Kubernetes"][0] != "172.20.0.1" ||
		services[0].ResourceVersion == "" || len(services[0].ServiceAccounts) != 1 {
		t.Errorf("registryz: %+v", services)
	}
	var endpoints []kialiEndpoints
	d.get(t, "endpointz", &endpoints)
	if len(endpoints) != 1 || endpoints[0].Service != host+":http" || endpoints[0].Endpoints[0].Endpoint.Address != "10.0.0.1" ||
		endpoints[0].Endpoints[0].Endpoint.EndpointPort != 9080 || endpoints[0].Endpoints[0].Service.Hostname != host {
		t.Errorf("endpointz: %+v", endpoints)
	}
	var clients istioClients
	d.get(t, "adsz", &clients)
	if clients.Total != 1 || !strings.HasPrefix(clients.Connected[0].ConnectionID, node) || clients.Connected[0].ConnectedAt.IsZero() ||
		clients.Connected[0].PeerAddress == "" || clients.Connected[0].Metadata["NAMESPACE"] != "default" ||
		!slices.Equal(clients.Connected[0].Watches[xds.RouteType], []string{"9080"}) ||
		!slices.Equal(clients.Connected[0].Watches[xds.ClusterType], []string{xds.Wildcard}) {
		t.Errorf("adsz: %+v", clients)
	}
	var objects []istioObject
	d.get(t, "configz", &objects)
	i := slices.IndexFunc(objects, func(o istioObject) bool { return o.Kind == "VirtualService" })
	if i < 0 || objects[i].APIVersion != "networking.istio.io/v1" || objects[i].Metadata.Name != "reviews" || objects[i].Spec["hosts"] == nil {
		t.Errorf("configz: %+v", objects)
	}
	var debug struct {
		Policies istioPolicies `json:"authorization_policies"`
	}
	d.get(t, "authorizationz", &debug)
	var push struct {
		AuthorizationPolicies istioPolicies
		NetworkGateways       map[string][]istioGateway
	}
	d.get(t, "pushcontext", &push)
	for page, p := range map[string]istioPolicies{"authorizationz": debug.Policies, "pushcontext": push.AuthorizationPolicies} {
		if p.Root != "istio-system" || len(p.Namespaces["default"]) != 1 || p.Namespaces["default"][0].Name != "allow" {
			t.Errorf("%s: %+v", page, p)
		}
	}
	var clusters []istioCluster
	if d.get(t, "clusterz", &clusters); len(clusters) != 1 || clusters[0].ID != "Kubernetes" || clusters[0].SyncStatus != "synced" {
		t.Errorf("clusterz: %+v", clusters)
	}
	var gateways []istioGateway
	d.get(t, "networkz", &gateways)
	var instances map[string][]struct {
		Service kialiService
		Port    struct{ TargetPort uint32 }
	}
	if d.get(t, "instancesz", &instances); len(instances) != 1 {
		t.Errorf("instancesz: %+v", instances)
	}
	var failures map[string]map[string]struct{ Proxy, Message string }
	if d.get(t, "push_status", &failures); failures["pilot_xds_lds_reject"]["virtualOutbound"].Message != "virtualOutbound: not today" {
		t.Errorf("push_status: %+v", failures)
	}
	if _, body := d.get(t, "syncz?pretty", nil); !strings.Contains(body, "\n    \"proxy\": \""+node) {
		t.Errorf("syncz?pretty: %s", body)
	}
}

// Where proxies stand, as istioctl of any age prints it.
func TestProxyStatusIsReadByIstioctl(t *testing.T) {
	d := startDebugged(t)
	var statuses []istioSync
	if code, body := d.get(t, "syncz", &statuses); code != http.StatusOK || len(statuses) != 1 {
		t.Fatalf("syncz: %d %s", code, body)
	}
	s := statuses[0]
	if got := []string{istioStatus(s.ClusterSent, s.ClusterAcked), istioStatus(s.ListenerSent, s.ListenerAcked), istioStatus(s.EndpointSent, s.EndpointAcked),
		istioStatus(s.RouteSent, s.RouteAcked)}; !slices.Equal(got, []string{"SYNCED", "STALE (Never Acknowledged)", "NOT SENT", "SYNCED"}) {
		t.Errorf("CDS, LDS, EDS, RDS: %v, of %+v", got, s)
	}

	p := &ports{plain: d.address}
	answer, err := p.ask(t, caller{port: d.address, node: nodeOf("istioctl.istio-system", "", "")}, debugSyncType)
	if err != nil {
		t.Fatal(err)
	}
	plane := struct {
		Component, ID string
		Info          struct {
			Version string `json:"version"`
		}
	}{}
	if err := json.Unmarshal([]byte(answer.GetControlPlane().GetIdentifier()), &plane); err != nil || plane.ID == "" || plane.Component == "" || plane.Info.Version != version {
		t.Errorf("the control plane is %q, %v", answer.GetControlPlane().GetIdentifier(), err)
	}
	client := &statusv3.ClientConfig{}
	if err := answer.GetResources()[0].UnmarshalTo(client); err != nil {
		t.Fatal(err)
	}
	now := map[string]string{}
	for _, x := range client.GetGenericXdsConfigs() {
		now[xds.ShortType(x.GetTypeUrl())] = x.GetConfigStatus().String()
	}
	for name, want := range map[string]string{"CDS": "SYNCED", "LDS": "ERROR", "EDS": "NOT_SENT", "RDS": "SYNCED", "ECDS": "NOT_SENT"} {
		if now[name] != want {
			t.Errorf("%s is %s now, want %s", name, now[name], want)
		}
	}
	old := map[string]string{}
	//lint:ignore SA1019 older readers know nothing else
	for _, x := range client.GetXdsConfig() {
		switch x.GetPerXdsConfig().(type) {
		case *statusv3.PerXdsConfig_ListenerConfig:
			old["LDS"] = x.GetStatus().String()
		case *statusv3.PerXdsConfig_ClusterConfig:
			old["CDS"] = x.GetStatus().String()
		case *statusv3.PerXdsConfig_RouteConfig:
			old["RDS"] = x.GetStatus().String()
		case *statusv3.PerXdsConfig_EndpointConfig:
			old["EDS"] = x.GetStatus().String()
		}
	}
	for name, status := range old {
		if status != now[name] {
			t.Errorf("%s is %s in the old shape, %s in the new", name, status, now[name])
		}
	}
	if len(old) != 4 {
		t.Errorf("the old shape has %v", old)
	}
}

// A client that asks for extension configuration that there is none of hears so as
// from istiod: in state-of-the-world a response without resources, in delta the
// names as removed.
func TestExtensionConfigurationThatThereIsNot(t *testing.T) {
	d := startDebugged(t)
	c := d.client(t)
	world, err := c.StreamAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	node := nodeOf("other.default", "default", "reviews")
	if err := world.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: xds.ExtensionConfigType, ResourceNames: []string{"default.filter"}}); err != nil {
		t.Fatal(err)
	}
	if answer, err := world.Recv(); err != nil || answer.GetTypeUrl() != xds.ExtensionConfigType || len(answer.GetResources()) != 0 {
		t.Errorf("state of the world: %v, %v", answer, err)
	}
	delta, err := c.DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := delta.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: xds.ExtensionConfigType, ResourceNamesSubscribe: []string{"default.filter"}}); err != nil {
		t.Fatal(err)
	}
	if answer, err := delta.Recv(); err != nil || len(answer.GetResources()) != 0 || !slices.Equal(answer.GetRemovedResources(), []string{"default.filter"}) {
		t.Errorf("delta: %v, %v", answer, err)
	}
}

// The name table is one resource, from which istio-agent's DNS proxy answers what
// our own does: hosts by their full names, and the short names of Kubernetes
// services alone.
func TestNameTableIsWhatIstioAgentReads(t *testing.T) {
	d := startDebuggedWith(t, debugMesh+otherRoutes+unaddressed)
	p := &ports{plain: d.address}
	node := nodeOf("reviews-v1.default", "default", "reviews")
	node.Metadata.Fields["DNS_CAPTURE"] = structpb.NewStringValue("true")
	node.Metadata.Fields["DNS_AUTO_ALLOCATE"] = structpb.NewStringValue("true")
	node.Metadata.Fields["ISTIO_VERSION"] = structpb.NewStringValue("1.29.0")
	answer, err := p.ask(t, caller{port: d.address, node: node}, xds.NameTableType)
	if err != nil || len(answer.GetResources()) != 1 {
		t.Fatalf("%v, %v", answer, err)
	}
	var table nds.NameTable
	if err := answer.GetResources()[0].UnmarshalTo(&table); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"reviews.default.svc.cluster.local": "172.20.0.1", "ratings.default.svc.cluster.local": "172.20.0.2"} {
		if got := table.GetTable()[host]; !slices.Equal(got.GetIps(), []string{want}) || got.GetRegistry() != "External" || got.GetShortname() != "" {
			t.Errorf("%s: %v", host, got)
		}
	}
	// What has no address of its own has one from the range that Istio takes them from.
	if got := table.GetTable()["unaddressed.example.com"]; len(got.GetIps()) == 0 || !strings.HasPrefix(got.GetIps()[0], "240.240.") {
		t.Errorf("unaddressed: %v", got)
	}
}

const unaddressed = `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: unaddressed, namespace: default}
spec:
  hosts: [unaddressed.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
`
