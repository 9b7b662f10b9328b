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
