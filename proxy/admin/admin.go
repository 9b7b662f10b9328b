package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/state"
)

// Store is the part of proxy/state that is shown.
type Store interface {
	Resources(kind plan.Kind) []state.Resource
	Ready() (bool, string)
}

// Levels are the log scopes.
type Levels interface {
	Levels() map[string]string
	SetLevel(scope, level string) error
}

// Options are what the admin side shows and does. Functions that are nil answer 404 or show nothing.
type Options struct {
	Store   Store
	Current *plan.Current
	// Bootstrap is the bootstrap that the proxy was started with, for /config_dump; may be nil.
	Bootstrap *anypb.Any
	// Hosts are the hosts of a cluster in force, with their statistics. Nil shows the plan's endpoints.
	Hosts func(cluster string) []Host
	// Bound are the addresses that a listener listens on; nil shows those configured.
	Bound func(listener string) []string
	// Stats calls emit with every statistic, by Envoy's name.
	Stats func(emit func(name string, value int64))
	// Prometheus serves /stats/prometheus.
	Prometheus http.Handler
	Levels     Levels
	// Drain drains listeners.
	Drain func(Drain)
	// FailHealthCheck makes the proxy look unhealthy, or healthy again.
	FailHealthCheck func(fail bool)
	// Quit asks the process to end.
	Quit func()
	// Resolve finds a host of the mesh for /explain; nil leaves names unresolved.
	Resolve func(ctx context.Context, host string) []netip.Addr
	Info    Info
	Now     func() time.Time
}

// Info is what /server_info says of the process.
type Info struct {
	Version string
	Start   time.Time
	// Node is the proxy's node, as JSON.
	Node json.RawMessage
	// Draining reports whether the proxy is draining; may be nil.
	Draining func() bool
	// HotRestart tells that another process may take over; Epoch is how many were there before this one.
	HotRestart bool
	Epoch      int
}

// Drain is what /drain_listeners was asked for.
type Drain struct {
	// InboundOnly leaves out listeners that are not inbound. Graceful goes on accepting until the drain time has
	// passed, and with SkipExit after that, too.
	InboundOnly, Graceful, SkipExit bool
}

// Host is one host of a cluster.
type Host struct {
	Address  string // ip:port or path
	Hostname string
	Weight   uint32
	Priority int
	Locality plan.Locality
	Health   plan.HealthStatus
	// Ejected hosts failed outlier detection; FailedCheck ones failed active health checks.
	Ejected, FailedCheck bool
	Stats                []HostStat
}

// HostStat is one statistic of a host: cx_total, rq_active…
type HostStat struct {
	Name  string
	Value int64
	Gauge bool
}

// server holds the options and renders answers.
type server struct {
	Options
}

// path is one path of the admin side.
type path struct {
	pattern string
	help    string
	serve   http.HandlerFunc
	// changes says that it needs POST.
	changes bool
}

// Handler returns the admin side.
func Handler(o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &server{o}
	mux := http.NewServeMux()
	paths := s.paths()
	for _, p := range paths {
		h := p.serve
		if p.changes {
			h = postOnly(h)
		}
		mux.HandleFunc(p.pattern, h)
	}
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { help(w, paths) })
	mux.HandleFunc("/help", func(w http.ResponseWriter, _ *http.Request) { help(w, paths) })
	return guard(mux)
}

// paths is the one list of what is served.
func (s *server) paths() []path {
	list := []path{
		{"/config_dump", "configuration as the control plane gave it (?include_eds, ?resource=, ?name_regex=)", s.configDump, false},
		{"/clusters", "clusters with their hosts (?format=json)", s.clusters, false},
		{"/listeners", "listeners with their addresses (?format=json)", s.listeners, false},
		{"/stats", "counters and gauges (?filter=REGEX, ?usedonly, ?format=json|prometheus)", s.stats, false},
		{"/server_info", "version, state and node", s.serverInfo, false},
		{"/ready", "200 when the proxy is ready, 503 before", s.ready, false},
		{"/certs", "certificates in force", s.certs, false},
		{"/memory", "memory in use", s.memory, false},
		{"/debug/pprof/profile", "CPU profile for go tool pprof (?seconds=30)", s.profile, false},
		{"/explain", "where a request goes and why (?method=, ?url=, ?header=, ?listener=, ?destination=, ?source=, ?sni=)", s.explain, false},
	}
	if s.Prometheus != nil {
		list = append(list, path{"/stats/prometheus", "metrics in Prometheus' format", s.Prometheus.ServeHTTP, false})
	}
	if s.Levels != nil {
		list = append(list, path{"/logging", "log levels (POST ?level=, ?SCOPE=LEVEL, ?paths=SCOPE:LEVEL,…)", s.logging, false})
	}
	if s.Drain != nil {
		list = append(list, path{"/drain_listeners", "drain listeners (POST, ?inboundonly, ?graceful, ?skip_exit)", s.drain, true})
	}
	if s.FailHealthCheck != nil {
		list = append(list,
			path{"/healthcheck/fail", "look unhealthy, and ask connections to end (POST)", s.healthCheck(true), true},
			path{"/healthcheck/ok", "look healthy again (POST)", s.healthCheck(false), true})
	}
	if s.Quit != nil {
		list = append(list, path{"/quitquitquit", "end the process (POST)", s.quit, true})
	}
	return list
}

func help(w http.ResponseWriter, paths []path) {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	fmt.Fprintln(w, "admin commands are:")
	for _, p := range paths {
		fmt.Fprintf(w, "  %s: %s\n", p.pattern, p.help)
	}
}

func postOnly(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "this path changes something: use POST", http.StatusMethodNotAllowed)
			return
		}
		h(w, r)
	}
}

// writeJSON writes v indented, as people read these pages, too.
func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n')) // the client is gone if this fails
}
