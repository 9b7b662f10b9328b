package translate

import (
	"slices"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/xds"
)

// kept is what a group keeps of its last plan of listeners and route tables, for changes of routes alone: most of them
// touch a few virtual hosts of a thousand.
type kept struct {
	listeners []*xds.Resource
	tables    map[string]routeTableName
	// l4 are the routes with TCP or TLS rules, the only ones that the plan of listeners looks at.
	l4    []*model.VirtualService
	hosts map[string]hostList
	// sent are the virtual hosts of each table that is sent without them; next is the same for the tables that are
	// being made.
	sent, next map[string][]*vhost
	// asked and askedNext are the same of tables whose virtual hosts are asked for, and index finds those of asked.
	asked, askedNext map[string][]*vhost
	index            *hostIndex
	// always are the listeners that a sidecar on demand gets without asking.
	always []*xds.Resource
}

// hostList is a table's virtual hosts: as they were found, and what became of them, sorted and without domains that an
// earlier one has.
type hostList struct {
	found, out []*vhost
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

// still returns the list for hosts that differ from those of before only in their routes; nil if they differ in more. What
// domains a host lost to others, and its place, depend on names and domains alone.
func (l hostList) still(found []*vhost) []*vhost {
	if len(found) != len(l.found) {
		return nil
	}
	var replaced map[*vhost]*vhost
	for i, now := range found {
		before := l.found[i]
		if now == before {
			continue
		}
		if now.name != before.name || !slices.Equal(now.domains, before.domains) {
			return nil
		}
		if replaced == nil {
			replaced = map[*vhost]*vhost{}
		}
		if other, twice := replaced[before]; twice && other != now {
			return nil
		}
		replaced[before] = now
	}
	out := slices.Clone(l.out)
	left := len(replaced)
	for i, v := range out {
		if now := replaced[v]; now != nil {
			out[i] = now
			left--
		}
	}
	if left != 0 {
		return nil // one of them was cut, left out or stood there twice
	}
	return out
}
