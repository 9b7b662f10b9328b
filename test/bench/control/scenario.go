package main

import (
	"fmt"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
)

// scenario is one mesh with its clients.
type scenario struct {
	services, clients int
	// scoped gives each namespace a Sidecar resource.
	scoped bool
	// sotw clients speak the state-of-the-world protocol, delta otherwise.
	sotw bool
	// ours makes the clients Lateen's proxies, stock Envoys otherwise.
	ours bool
	// onDemand makes them Lateen's proxies that ask for what they use: for few
	// names each.
	onDemand bool
	// churn is for how long services change all the time.
	churn time.Duration
	// churnForAll makes them services that every client sees. Otherwise they are
	// of all namespaces in turn, as services chosen at random would be, and a
	// Sidecar hides most of them.
	churnForAll bool
}

func (s scenario) name() string {
	name := fmt.Sprintf("%s × %s", thousands(s.services), thousands(s.clients))
	if s.scoped {
		name += ", Sidecar-scoped"
	}
	if s.sotw {
		name += ", state of the world"
	}
	if s.ours {
		name += ", Lateen's proxies"
	}
	if s.onDemand {
		name += ", on demand"
	}
	if s.churn > 0 {
		name += ", churn"
	}
	if s.churnForAll {
		name += " that all clients see"
	}
	return name
}

func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// scenarios are those that docs/performance.md reports.
func scenarios() []scenario {
	const churn = 10 * time.Second
	return []scenario{
		{services: 1000, clients: 1},
		{services: 1000, clients: 100},
		{services: 1000, clients: 500},
		{services: 1000, clients: 500, scoped: true},
		{services: 1000, clients: 500, ours: true},
		{services: 1000, clients: 500, sotw: true},
		{services: 5000, clients: 1},
		{services: 5000, clients: 100},
		{services: 10000, clients: 1},
		{services: 10000, clients: 1000, scoped: true, churn: churn},
		{services: 10000, clients: 1000, onDemand: true, churn: churn},
		{services: 10000, clients: 1000, scoped: true, churn: churn, churnForAll: true},
	}
}

// newClient makes client i of the scenario: the sidecar of an endpoint of
// service i, or of a further one when there are more clients than services.
func (s scenario) newClient(i int, c *catalog, w *watch) *client {
	service, endpoint := i%s.services, i/s.services
	name, namespace := serviceName(service), serviceNamespace(service)
	ip := endpointAddress(service, endpoint)
	version := "v" + strconv.Itoa(endpoint%2+1)
	workload := fmt.Sprintf("%s-%d", name, endpoint)
	id := fmt.Sprintf("sidecar~%s~%s.%s~%s.svc.cluster.local", ip, workload, namespace, namespace)
	labels := map[string]string{"app": name, "version": version}
	metadata := map[string]any{
		"NAME": workload, "NAMESPACE": namespace, "SERVICE_ACCOUNT": name, "WORKLOAD_NAME": name, "CLUSTER_ID": clusterName,
		"LABELS": map[string]any{"app": name, "version": version},
	}
	proxy := &model.Proxy{
		ID: id, Name: workload, Type: model.SidecarProxy, Flavor: model.StockEnvoy, Namespace: namespace, Labels: labels,
		ServiceAccount: name, TrustDomain: "cluster.local", WorkloadName: name, CanonicalName: name, CanonicalRevision: version,
		Cluster: clusterName, Version: "envoy 1.38.0",
	}
	proxy.IPs = append(proxy.IPs, ip)
	if s.ours || s.onDemand {
		metadata["LATEEN_VERSION"], metadata["LATEEN_VHDS"] = "bench", "true"
		proxy.Metadata = map[string]string{"LATEEN_VHDS": "true"}
		proxy.Flavor, proxy.Version = model.LateenProxy, "bench"
	}
	if s.onDemand {
		metadata[translate.MetaOnDemand], metadata["ANNOTATIONS"] = "true", map[string]any{translate.OnDemandAnnotation: "true"}
		proxy.Metadata[translate.MetaOnDemand], proxy.Annotations = "true", map[string]string{translate.OnDemandAnnotation: "true"}
	}
	fields, err := structpb.NewStruct(metadata)
	if err != nil {
		panic(err) // the values are strings
	}
	node := &corev3.Node{Id: id, Cluster: name + "." + namespace, Metadata: fields, UserAgentName: "envoy",
		UserAgentVersionType: &corev3.Node_UserAgentVersion{UserAgentVersion: "1.38.0"}}
	return &client{index: i, sotw: s.sotw, node: node, proxy: proxy, catalog: c, watch: w, uses: s.uses(i)}
}

// uses are the virtual hosts that client i asks for: of the service that changes,
// of two that churn and of some others. Nil for clients that do not ask.
func (s scenario) uses(i int) []string {
	if !s.onDemand {
		return nil
	}
	const others = 7
	list := []string{hostTable + "/" + changeHost}
	if s.churn > 0 {
		for _, k := range []int{i, i + 37} {
			list = append(list, hostTable+"/"+churnHost(s, k%churning))
		}
	}
	for j := range others {
		list = append(list, hostTable+"/"+serviceHost((i*13+j*101)%s.services))
	}
	return list
}

// hostTable is the route configuration that all services are in.
const hostTable = "80"
