package world

import (
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/derive"
	"lateen.dev/lateen/model"
)

// routeOf reads a VirtualService: names made full, delegates' rules put in. It returns false for one that is a delegate
// itself. delegate finds another VirtualService's object.
func routeOf(o *config.Object, mesh *model.Mesh, delegate func(config.Key) *config.Object) (*model.VirtualService, bool) {
	written := config.As[*networking.VirtualService](o)
	if written == nil || len(written.GetHosts()) == 0 {
		return nil, false
	}
	spec := resolved(o, written, mesh.Domain)
	v := &model.VirtualService{
		Config: o.Key, Origin: o.Origin, CreationTime: o.Created, Namespace: o.Namespace,
		Hosts: spec.GetHosts(), Gateways: spec.GetGateways(),
		ExportTo: model.ParseExportTo(spec.GetExportTo(), o.Namespace, mesh.DefaultVirtualServiceExportTo), Spec: spec,
		TLS: ruleOrigins(o, len(spec.GetTls())), TCP: ruleOrigins(o, len(spec.GetTcp())),
	}
	rules := spec.GetHttp()
	spec.Http = nil
	for i, rule := range rules {
		if rule.GetDelegate() == nil {
			spec.Http = append(spec.Http, rule)
			v.HTTP = append(v.HTTP, model.RuleOrigin{Config: o.Key, Origin: o.Origin, Index: i})
			continue
		}
		key := delegateKey(rule.GetDelegate(), o.Namespace)
		v.Delegates = append(v.Delegates, key)
		d := delegate(key)
		if d == nil {
			continue
		}
		below := config.As[*networking.VirtualService](d)
		visible := model.ParseExportTo(below.GetExportTo(), d.Namespace, mesh.DefaultVirtualServiceExportTo)
		if below == nil || len(below.GetHosts()) > 0 || !visible.VisibleTo(o.Namespace) {
			continue
		}
		for j, leaf := range resolved(d, below, mesh.Domain).GetHttp() {
			if mergeRule(rule, leaf) {
				spec.Http = append(spec.Http, leaf)
				v.HTTP = append(v.HTTP, model.RuleOrigin{Config: d.Key, Origin: d.Origin, Index: j})
			}
		}
	}
	return v, true
}

func delegateKey(d *networking.Delegate, namespace string) config.Key {
	return config.Key{Kind: config.VirtualService, Namespace: firstOf(d.GetNamespace(), namespace), Name: d.GetName()}
}

func ruleOrigins(o *config.Object, n int) []model.RuleOrigin {
	out := make([]model.RuleOrigin, n)
	for i := range out {
		out[i] = model.RuleOrigin{Config: o.Key, Origin: o.Origin, Index: i}
	}
	return out
}

// resolved returns a copy of the spec in which all names are full. The caller may change it.
func resolved(o *config.Object, written *networking.VirtualService, domain string) *networking.VirtualService {
	spec := proto.Clone(written).(*networking.VirtualService)
	full := func(h string) string { return string(host.Resolve(strings.ToLower(h), o.Namespace, domain)) }
	for i, h := range spec.Hosts {
		spec.Hosts[i] = full(h)
	}
	if len(spec.Gateways) == 0 && len(spec.Hosts) > 0 {
		spec.Gateways = []string{model.MeshGateway}
	}
	gateways := func(list []string) {
		for i, g := range list {
			list[i] = gatewayName(g, o.Namespace)
		}
	}
	destination := func(d *networking.Destination) {
		if d != nil {
			d.Host = full(d.GetHost())
		}
	}
	gateways(spec.Gateways)
	for _, r := range spec.Http {
		for _, m := range r.Match {
			gateways(m.Gateways)
		}
		for _, d := range r.Route {
			destination(d.GetDestination())
		}
		destination(r.Mirror)
		for _, m := range r.Mirrors {
			destination(m.GetDestination())
		}
	}
	for _, r := range spec.Tcp {
		for _, m := range r.Match {
			gateways(m.Gateways)
		}
		for _, d := range r.Route {
			destination(d.GetDestination())
		}
	}
	for _, r := range spec.Tls {
		for _, m := range r.Match {
			gateways(m.Gateways)
		}
		for _, d := range r.Route {
			destination(d.GetDestination())
		}
	}
	return spec
}

// gatewayName makes namespace/name of a reference to a Gateway: name, ./name, namespace/name, or the old name.namespace.svc…
func gatewayName(ref, namespace string) string {
	if ref == model.MeshGateway {
		return ref
	}
	if ns, n, ok := strings.Cut(ref, "/"); ok {
		if ns == "." {
			return namespace + "/" + n
		}
		return ref
	}
	if n, rest, ok := strings.Cut(ref, "."); ok {
		ns, _, _ := strings.Cut(rest, ".")
		return ns + "/" + n
	}
	return namespace + "/" + ref
}

// fetchDelegate reads delegates through a transformation's context.
func fetchDelegate(ctx *derive.Ctx, c *derive.Collection[config.Key, *config.Object]) func(config.Key) *config.Object {
	return func(key config.Key) *config.Object {
		o, _ := derive.FetchKey(ctx, c, key)
		return o
	}
}
