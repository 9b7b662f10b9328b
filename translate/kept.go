package translate

import (
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/xds"
)

// kept is what a group keeps of its last plan of listeners and route tables, for changes of routes alone: most of them
// touch a few virtual hosts of a thousand.
type kept struct {
	tables map[string]routeTableName
	// l4 are the routes with TCP or TLS rules, the only ones that the plan of listeners looks at.
	l4    []*model.VirtualService
	hosts map[string]*hostList
	// sent are the virtual hosts of each table that is sent without them; next is the same for the tables that are
	// being made.
	sent, next map[string][]*vhost
	// asked and askedNext are the same of tables whose virtual hosts are asked for, and index finds those of asked.
	asked, askedNext map[string][]*vhost
	index            *hostIndex
	// always are the listeners that a sidecar on demand gets without asking.
	always []*xds.Resource
	// extensions are a gateway's filters that come by themselves.
	extensions *xds.Set
}

// l4Routes lists the routes in scope with TCP or TLS rules.
func (s *scope) l4Routes() []*model.VirtualService {
	var out []*model.VirtualService
	for i := range s.world.Egress {
		for _, v := range s.world.Egress[i].VirtualServices {
			if len(v.Spec.GetTls())+len(v.Spec.GetTcp()) > 0 {
				out = append(out, v)
			}
		}
	}
	return out
}
