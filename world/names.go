package world

import (
	"net/netip"
	"slices"
	"strings"

	"lateen.dev/lateen/model"
)

// Name is one entry of the table from which proxies answer DNS.
type Name struct {
	// Host is the full name, possibly a wildcard.
	Host string
	// ShortName and Namespace are given for Kubernetes Services, whose names may be shortened (reviews, reviews.default,
	// reviews.default.svc).
	ShortName, Namespace string
	Registry             model.Registry
	Addresses            []netip.Addr
}

// Names returns what names the services in scope of a sidecar resolve to, sorted by name. Services with virtual IPs resolve
// to them, headless ones to their endpoints, aliases to what they stand for; those that have neither are left to the machine's
// resolver.
func (s *Snapshot) Names(services []*model.Service) []Name {
	out := make([]Name, 0, len(services))
	for _, svc := range services {
		named := svc
		if svc.Resolution == model.Alias {
			if named = s.VisibleService(svc.Namespace, svc.ExternalName); named == nil {
				continue
			}
		}
		if addresses := s.namedAddresses(named); len(addresses) > 0 {
			out = append(out, nameOf(svc, addresses))
		}
	}
	slices.SortFunc(out, func(a, b Name) int { return strings.Compare(a.Host, b.Host) })
	return out
}

func nameOf(svc *model.Service, addresses []netip.Addr) Name {
	n := Name{Host: svc.Hostname, Registry: svc.Registry, Addresses: addresses}
	if svc.Registry == model.KubernetesRegistry {
		n.ShortName, n.Namespace = svc.Name, svc.Namespace
	}
	return n
}

func (s *Snapshot) namedAddresses(svc *model.Service) []netip.Addr {
	if !svc.Headless {
		return svc.VIPs()
	}
	var out []netip.Addr
	set := s.endpoints.At(svc.Key())
	if set == nil {
		return nil
	}
	for i := range set.Endpoints {
		e := &set.Endpoints[i]
		if e.Health != model.Healthy && !svc.PublishNotReady {
			continue
		}
		if ip, err := netip.ParseAddr(e.Address); err == nil && !slices.Contains(out, ip) {
			out = append(out, ip)
		}
	}
	return out
}
