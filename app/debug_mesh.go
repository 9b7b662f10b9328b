package app

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds/dump"
)

// registryService is a service in the shape of istiod's registry.
type registryService struct {
	Attributes struct {
		ServiceRegistry string
		Name            string
		Namespace       string
		Labels          map[string]string   `json:",omitempty"`
		LabelSelectors  map[string]string   `json:",omitempty"`
		ExportTo        map[string]struct{} `json:",omitempty"`
	} `json:"Attributes"`
	Ports           []registryPort `json:"ports"`
	ServiceAccounts []string       `json:"serviceAccounts,omitempty"`
	CreationTime    time.Time      `json:"creationTime,omitzero"`
	Hostname        string         `json:"hostname"`
	ClusterVIPs     struct {
		Addresses map[string][]string
	} `json:"clusterVIPs"`
	DefaultAddress         string           `json:"defaultAddress,omitempty"`
	AutoAllocatedAddresses []string         `json:"autoAllocatedAddresses,omitempty"`
	Resolution             model.Resolution `json:"Resolution"`
	MeshExternal           bool             `json:"MeshExternal"`
	ResourceVersion        string           `json:"ResourceVersion"`
}

type registryPort struct {
	Name     string `json:"name"`
	Port     uint32 `json:"port"`
	Protocol string `json:"protocol"`
}

func registryOf(snap *world.Snapshot, svc *model.Service) registryService {
	out := registryService{Hostname: svc.Hostname, CreationTime: svc.CreationTime, Resolution: svc.Resolution, MeshExternal: svc.MeshExternal,
		Ports: []registryPort{}}
	a := &out.Attributes
	a.ServiceRegistry, a.Name, a.Namespace, a.Labels, a.LabelSelectors = svc.Registry.String(), svc.Name, svc.Namespace, svc.Labels, svc.Selector
	a.ExportTo = exportOf(svc.ExportTo)
	for i := range svc.Ports {
		out.Ports = append(out.Ports, portOf(&svc.Ports[i]))
	}
	out.ServiceAccounts = snap.Endpoints(svc.Key()).Identities()
	addresses := []string{}
	for _, p := range svc.Addresses {
		if p.IsSingleIP() {
			addresses = append(addresses, p.Addr().String())
		} else {
			addresses = append(addresses, p.String())
		}
	}
	for _, a := range svc.AutoAddresses {
		out.AutoAllocatedAddresses = append(out.AutoAllocatedAddresses, a.String())
	}
	out.ClusterVIPs.Addresses = map[string][]string{snap.Mesh().Cluster: addresses}
	if len(addresses) > 0 {
		out.DefaultAddress = addresses[0]
	}
	return out
}

// exportOf is who may see a service, as istiod writes it: nothing for everybody.
func exportOf(v model.Visibility) map[string]struct{} {
	if v.Public {
		return nil
	}
	out := map[string]struct{}{}
	for _, namespace := range v.Namespaces {
		out[namespace] = struct{}{}
	}
	if len(out) == 0 {
		out["~"] = struct{}{}
	}
	return out
}

func portOf(p *model.Port) registryPort {
	return registryPort{Name: p.Name, Port: p.Number, Protocol: fmt.Sprint(p.Protocol)}
}

// services are all that the mesh knows, sorted.
func services(snap *world.Snapshot) []*model.Service {
	var out []*model.Service
	for _, svc := range snap.Services() {
		out = append(out, svc)
	}
	slices.SortFunc(out, func(a, b *model.Service) int { return a.Key().Compare(b.Key()) })
	return out
}

func (d *debugPages) registryz(w http.ResponseWriter, _ *http.Request) {
	snap := d.world.Snapshot()
	out := []registryService{}
	for _, svc := range services(snap) {
		one := registryOf(snap, svc)
		one.ResourceVersion = d.changed.at(svc.Config).version
		out = append(out, one)
	}
	writeJSON(w, out)
}

// meshEndpoint is an endpoint in istiod's shape.
type meshEndpoint struct {
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
	HealthStatus    string
}

