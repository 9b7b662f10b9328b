package workload

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/host"
	"lateen.dev/lateen/source"
)

// Name is the source's name.
const Name = "workload"

// Port is a port that a program serves.
type Port struct {
	Number uint16 `json:"number"`
	// Name, and by its prefix the protocol, as in a Kubernetes Service.
	Name string `json:"name,omitempty"`
	// Bound is the port on which the proxy takes connections for Number, where
	// it can't be the same one.
	Bound uint16 `json:"bound,omitempty"`
}

// Request is what a program says of itself when it registers.
type Request struct {
	Namespace      string            `json:"namespace"`
	Service        string            `json:"service"`
	Version        string            `json:"version,omitempty"`
	ServiceAccount string            `json:"serviceAccount,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	// Ports are none for a program that only calls others.
	Ports    []Port `json:"ports,omitempty"`
	Locality string `json:"locality,omitempty"`
	// Gateway marks a proxy that serves no program: it is no endpoint.
	Gateway bool `json:"gateway,omitempty"`
	// PID is the proxy's process on this machine, 0 if it isn't here.
	PID int `json:"pid,omitempty"`
}

// Registration is a registered workload.
type Registration struct {
	Request
	// ID is NAMESPACE/NAME; Name is SERVICE-VERSION, with a number if there are
	// several.
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	Created time.Time  `json:"created"`
	// Ready: it takes requests, so it is an endpoint.
	Ready bool `json:"ready"`
	// Connected since; zero while no proxy of it is connected.
	Connected time.Time `json:"connected,omitzero"`
	// Group is the WorkloadGroup of one that registered itself by its proxy, and
	// Network the one that it is on.
	Group   string `json:"group,omitempty"`
	Network string `json:"network,omitempty"`
	// Process tells the process from others that have had its PID; "" for one of
	// which that is not known.
	Process string `json:"process,omitempty"`
}

// Group is the WorkloadGroup that an entry is said to come from.
func (r *Registration) group() string {
	switch {
	case r.Group != "":
		return r.Group
	case r.Version == "":
		return r.Service
	}
	return r.Service + "-" + r.Version
}

// Options of a Registry. Zero values take the defaults named.
type Options struct {
	// File keeps the registrations.
	File string
	// Prefix for addresses; DefaultPrefix.
	Prefix netip.Prefix
	// Grace is how long a workload stays after its proxy has gone, if nobody can
	// say whether its process is still there; 10 s. One whose process is there
	// stays: its proxy serves, and comes back as soon as the machine lets it.
	Grace time.Duration
	// Process names a process of this machine, so that another one with the same
	// number gets another name; "" if there is none of that number. nil knows
	// of no process.
	Process func(pid int) string
	// InUse tells whether somebody else on this machine, another mesh say, uses
	// an address; nil asks nobody.
	InUse func(netip.Addr) bool
	// Now is the clock; time.Now.
	Now func() time.Time
}

// Registry holds the registered workloads.
type Registry struct {
	o    Options
	wake chan struct{} // capacity 1

	mu       sync.Mutex // guards all below
	entries  map[string]*entry
	revision uint64
	seen     observed
}

type entry struct {
	Registration
	streams int
	gone    time.Time // when it is removed unless a proxy connects; zero: never
}

var _ source.Source = (*Registry)(nil)

// Open reads the registrations of a file that may not exist yet. Workloads
// whose process has ended meanwhile are dropped; the others have the grace to
// connect again.
func Open(o Options) (*Registry, error) {
	if !o.Prefix.IsValid() {
		o.Prefix = DefaultPrefix
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if !o.Prefix.Addr().Is4() {
		return nil, fmt.Errorf("workload addresses: %s is no IPv4 prefix", o.Prefix)
	}
	r := &Registry{o: o, wake: make(chan struct{}, 1), entries: map[string]*entry{}}
	r.seen = observed{groups: map[config.Key]*config.Object{}, claims: map[config.Key][]host.Name{}}
	saved, err := load(o.File)
	if err != nil {
		return nil, err
	}
	for _, reg := range saved {
		reg.Connected = time.Time{}
		e := &entry{Registration: reg, gone: o.Now().Add(o.Grace)}
		if r.process(e) != ended {
			r.entries[reg.ID] = e
		}
	}
	return r, nil
}

// ErrRequest means that a registration can't be what was asked for.
var ErrRequest = errors.New("workload registration")

// Register makes a workload known and gives it a name and an address. It is
// no endpoint before Ready.
func (r *Registry) Register(q Request) (Registration, error) {
	if err := q.check(); err != nil {
		return Registration{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	reg := Registration{Request: q, Created: r.o.Now()}
	base := reg.group()
	for n := 1; ; n++ {
		reg.Name = base
		if n > 1 {
			reg.Name = fmt.Sprintf("%s-%d", base, n)
		}
		reg.ID = q.Namespace + "/" + reg.Name
		old := r.entries[reg.ID]
		if old == nil || r.endedLocked(old) {
			break
		}
	}
	delete(r.entries, reg.ID)
	address, err := allocate(r.o.Prefix, reg.ID, r.takenLocked)
	if err != nil {
		return Registration{}, fmt.Errorf("%w of %s: %w", ErrRequest, reg.ID, err)
	}
	reg.Address = address
	if reg.PID != 0 && r.o.Process != nil {
		reg.Process = r.o.Process(reg.PID)
	}
	r.entries[reg.ID] = &entry{Registration: reg, gone: r.o.Now().Add(r.o.Grace)}
	return reg, r.changedLocked()
}

func (r *Registry) takenLocked(a netip.Addr) bool {
	for _, e := range r.entries {
		if e.Address == a {
			return true
		}
	}
	return r.o.InUse != nil && r.o.InUse(a)
}

// check holds names to what may stand in a DNS name and in an identity.
func (q *Request) check() error {
	names := map[string]string{"namespace": q.Namespace, "service": q.Service}
	if q.Version != "" {
		names["version"] = strings.ReplaceAll(strings.ToLower(q.Version), ".", "-")
	}
	if q.ServiceAccount != "" {
		names["service account"] = strings.ReplaceAll(q.ServiceAccount, ".", "-")
	}
	for what, name := range names {
		if !isLabel(name) {
			return fmt.Errorf("%w: the %s %q is not a DNS label (lower case letters, digits and dashes, 63 at most)", ErrRequest, what, name)
		}
	}
	for _, p := range q.Ports {
		if p.Number == 0 {
			return fmt.Errorf("%w: service %s has the port 0", ErrRequest, q.Service)
		}
	}
	return nil
}

func isLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// ErrUnknown means that no such workload is registered (any more).
var ErrUnknown = errors.New("workload is not registered")

// Get returns a registration.
func (r *Registry) Get(id string) (Registration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[id]
	if e == nil {
		return Registration{}, fmt.Errorf("%s: %w", id, ErrUnknown)
	}
	return e.Registration, nil
}

// All returns every registration, by ID, and the revision that Run hands on
// with or after them.
func (r *Registry) All() (all []Registration, revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.allLocked(), r.revision
}

func (r *Registry) allLocked() []Registration {
	all := make([]Registration, 0, len(r.entries))
	for _, e := range r.entries {
		all = append(all, e.Registration)
	}
	slices.SortFunc(all, func(a, b Registration) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// SetReady makes a workload an endpoint, or no longer one.
func (r *Registry) SetReady(id string, ready bool) error {
	return r.update(id, func(e *entry) bool {
		was := e.Ready
		e.Ready = ready
		return was != ready
	})
}

// Connect notes that a proxy of the workload has connected.
func (r *Registry) Connect(id string) error {
	return r.update(id, func(e *entry) bool {
		e.streams++
		e.gone = time.Time{}
		if e.streams == 1 {
			e.Connected = r.o.Now()
		}
		return e.streams == 1
	})
}

// Disconnect notes that a stream of the workload's proxy has ended. After the
// last one the workload goes: when its process has ended, or after the grace if
// nobody knows of a process.
func (r *Registry) Disconnect(id string) error {
	return r.update(id, func(e *entry) bool {
		if e.streams--; e.streams > 0 {
			return false
		}
		e.streams = 0
		e.Connected = time.Time{}
		e.gone = r.o.Now().Add(r.o.Grace)
		if r.endedLocked(e) {
			e.gone = r.o.Now()
		}
		return true
	})
}

func (r *Registry) update(id string, f func(*entry) bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[id]
	if e == nil {
		return fmt.Errorf("%s: %w", id, ErrUnknown)
	}
	if !f(e) {
		return nil
	}
	return r.changedLocked()
}

// Remove forgets a workload; it is no error if there is none.
func (r *Registry) Remove(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.entries[id]; !ok {
		return nil
	}
	delete(r.entries, id)
	return r.changedLocked()
}

// changedLocked saves, and has Run look.
func (r *Registry) changedLocked() error {
	r.revision++
	r.wakeRun()
	return save(r.o.File, r.allLocked())
}

func (r *Registry) wakeRun() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Objects are the objects that the registrations stand for now, sorted by key.
func (r *Registry) Objects() []*config.Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	return source.Overlay(slices.Collect(maps.Values(objectsOf(r.allLocked(), &r.seen))))
}

// Name implements source.Source.
func (r *Registry) Name() string { return Name }

// Problems implements source.Source: what is registered was checked before.
func (r *Registry) Problems() config.Problems { return nil }
