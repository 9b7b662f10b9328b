package tcp

import (
	"net/netip"

	"lateen.dev/lateen/proxy/filter/rbac"
	"lateen.dev/lateen/proxy/listen"
	"lateen.dev/lateen/proxy/plan"
)

// Admit applies the network RBAC filters of a connection's chain, as they are
// configured under p. denied is the policy's name, or "none" where nothing
// allowed it; missing names the filter whose configuration has not come, where
// that is why.
func Admit(p *plan.Plan, a *listen.Accepted) (denied, missing string, ok bool) {
	var facts *rbac.Facts
	for i := range a.Chain.Filters {
		config := a.Chain.Filters[i].Config
		if d := a.Chain.Filters[i].Discovery; d != nil {
			if config = d.NetworkConfig(p); config == nil {
				return "", a.Chain.Filters[i].Name, false
			}
		}
		f, is := config.(*plan.NetworkRBAC)
		if !is {
			continue
		}
		if facts == nil {
			facts = factsOf(a)
		}
		if v := rbac.Decide(f.Rules, facts); !v.Allowed {
			if v.Policy == "" {
				v.Policy = "none"
			}
			return v.Policy, "", false
		}
	}
	return "", "", true
}

func factsOf(a *listen.Accepted) *rbac.Facts {
	f := &rbac.Facts{Destination: a.Destination, Direct: a.Direct.Addr(), Source: a.Remote.Addr(), Remote: a.Remote.Addr(),
		ServerName: []byte(a.SNI)}
	if !f.Destination.IsValid() {
		f.Destination = netip.AddrPortFrom(a.Local.Addr(), a.Local.Port())
	}
	if a.TLS != nil && a.TLS.Peer != nil {
		f.Authenticated = true
		for _, uri := range a.TLS.Peer.URIs {
			f.Names = append(f.Names, []byte(uri))
		}
	}
	return f
}