func endpointOf(wl *model.Workload, port string, number uint32) meshEndpoint {
	out := meshEndpoint{Labels: wl.Labels, Address: wl.Address, ServicePortName: port, ServiceAccount: wl.SPIFFE(), Network: wl.Network,
		EndpointPort: number, LbWeight: wl.Weight, TLSMode: wl.TLSMode, Namespace: wl.Namespace, WorkloadName: wl.Name, HealthStatus: fmt.Sprint(wl.Health)}
	out.Locality.ClusterID = wl.Cluster
	out.Locality.Label = strings.TrimRight(wl.Locality.Region+"/"+wl.Locality.Zone+"/"+wl.Locality.SubZone, "/")
	return out
}

// instance is a service with one of its ports and an endpoint.
type instance struct {
	Service     registryService `json:"service"`
	ServicePort registryPort    `json:"servicePort"`
	Endpoint    meshEndpoint    `json:"endpoint"`
}

// endpointsOf are the endpoints of a service and port.
type endpointsOf struct {
	Service   string     `json:"svc"`
	Endpoints []instance `json:"ep"`
}

func (d *debugPages) endpointz(w http.ResponseWriter, q *http.Request) {
	snap := d.world.Snapshot()
	out := []endpointsOf{}
	for _, svc := range services(snap) {
		shown := registryOf(snap, svc)
		for i := range svc.Ports {
			one := endpointsOf{Service: svc.Hostname + ":" + svc.Ports[i].Name, Endpoints: []instance{}}
			for wl, number := range snap.Endpoints(svc.Key()).Select(i, nil) {
				one.Endpoints = append(one.Endpoints, instance{shown, portOf(&svc.Ports[i]), endpointOf(wl, svc.Ports[i].Name, number)})
			}
			out = append(out, one)
		}
	}
	if !q.URL.Query().Has("brief") {
		writeJSON(w, out)
		return
	}
	for _, one := range out {
		for _, ep := range one.Endpoints {
			fmt.Fprintf(w, "%s %s:%d %v %s\n", one.Service, ep.Endpoint.Address, ep.Endpoint.EndpointPort, ep.Endpoint.Labels, ep.Endpoint.ServiceAccount)
		}
	}
}

// shard is what istiod holds of one service and namespace.
type shard struct {
	Shards          map[string][]meshEndpoint
	ServiceAccounts map[string]struct{}
}

func (d *debugPages) endpointShardz(w http.ResponseWriter, _ *http.Request) {
	snap := d.world.Snapshot()
	out := map[string]map[string]shard{}
	for _, svc := range services(snap) {
		one := shard{Shards: map[string][]meshEndpoint{}, ServiceAccounts: map[string]struct{}{}}
		for i := range svc.Ports {
			for wl, number := range snap.Endpoints(svc.Key()).Select(i, nil) {
				from := svc.Registry.String() + "/" + cmp.Or(wl.Cluster, snap.Mesh().Cluster)
				one.Shards[from] = append(one.Shards[from], endpointOf(wl, svc.Ports[i].Name, number))
				if id := wl.SPIFFE(); id != "" {
					one.ServiceAccounts[id] = struct{}{}
				}
			}
		}
		if out[svc.Hostname] == nil {
			out[svc.Hostname] = map[string]shard{}
		}
		out[svc.Hostname][svc.Namespace] = one
	}
	writeJSON(w, out)
}

// serviceTarget is a service that a proxy's workload is part of.
type serviceTarget struct {
	Service registryService
	Port    struct {
		ServicePort registryPort
		TargetPort  uint32
	}
}

func (d *debugPages) instancesz(w http.ResponseWriter, _ *http.Request) {
	snap := d.world.Snapshot()
	out := map[string][]serviceTarget{}
	for _, s := range d.control.discovery.all() {
		targets := []serviceTarget{}
		for _, in := range snap.InstancesOf(s.proxy) {
			for _, p := range in.Ports {
				one := serviceTarget{Service: registryOf(snap, in.Service)}
				one.Port.ServicePort, one.Port.TargetPort = portOf(p.Port), p.Target
				targets = append(targets, one)
			}
		}
		out[s.client.Node.ID] = targets
	}
	writeJSON(w, out)
}

