package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/lib/atomicfile"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

// Bounds of what is remembered.
const (
	mostWorkloads = 10_000
	mostUses      = 1_000
	// usesAge is for how long a name is remembered after a workload asked for it. A name that is still in use by then is
	// asked for once more, by the next proxy of the workload that calls it.
	usesAge = 30 * 24 * time.Hour
	// usesDelay is how long changes are gathered before they are written.
	usesDelay = time.Second
)

// uses remembers, for each workload whose proxies ask for what they use, what that was: the next proxy of the workload
// asks for it when it starts. Safe for any number of goroutines; run writes it to a file.
type uses struct {
	path string
	now  func() time.Time
	log  *slog.Logger

	changed chan struct{}

	mu        sync.Mutex
	workloads map[string]*workloadUses // by namespace/service account/workload
}

// workloadUses is what one workload has used.
type workloadUses struct {
	Namespace string            `json:"namespace"`
	Workload  string            `json:"workload"`
	Labels    map[string]string `json:"labels,omitempty"`
	// Names are listeners (ADDRESS_PORT) and virtual hosts (TABLE/HOST) as proxies ask for them.
	Names map[string]use `json:"names"`
}

// use is a name that was asked for.
type use struct {
	// Service is NAMESPACE/HOST.
	Service string    `json:"service"`
	At      time.Time `json:"at"`
}

// openUses reads the file, if there is one.
func openUses(path string, log *slog.Logger) (*uses, error) {
	u := &uses{path: path, now: time.Now, log: log, changed: make(chan struct{}, 1), workloads: map[string]*workloadUses{}}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return u, nil
	case err != nil:
		return nil, fmt.Errorf("what workloads use: %w", err)
	}
	if err := json.Unmarshal(b, &u.workloads); err != nil {
		// It can be learnt anew; the mesh need not stand still for it.
		log.Warn("what workloads use can't be read and is forgotten", "file", path, "error", err)
		u.workloads = map[string]*workloadUses{}
	}
	maps.DeleteFunc(u.workloads, func(_ string, w *workloadUses) bool { return w == nil })
	u.ageLocked()
	return u, nil
}

// ageLocked forgets what nobody has asked for in a long time.
func (u *uses) ageLocked() {
	oldest := u.now().Add(-usesAge)
	for key, w := range u.workloads {
		maps.DeleteFunc(w.Names, func(_ string, n use) bool { return n.At.Before(oldest) })
		if len(w.Names) == 0 {
			delete(u.workloads, key)
		}
	}
}

func usesKey(p *model.Proxy) string {
	return p.Namespace + "/" + p.ServiceAccount + "/" + p.WorkloadName
}

// note remembers a name that a proxy asked for and got.
func (u *uses) note(p *model.Proxy, name, service string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := usesKey(p)
	w := u.workloads[key]
	if w == nil {
		if len(u.workloads) >= mostWorkloads {
			return
		}
		w = &workloadUses{Namespace: p.Namespace, Workload: p.WorkloadName, Names: map[string]use{}}
		u.workloads[key] = w
	}
	w.Labels = nil
	if app := p.Labels["app"]; app != "" {
		w.Labels = map[string]string{"app": app}
	}
	if _, known := w.Names[name]; known || len(w.Names) >= mostUses {
		return
	}
	w.Names[name] = use{Service: service, At: u.now()}
	select {
	case u.changed <- struct{}{}:
	default:
	}
}

// of is what a new proxy of the workload shall ask for; nil if nothing is remembered.
func (u *uses) of(p *model.Proxy) *xds.Set {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.workloads[usesKey(p)]
	if w == nil || len(w.Names) == 0 {
		return nil
	}
	list := &structpb.ListValue{}
	for _, name := range slices.Sorted(maps.Keys(w.Names)) {
		list.Values = append(list.Values, structpb.NewStringValue(name))
	}
	body, err := anypb.New(list)
	if err != nil {
		u.log.Error("what a workload uses can't be written for its proxy", "workload", w.Workload, "error", err)
		return nil
	}
	body.TypeUrl = xds.RememberedType
	return xds.NewSet(xds.RememberedType, []*xds.Resource{xds.FromAny("uses", body)})
}

// run writes changes until ctx ends.
func (u *uses) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-u.changed:
		}
		wait := time.NewTimer(usesDelay)
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
		if err := u.save(); err != nil {
			u.log.Error("what workloads use is not written", "error", err)
		}
	}
}

func (u *uses) save() error {
	u.mu.Lock()
	u.ageLocked()
	b, err := json.Marshal(u.workloads)
	u.mu.Unlock()
	if err != nil {
		return fmt.Errorf("what workloads use: %w", err)
	}
	return atomicfile.Write(u.path, b, 0o600)
}

// suggest answers with the services that a namespace's workloads, or one of them, have used.
func (u *uses) suggest(w http.ResponseWriter, q *http.Request) {
	namespace, workload := q.FormValue("namespace"), q.FormValue("workload")
	out := cli.UsesResponse{}
	u.mu.Lock()
	for _, key := range slices.Sorted(maps.Keys(u.workloads)) {
		one := u.workloads[key]
		if one.Namespace != namespace || workload != "" && one.Workload != workload {
			continue
		}
		hosts := map[string]bool{}
		for _, n := range one.Names {
			hosts[n.Service] = true
		}
		out.Workloads = append(out.Workloads, cli.WorkloadUses{Namespace: one.Namespace, Workload: one.Workload, Labels: maps.Clone(one.Labels),
			Hosts: slices.Sorted(maps.Keys(hosts))})
	}
	u.mu.Unlock()
	writeJSON(w, out)
}

// Asked implements server.Asker: what a proxy asks for by name, and gets, its workload uses.
func (s *session) Asked(typeURL string, names []string) {
	set := s.State().Set(typeURL)
	if s.discovery.uses == nil || !set.OnDemand() || typeURL != xds.ListenerType && typeURL != xds.VirtualHostType {
		return
	}
	snap := s.discovery.translator.Snapshot()
	for _, name := range names {
		r := set.Get(name)
		if r == nil || set.Member(name) != nil {
			continue
		}
		if service := serviceOf(snap, s.proxy.Namespace, r); service != "" {
			s.discovery.uses.note(s.proxy, name, service)
		}
	}
}

// serviceOf is NAMESPACE/HOST of what a listener or virtual host is for; "" for a listener of no service.
func serviceOf(snap *world.Snapshot, namespace string, r *xds.Resource) string {
	var found []*model.Service
	host := translate.HostOf(r)
	if host == "" {
		address, _, _ := strings.Cut(r.Name, "_")
		a, err := netip.ParseAddr(address)
		if err != nil || a.IsUnspecified() {
			return ""
		}
		if found = snap.ServicesAt(a); len(found) == 0 {
			return ""
		}
		host = found[0].Hostname
	} else {
		found = snap.ServicesByHost(host)
	}
	if len(found) == 0 {
		return "*/" + host // of a route for a name that no service has
	}
	for _, svc := range found {
		if svc.Namespace == namespace {
			return namespace + "/" + host
		}
	}
	return found[0].Namespace + "/" + host
}
