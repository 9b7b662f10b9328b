package dataplane

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/xds"
)

// remember asks for what the control plane remembers that the workload uses.
func (p *Proxy) remember(u xds.Update) []xds.Refusal {
	var listeners, hosts []string
	for _, r := range u.Added {
		list := new(structpb.ListValue)
		if err := proto.Unmarshal(r.Body().GetValue(), list); err != nil {
			return []xds.Refusal{{Name: r.Name, Err: fmt.Errorf("remembered names: %w", err)}}
		}
		for _, v := range list.GetValues() {
			if name := v.GetStringValue(); strings.Contains(name, "/") {
				hosts = append(hosts, name)
			} else if name != "" {
				listeners = append(listeners, name)
			}
		}
	}
	p.store.Remember(listeners, hosts)
	return nil
}

// measureDemand makes metrics of what was asked for on demand.
func (p *Proxy) measureDemand() {
	asked := p.store.Asked
	p.metrics.NewFunc("lateen_on_demand_names", "Virtual hosts and listeners that were asked for because they were called.",
		func() float64 { return float64(asked().Names) })
	p.metrics.NewFunc("lateen_on_demand_absent_names", "Those of them that do not exist.", func() float64 { return float64(asked().None) })
	p.metrics.NewFunc("lateen_on_demand_held", "Requests and connections that wait for what they asked for.",
		func() float64 { return float64(asked().Held) })
	p.metrics.NewFunc("lateen_on_demand_waits", "Requests and connections that have waited for what they asked for since the start.",
		func() float64 { return float64(asked().Waits) })
}
