package workload

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
)

// Join is what a proxy says that makes its workload, on whatever machine, one of a
// WorkloadGroup's.
type Join struct {
	Namespace, Group string
	Address          netip.Addr
	Labels           map[string]string
	// ServiceAccount is the one that the proxy has proven to be, if any.
	ServiceAccount    string
	Network, Locality string
}

// ErrGroup means that a workload can't be one of a group's.
var ErrGroup = errors.New("auto-registration")

// ID is that of the registration. Its name is the one that Istio gives the entry.
func (j *Join) ID() string { return j.Namespace + "/" + j.name() }

func (j *Join) name() string {
	name := j.Group + "-" + strings.ReplaceAll(j.Address.String(), ":", "-")
	if j.Network != "" {
		name += "-" + j.Network
	}
	const longest = 253
	return name[max(0, len(name)-longest):]
}

// Join registers the workload of a proxy that has connected, or finds it again;
// Disconnect is for its going. It is an endpoint at once, unless the group has a
// probe: then it is one as long as SetReady says so.
func (r *Registry) Join(j Join) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	group := config.As[*networking.WorkloadGroup](groupOf(r.seen.groups[config.Key{Kind: config.WorkloadGroup, Namespace: j.Namespace, Name: j.Group}]))
	account := group.GetTemplate().GetServiceAccount()
	switch {
	case group == nil:
		return fmt.Errorf("%w: there is no WorkloadGroup %s/%s", ErrGroup, j.Namespace, j.Group)
	case !j.Address.IsValid():
		return fmt.Errorf("%w as one of WorkloadGroup %s/%s: the proxy's node id tells no address", ErrGroup, j.Namespace, j.Group)
	case account != "" && j.ServiceAccount != "" && account != j.ServiceAccount:
		return fmt.Errorf("%w: WorkloadGroup %s/%s is of the service account %s, the proxy has proven to be %s", ErrGroup, j.Namespace, j.Group, account, j.ServiceAccount)
	}
	e := r.entries[j.ID()]
	if e == nil {
		e = &entry{Registration: Registration{ID: j.ID(), Name: j.name(), Address: j.Address, Created: r.o.Now(), Group: j.Group, Ready: group.GetProbe() == nil}}
		r.entries[e.ID] = e
	}
	e.Request = Request{Namespace: j.Namespace, ServiceAccount: j.ServiceAccount, Labels: j.Labels, Locality: j.Locality}
	e.Network = j.Network
	e.streams++
	e.gone = time.Time{}
	if e.streams == 1 {
		e.Connected = r.o.Now()
	}
	return r.changedLocked()
}