func (d *debugPages) configz(w http.ResponseWriter, _ *http.Request) {
	objects, _ := d.Objects()
	if objects == nil {
		objects = []*config.Object{}
	}
	writeJSON(w, objects)
}

// policy is an object in the shape of istiod's policy lists.
type policy struct {
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Spec        any               `json:"spec"`
}

// byNamespace are the live objects of a kind, by namespace.
func (d *debugPages) byNamespace(kind string) (map[string][]policy, error) {
	out := map[string][]policy{}
	objects, _ := d.Objects()
	for _, o := range objects {
		if o.Kind.String() != kind {
			continue
		}
		one := policy{Name: o.Name, Namespace: o.Namespace, Annotations: o.Annotations, Spec: o.Spec}
		if m, ok := o.Spec.(proto.Message); ok {
			b, err := config.SpecJSON(m)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.Key, err)
			}
			one.Spec = b
		}
		out[o.Namespace] = append(out[o.Namespace], one)
	}
	return out, nil
}

func (d *debugPages) authorizationz(w http.ResponseWriter, _ *http.Request) {
	policies, err := d.byNamespace("AuthorizationPolicy")
	if err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	writeJSON(w, map[string]any{"authorization_policies": map[string]any{
		"namespace_to_policies": policies, "root_namespace": d.world.Snapshot().Mesh().RootNamespace}})
}

// pushContext is, of what istiod derives, what its tools read.
func (d *debugPages) pushContext(w http.ResponseWriter, _ *http.Request) {
	policies, err := d.byNamespace("AuthorizationPolicy")
	if err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	writeJSON(w, map[string]any{"NetworkGateways": map[string]any{}, "AuthorizationPolicies": map[string]any{
		"namespace_to_policies": policies, "root_namespace": d.world.Snapshot().Mesh().RootNamespace}})
}

func (d *debugPages) telemetryz(w http.ResponseWriter, _ *http.Request) {
	telemetries, err := d.byNamespace("Telemetry")
	if err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	writeJSON(w, map[string]any{"telemetries": map[string]any{
		"namespace_to_telemetries": telemetries, "root_namespace": d.world.Snapshot().Mesh().RootNamespace}})
}

func (d *debugPages) mesh(w http.ResponseWriter, _ *http.Request) {
	b, err := dump.JSON(d.world.Snapshot().Mesh().Config)
	writeRaw(w, b, err)
}

func (d *debugPages) clusterz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, []map[string]string{{"id": d.world.Snapshot().Mesh().Cluster, "syncStatus": "synced"}})
}

func (d *debugPages) resourcesz(w http.ResponseWriter, _ *http.Request) {
	type kind struct {
		Group   string `json:"group"`
		Version string `json:"version"`
		Kind    string `json:"kind"`
	}
	out := []kind{}
	for _, k := range config.Kinds() {
		out = append(out, kind{k.Group(), k.Version(), k.String()})
	}
	writeJSON(w, out)
}

func (d *debugPages) sidecarz(w http.ResponseWriter, q *http.Request) {
	s := d.session(w, q)
	if s == nil {
		return
	}
	snap := d.world.Snapshot()
	scope := snap.Scope(s.proxy.Namespace, snap.Sidecar(s.proxy.Namespace, s.proxy.Labels))
	out := struct {
		Name      string   `json:"name,omitempty"`
		Namespace string   `json:"namespace"`
		Services  []string `json:"services"`
	}{Namespace: s.proxy.Namespace, Services: []string{}}
	if scope.Sidecar != nil {
		out.Name, out.Namespace = scope.Sidecar.Config.Name, scope.Sidecar.Config.Namespace
	}
	for _, svc := range scope.Services {
		out.Services = append(out.Services, svc.Hostname)
	}
	writeJSON(w, out)
}
