package consultest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Service is a registration, as the agent's API takes it.
type Service struct {
	ID      string            `json:"ID"`
	Name    string            `json:"Name"`
	Kind    string            `json:"Kind,omitempty"`
	Tags    []string          `json:"Tags,omitempty"`
	Meta    map[string]string `json:"Meta,omitempty"`
	Address string            `json:"Address,omitempty"`
	Port    int               `json:"Port,omitempty"`
	Ports   []Port            `json:"Ports,omitempty"`
	Connect *Connect          `json:"Connect,omitempty"`
	Weights *Weights          `json:"Weights,omitempty"`
	// Datacenter is the server's own when empty. It is no part of Consul's API,
	// whose agents each have one.
	Datacenter string `json:"-"`
}

// Port is one of several ports of a service.
type Port struct {
	Name    string
	Port    int
	Default bool
}

// Connect says whether the program speaks Consul's own mesh's protocol.
type Connect struct{ Native bool }

// Weights are those of an instance.
type Weights struct{ Passing, Warning int }

// Server is one Consul. Make it with New.
type Server struct {
	// NodeMeta is the only node's metadata.
	NodeMeta map[string]string

	mu       sync.Mutex // guards what follows
	index    uint64
	services map[string]Service // by datacenter and ID
	status   map[string]string  // by datacenter and ID
	// changedAt are the indexes at which services changed, by datacenter and name.
	changedAt map[string]uint64
	moved     chan struct{} // closed and replaced at each change
	failing   string
	token     string
	filtered  bool
	queries   int
}

// Datacenter is the server's own.
const Datacenter = "dc1"

const firstIndex = 10

// New makes a Consul without services.
func New() *Server {
	s := &Server{}
	s.reset()
	return s
}

func (s *Server) reset() {
	s.index, s.moved = firstIndex, make(chan struct{})
	s.services, s.status, s.changedAt = map[string]Service{}, map[string]string{}, map[string]uint64{}
}

// Register adds or replaces a service; its check passes.
func (s *Server) Register(v Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.ID == "" {
		v.ID = v.Name
	}
	if v.Datacenter == "" {
		v.Datacenter = Datacenter
	}
	id := v.Datacenter + "/" + v.ID
	s.services[id] = v
	if s.status[id] == "" {
		s.status[id] = "passing"
	}
	s.changeLocked(v.Datacenter, v.Name)
}

// Deregister takes a service away, and says whether it was there.
func (s *Server) Deregister(dc, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, there := s.services[dc+"/"+id]
	if there {
		delete(s.services, dc+"/"+id)
		delete(s.status, dc+"/"+id)
		s.changeLocked(dc, v.Name)
	}
	return there
}

// SetStatus makes a service's check passing, warning or critical, and says
// whether there is such a service.
func (s *Server) SetStatus(dc, id, status string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, there := s.services[dc+"/"+id]
	if there {
		s.status[dc+"/"+id] = status
		s.changeLocked(dc, v.Name)
	}
	return there
}

// Fail has every query answered with an error from now on; "" ends that.
func (s *Server) Fail(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = reason
	s.moveLocked()
}

// RequireToken has only queries with this ACL token answered; "" all.
func (s *Server) RequireToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
	s.moveLocked()
}

// Filter has answers say that the token saw only a part.
func (s *Server) Filter(filtered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filtered = filtered
	s.index++
	for name := range s.changedAt {
		s.changedAt[name] = s.index
	}
	s.moveLocked()
}

// StartAnew makes it a Consul that lost all it knew, its index included.
func (s *Server) StartAnew(services ...Service) {
	s.mu.Lock()
	moved := s.moved
	s.reset()
	s.index = 1
	s.mu.Unlock()
	for _, v := range services {
		s.Register(v)
	}
	close(moved)
}

// Queries is how many queries have been answered.
func (s *Server) Queries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries
}

func (s *Server) changeLocked(dc, name string) {
	s.index++
	s.changedAt[dc+"/"+name] = s.index
	s.changedAt[dc+"/"] = s.index
	s.moveLocked()
}

func (s *Server) moveLocked() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	name, isHealth := strings.CutPrefix(path, "/v1/health/service/")
	switch {
	case path == "/v1/status/leader":
		fmt.Fprintln(w, `"127.0.0.1:8300"`)
	case path == "/v1/catalog/services" && r.Method == http.MethodGet:
		s.query(w, r, "", s.catalogLocked)
	case isHealth && r.Method == http.MethodGet:
		s.query(w, r, name, func(dc string) any { return s.healthLocked(dc, name) })
	case strings.HasPrefix(path, "/v1/agent/") && r.Method == http.MethodPut:
		s.agent(w, r, strings.TrimPrefix(path, "/v1/agent/"))
	default:
		http.Error(w, "Invalid URL path: not a recognized HTTP API endpoint", http.StatusNotFound)
	}
}

