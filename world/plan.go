package world

import (
	"google.golang.org/protobuf/proto"
	extensions "istio.io/api/extensions/v1alpha1"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	proxyconfig "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/mesh"
	"lateen.dev/lateen/derive"
	"lateen.dev/lateen/model"
)

// objects is what the sources say of one kind.
type objects = derive.Collection[config.Key, *config.Object]

// plan declares how everything that the mesh knows follows from configuration: one collection of objects for each kind, and
// the collections that are made of them.
type plan struct {
	graph   *derive.Graph
	sources map[config.Kind]*derive.Source[config.Key, *config.Object]
	mesh    *derive.Collection[name, *model.Mesh]

	services  *derive.Collection[model.ServiceKey, *model.Service]
	endpoints *derive.Collection[model.ServiceKey, *model.EndpointSet]
	routes    *derive.Collection[config.Key, *model.VirtualService]
	rules     *derive.Collection[ruleKey, *model.DestinationRule]
	gateways  *derive.Collection[config.Key, *model.Gateway]
	sidecars  *derive.Collection[config.Key, *model.Sidecar]

	authorization  *derive.Collection[config.Key, *model.AuthorizationPolicy]
	authentication *derive.Collection[config.Key, *model.RequestAuthentication]
	peers          *derive.Collection[config.Key, *model.PeerAuthentication]
	telemetry      *derive.Collection[config.Key, *model.Telemetry]
	filters        *derive.Collection[config.Key, *model.EnvoyFilter]
	proxyConfigs   *derive.Collection[config.Key, *model.ProxyConfig]
	plugins        *derive.Collection[config.Key, *model.WasmPlugin]
}

// theMesh is the one key of the mesh collection.
const theMesh name = "mesh"

func newPlan(o Options) *plan {
	p := &plan{
		graph:   derive.New(derive.Options{Now: o.Now, OnPanic: o.OnPanic}),
		sources: make(map[config.Kind]*derive.Source[config.Key, *config.Object]),
	}
	for _, kind := range config.Kinds() {
		p.sources[kind] = derive.NewSource[config.Key, *config.Object](p.graph, kind.String())
	}
	p.declareMesh(o)
	p.declareServices()
	p.declareTraffic()
	p.authorization = declareScoped[*security.AuthorizationPolicy](p, config.AuthorizationPolicy)
	p.authentication = declareScoped[*security.RequestAuthentication](p, config.RequestAuthentication)
	p.peers = declareScoped[*security.PeerAuthentication](p, config.PeerAuthentication)
	p.telemetry = declareScoped[*telemetry.Telemetry](p, config.Telemetry)
	p.filters = declareScoped[*networking.EnvoyFilter](p, config.EnvoyFilter)
	p.proxyConfigs = declareScoped[*proxyconfig.ProxyConfig](p, config.ProxyConfig)
	p.plugins = declareScoped[*extensions.WasmPlugin](p, config.WasmPlugin)
	return p
}

func (p *plan) of(kind config.Kind) *objects { return p.sources[kind].Collection }

// declareMesh puts the MeshConfig objects over what the World was made with, in the order of their keys.
func (p *plan) declareMesh(o Options) {
	one := derive.NewStatic(p.graph, "one", []derive.Entry[name, unit]{{Key: theMesh}})
	p.mesh = derive.Map(one, "mesh", func(ctx *derive.Ctx, _ name, _ unit) (*model.Mesh, bool) {
		cfg, origin := o.Mesh, config.Origin{}
		for _, e := range derive.FetchAll(ctx, p.of(config.MeshConfig)) {
			over, err := mesh.Apply(cfg, config.As[*config.MeshConfigSpec](e.Value))
			if err != nil {
				continue // a source lets no such object in; what was there before it holds
			}
			cfg, origin = over, e.Value.Origin
		}
		return meshOf(cfg, origin, o), true
	})
}

// unit is a value that says nothing.
type unit struct{}

// Equal is always true.
func (unit) Equal(unit) bool { return true }

func meshOf(cfg *meshconfig.MeshConfig, origin config.Origin, o Options) *model.Mesh {
	return &model.Mesh{
		Config: cfg, Origin: origin, Domain: o.Domain, Cluster: o.Cluster, Network: o.Network,
		RootNamespace:                  firstOf(cfg.GetRootNamespace(), mesh.RootNamespace),
		TrustDomain:                    firstOf(cfg.GetTrustDomain(), mesh.TrustDomain),
		DefaultServiceExportTo:         cfg.GetDefaultServiceExportTo(),
		DefaultVirtualServiceExportTo:  cfg.GetDefaultVirtualServiceExportTo(),
		DefaultDestinationRuleExportTo: cfg.GetDefaultDestinationRuleExportTo(),
	}
}

