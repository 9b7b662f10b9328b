package translate

import (
	"fmt"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/dialect"
	"lateen.dev/lateen/translate/internal/rbac"
	"lateen.dev/lateen/xds"
)

// policies are the authorization policies of a workload, and a description of them for a memo's key.
type policies struct {
	rbac.Input
	refs string
	keep []*model.AuthorizationPolicy
}

// in is the description of what of the policies stands in listeners.
func (p *policies) in(d dialect.Dialect) string {
	if d.ECDS {
		return rbac.Layout(p.Input)
	}
	return p.refs
}

// extensions are filters' configurations that come by themselves, and what they were made of.
type extensions struct {
	set  *xds.Set
	keep policies
	mesh *model.Mesh
}

// filterConfigurations makes what the access control of a workload is configured with, or finds it made; nil if nothing comes
// by itself.
func (t *Translator) filterConfigurations(gen *generation, d dialect.Dialect, p policies) *xds.Set {
	if !d.ECDS || len(p.Policies) == 0 {
		return nil
	}
	mesh := gen.snap.Mesh()
	return t.answers.extensions.get(gen.seq, fmt.Sprintf("%p %s", mesh, p.refs), func() *extensions {
		var list []*xds.Resource
		for _, c := range rbac.Configurations(p.Input) {
			list = append(list, resource(c.GetName(), c))
		}
		return &extensions{set: xds.NewSet(xds.ExtensionConfigType, list), keep: p, mesh: mesh}
	}).set
}