// agent serves registering, deregistering, and the states of checks.
func (s *Server) agent(w http.ResponseWriter, r *http.Request, path string) {
	if path == "service/register" {
		var v Service
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&v); err != nil || v.Name == "" {
			http.Error(w, fmt.Sprintf("Request decode failed: %v", err), http.StatusBadRequest)
			return
		}
		s.Register(v)
		return
	}
	there := false
	what, id, _ := strings.Cut(path, "/")
	action, id, _ := strings.Cut(id, "/")
	switch id = strings.TrimPrefix(id, "service:"); what + "/" + action {
	case "service/deregister":
		there = s.Deregister(Datacenter, id)
	case "check/pass":
		there = s.SetStatus(Datacenter, id, "passing")
	case "check/warn":
		there = s.SetStatus(Datacenter, id, "warning")
	case "check/fail":
		there = s.SetStatus(Datacenter, id, "critical")
	}
	if !there {
		http.Error(w, fmt.Sprintf("Unknown service ID %q. Ensure that the service ID is passed, not the service name.", id), http.StatusNotFound)
	}
}

// defaultWait and maxWait are Consul's own.
const (
	defaultWait = 5 * time.Minute
	maxWait     = 10 * time.Minute
)

// query answers at once, or, with an index, when there is something newer.
func (s *Server) query(w http.ResponseWriter, r *http.Request, name string, answerLocked func(dc string) any) {
	q := r.URL.Query()
	dc := q.Get("dc")
	if dc == "" {
		dc = Datacenter
	}
	wanted, _ := strconv.ParseUint(q.Get("index"), 10, 64)
	wait, err := time.ParseDuration(q.Get("wait"))
	if err != nil || wait <= 0 {
		wait = defaultWait
	}
	over := time.NewTimer(min(wait, maxWait))
	defer over.Stop()
	for timedOut := false; ; {
		s.mu.Lock()
		moved, index := s.moved, max(s.changedAt[dc+"/"+name], 1)
		code, reason := s.refusalLocked(r, dc)
		if code == 0 && wanted > 0 && index == wanted && !timedOut {
			s.mu.Unlock()
			select {
			case <-moved:
			case <-over.C:
				timedOut = true
			case <-r.Context().Done():
				return
			}
			continue
		}
		s.queries++
		filtered := s.filtered
		var answer any
		if code == 0 {
			answer = answerLocked(dc)
		}
		s.mu.Unlock()
		if code != 0 {
			http.Error(w, reason, code)
			return
		}
		writeAnswer(w, index, filtered, answer)
		return
	}
}

func (s *Server) refusalLocked(r *http.Request, dc string) (code int, reason string) {
	token := r.Header.Get("X-Consul-Token")
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && token == "" {
		token = bearer
	}
	switch {
	case s.failing != "":
		return http.StatusInternalServerError, s.failing
	case s.token != "" && token == "":
		return http.StatusForbidden, "Permission denied: anonymous token lacks permission 'service:read'"
	case s.token != "" && token != s.token:
		return http.StatusForbidden, "ACL not found"
	case dc != Datacenter && s.changedAt[dc+"/"] == 0:
		return http.StatusInternalServerError, "No path to datacenter"
	}
	return 0, ""
}

func writeAnswer(w http.ResponseWriter, index uint64, filtered bool, answer any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Consul-Index", strconv.FormatUint(index, 10))
	h.Set("X-Consul-KnownLeader", "true")
	h.Set("X-Consul-LastContact", "0")
	h.Set("X-Consul-Default-Acl-Policy", "allow")
	h.Set("X-Consul-Effective-Consistency", "leader")
	if filtered {
		h.Set("X-Consul-Results-Filtered-By-Acls", "true")
	}
	_ = json.NewEncoder(w).Encode(answer) // who asked has gone
}

func (s *Server) catalogLocked(dc string) any {
	services := map[string][]string{}
	if dc == Datacenter {
		services["consul"] = []string{}
	}
	for _, v := range s.services {
		if v.Datacenter == dc {
			services[v.Name] = append(services[v.Name], v.Tags...)
			slices.Sort(services[v.Name])
			services[v.Name] = slices.Compact(services[v.Name])
		}
	}
	return services
}

// object is a JSON object.
type object = map[string]any

func (s *Server) healthLocked(dc, name string) any {
	entries := []object{}
	for _, id := range slices.Sorted(maps.Keys(s.services)) {
		v := s.services[id]
		if v.Datacenter != dc || v.Name != name {
			continue
		}
		weights := v.Weights
		if weights == nil {
			weights = &Weights{1, 1}
		}
		service := object{
			"ID": v.ID, "Service": v.Name, "Tags": v.Tags, "Address": v.Address, "Meta": v.Meta, "Port": v.Port,
			"Weights": weights, "EnableTagOverride": false, "Proxy": object{"Mode": "", "MeshGateway": object{}, "Expose": object{}},
			"Connect": v.Connect, "CreateIndex": firstIndex, "ModifyIndex": s.changedAt[dc+"/"+name], "Kind": v.Kind, "Ports": v.Ports,
		}
		node := object{
			"ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "node-" + dc, "Address": "127.0.0.1", "Datacenter": dc,
			"TaggedAddresses": object{"lan": "127.0.0.1", "wan": "127.0.0.1"}, "Meta": s.NodeMeta, "CreateIndex": 1, "ModifyIndex": 1,
		}
		entries = append(entries, object{"Node": node, "Service": service, "Checks": []object{
			{"Node": "node-" + dc, "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing", "ServiceID": "", "ServiceName": ""},
			{"Node": "node-" + dc, "CheckID": "service:" + v.ID, "Name": "Service check", "Status": s.status[id], "ServiceID": v.ID, "ServiceName": v.Name},
		}})
	}
	return entries
}
