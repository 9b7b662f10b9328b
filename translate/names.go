package translate

import (
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/nds"
)

// nameTable is the name of the one resource that holds all names.
const nameTable = "names"

// names makes the table from which a proxy answers its workload's DNS.
func (s *scope) names() []*xds.Resource {
	out := &nds.NameTable{Table: map[string]*nds.NameTable_NameInfo{}}
	for _, n := range s.snap.Names(s.world.Services) {
		info := &nds.NameTable_NameInfo{Registry: n.Registry.String()}
		if n.Registry == model.KubernetesRegistry {
			info.Shortname, info.Namespace = n.ShortName, n.Namespace
		}
		for _, a := range n.Addresses {
			info.Ips = append(info.Ips, a.String())
		}
		out.Table[n.Host] = info
	}
	return []*xds.Resource{resource(nameTable, out)}
}
