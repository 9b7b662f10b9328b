package workload

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/source"
)

// observed is what the registry knows of configuration that people wrote: their
// WorkloadGroups shape the entries, and their services take the place of ours.
type observed struct {
	groups map[config.Key]*config.Object
	// claims counts, per ServiceEntry, the hosts that need no Service of ours.
	claims map[config.Key][]host.Name
}

// Observe tells the registry what another source says. It may be called from
// any goroutine, also before Run; the batches of one source in their order.
func (r *Registry) Observe(b source.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	relevant := false
	for _, c := range b.Changes {
		switch c.Key.Kind {
		case config.WorkloadGroup:
			relevant = true
			if c.Object == nil {
				delete(r.seen.groups, c.Key)
			} else {
				r.seen.groups[c.Key] = c.Object
			}
		case config.ServiceEntry:
			relevant = true
			delete(r.seen.claims, c.Key)
			if c.Object == nil {
				continue
			}
			for _, h := range config.As[*networking.ServiceEntry](c.Object).GetHosts() {
				r.seen.claims[c.Key] = append(r.seen.claims[c.Key], host.Name(strings.ToLower(h)))
			}
		}
	}
	if relevant {
		r.revision++
		r.wakeRun()
	}
}

// claimed says whether a ServiceEntry has the service's own host, exactly or in
// the short form. (A Service of the same name needs no look: sources of what
// people wrote have precedence over this one.)
func (o *observed) claimed(reg *Registration) bool {
	full := host.FQDN(reg.Service, reg.Namespace, "")
	for key, hosts := range o.claims {
		for _, h := range hosts {
			if h == full || string(h) == reg.Service && key.Namespace == reg.Namespace {
				return true
			}
		}
	}
	return false
}

// group is the WorkloadGroup that a registration belongs to, nil if nobody
// wrote one.
func (o *observed) group(reg *Registration) *config.Object {
	return o.groups[config.Key{Kind: config.WorkloadGroup, Namespace: reg.Namespace, Name: reg.group()}]
}