func (p *plan) fetchMesh(ctx *derive.Ctx) *model.Mesh {
	m, _ := derive.FetchKey(ctx, p.mesh, theMesh)
	return m
}

func (p *plan) declareServices() {
	kube := derive.MapMany(p.of(config.Service), "service parts of Services",
		func(ctx *derive.Ctx, _ config.Key, o *config.Object, emit func(string, *servicePart)) {
			if s := fromKubernetes(o, p.fetchMesh(ctx)); s != nil {
				emit(s.Hostname, &servicePart{service: s})
			}
		})
	entries := derive.MapMany(p.of(config.ServiceEntry), "service parts of ServiceEntries",
		func(ctx *derive.Ctx, _ config.Key, o *config.Object, emit func(string, *servicePart)) {
			m := p.fetchMesh(ctx)
			inline := inlineWorkloads(o, m)
			for _, s := range fromServiceEntry(o, m) {
				emit(s.Hostname, &servicePart{service: s, inline: inline})
			}
		})
	parts := derive.Join(p.graph, "service parts", kube, entries)
	groups := derive.Groups(derive.NewIndex(parts, "by service", func(_ partKey, v *servicePart) []model.ServiceKey {
		return []model.ServiceKey{v.service.Key()}
	}), "service parts by service")
	ix := &serviceIndexes{
		byHost: derive.NewIndex(parts, "by host", func(_ partKey, v *servicePart) []name {
			return []name{name(v.service.Hostname)}
		}),
		byAliased: derive.NewIndex(parts, "by external name", func(_ partKey, v *servicePart) []name {
			if v.service.ExternalName == "" {
				return nil
			}
			return []name{name(v.service.ExternalName)}
		}),
	}
	p.services = derive.Map(groups, "services",
		func(ctx *derive.Ctx, _ model.ServiceKey, g partGroup) (*model.Service, bool) {
			return ix.resolveAlias(ctx, mergeParts(g)), true
		})
	workloads := derive.Map(p.of(config.WorkloadEntry), "workloads",
		func(ctx *derive.Ctx, _ config.Key, o *config.Object) (*model.Workload, bool) {
			w := fromWorkloadEntry(o, p.fetchMesh(ctx))
			return w, w != nil
		})
	labels := derive.NewIndex(workloads, "by label", workloadLabels)
	p.endpoints = derive.Map(groups, "endpoints",
		func(ctx *derive.Ctx, key model.ServiceKey, g partGroup) (*model.EndpointSet, bool) {
			svc, ok := derive.FetchKey(ctx, p.services, key)
			if !ok {
				return nil, false
			}
			set := endpointsOfParts(ctx, labels, svc, g)
			return set, len(set.Endpoints) > 0
		})
}

func (p *plan) declareTraffic() {
	virtual := p.of(config.VirtualService)
	p.routes = derive.Map(virtual, "routes",
		func(ctx *derive.Ctx, _ config.Key, o *config.Object) (*model.VirtualService, bool) {
			return routeOf(o, p.fetchMesh(ctx), fetchDelegate(ctx, virtual))
		})
	written := derive.Map(p.of(config.DestinationRule), "destination rules as written",
		func(ctx *derive.Ctx, _ config.Key, o *config.Object) (*model.DestinationRule, bool) {
			return ruleOf(o, p.fetchMesh(ctx))
		})
	p.rules = derive.Map(derive.Groups(derive.NewIndex(written, "by host", ruleKeys), "destination rules by host"), "destination rules",
		func(_ *derive.Ctx, _ ruleKey, g derive.Group[config.Key, *model.DestinationRule]) (*model.DestinationRule, bool) {
			return mergeRules(g), true
		})
	p.gateways = derive.Map(p.of(config.Gateway), "gateways",
		func(_ *derive.Ctx, _ config.Key, o *config.Object) (*model.Gateway, bool) { return gatewayOf(o) })
	p.sidecars = derive.Map(p.of(config.Sidecar), "sidecars",
		func(_ *derive.Ctx, _ config.Key, o *config.Object) (*model.Sidecar, bool) { return sidecarOf(o) })
}

func declareScoped[S interface {
	comparable
	proto.Message
}](p *plan, kind config.Kind) *derive.Collection[config.Key, *model.Scoped[S]] {
	return derive.Map(p.of(kind), kind.String()+" in scope",
		func(_ *derive.Ctx, _ config.Key, o *config.Object) (*model.Scoped[S], bool) { return scopedOf[S](o) })
}
