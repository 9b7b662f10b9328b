package world

import (
	"google.golang.org/protobuf/proto"
	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	proxyconfig "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	selection "istio.io/api/type/v1beta1"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
)

// selecting is a kind that chooses workloads by labels.
type selecting interface {
	GetSelector() *selection.WorkloadSelector
}

// targeting is a kind that can be attached to objects, one (the older form) or several.
type targeting interface {
	GetTargetRef() *selection.PolicyTargetReference
	GetTargetRefs() []*selection.PolicyTargetReference
}

// scopedOf reads an object of one of the kinds that are carried as they are.
func scopedOf[S interface {
	comparable
	proto.Message
}](o *config.Object) (*model.Scoped[S], bool) {
	spec := config.As[S](o)
	var none S
	if spec == none {
		return nil, false
	}
	out := &model.Scoped[S]{
		Config: o.Key, Origin: o.Origin, CreationTime: o.Created, Namespace: o.Namespace, Annotations: o.Annotations, Spec: spec,
	}
	if s, ok := any(spec).(selecting); ok {
		out.Selector = matchLabels(s.GetSelector().GetMatchLabels())
	}
	if f, ok := any(spec).(*networking.EnvoyFilter); ok {
		out.Selector = matchLabels(f.GetWorkloadSelector().GetLabels())
		out.TargetRefs = targetRefs(o.Namespace, f.GetTargetRefs()...)
	}
	if t, ok := any(spec).(targeting); ok {
		out.TargetRefs = targetRefs(o.Namespace, t.GetTargetRefs()...)
		if t.GetTargetRef() != nil {
			out.TargetRefs = append(out.TargetRefs, targetRefs(o.Namespace, t.GetTargetRef())...)
		}
	}
	return out, true
}

func targetRefs(namespace string, refs ...*selection.PolicyTargetReference) []model.TargetRef {
	var out []model.TargetRef
	for _, r := range refs {
		out = append(out, model.TargetRef{
			Group: r.GetGroup(), Kind: r.GetKind(), Namespace: firstOf(r.GetNamespace(), namespace), Name: r.GetName(),
		})
	}
	return out
}

// The kinds that are carried as they are.
var (
	_ selecting = (*security.AuthorizationPolicy)(nil)
	_ targeting = (*security.AuthorizationPolicy)(nil)
	_ selecting = (*security.RequestAuthentication)(nil)
	_ targeting = (*security.RequestAuthentication)(nil)
	_ selecting = (*security.PeerAuthentication)(nil)
	_ selecting = (*telemetry.Telemetry)(nil)
	_ targeting = (*telemetry.Telemetry)(nil)
	_ selecting = (*proxyconfig.ProxyConfig)(nil)
	_ selecting = (*extensions.WasmPlugin)(nil)
	_ targeting = (*extensions.WasmPlugin)(nil)
)
