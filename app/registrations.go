package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/source/api"
	"lateen.dev/lateen/source/workload"
	"lateen.dev/lateen/xds/server"
)

// Paths of the local API for programs that join the mesh.
const (
	pathWorkloads = "/v1/workloads" // POST joinRequest → joinResponse; GET → workloadsResponse
	pathReady     = "/v1/ready"     // POST readyRequest
	pathLeave     = "/v1/leave"     // POST readyRequest
	pathToken     = "/v1/token"     // POST tokenRequest → tokenResponse
)

// joinResponse is all that a proxy needs to take part.
type joinResponse struct {
	Workload workload.Registration `json:"workload"`
	Token    string                `json:"token"`
	// Discovery is where discovery and the certificate authority are, over TLS.
	Discovery   string `json:"discovery"`
	Root        []byte `json:"root"` // PEM
	TrustDomain string `json:"trustDomain"`
	MeshID      string `json:"meshID"`
	Cluster     string `json:"cluster"`
	// TerminationDrain is how long the proxy may take to end, ProxyConfig's terminationDrainDuration.
	TerminationDrain time.Duration `json:"terminationDrain"`
	// OnDemand is what the workload says of it itself, by its command line: true, false or nothing.
	OnDemand string `json:"onDemand,omitempty"`
	// away: the control plane is on another machine.
	away      bool
	adminPort uint16
	group     string // the WorkloadGroup that it registers itself for
}

// workloadsResponse lists what is registered, as of a revision of the source
// of workloads.
type workloadsResponse struct {
	Revision  uint64                  `json:"revision"`
	Workloads []workload.Registration `json:"workloads"`
}

type readyRequest struct {
	ID    string `json:"id"`
	Ready bool   `json:"ready"`
}

type tokenRequest struct {
	ID string `json:"id"`
}

type tokenResponse struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// registrations serves programs that join: it hands out names, addresses and
// tokens over the local socket, and follows their proxies' streams.
type registrations struct {
	registry  *workload.Registry
	tokens    *ca.Tokens
	authority *ca.Authority
	discovery string
	cluster   string
	// terminationDrain is what MeshConfig says of it now.
	terminationDrain func() time.Duration
	log              *slog.Logger
}

// Connected implements attendance.
func (r *registrations) Connected(c server.Client) error {
	id := c.Node.Meta(metaWorkloadID)
	if id == "" {
		if j := joinOf(&c); j != nil {
			err := r.registry.Join(*j)
			if err == nil {
				r.log.Info("workload registered itself", "workload", j.ID(), "group", j.Group, "address", j.Address, "identity", c.Peer.ID)
			}
			return err
		}
		return nil
	}
	err := r.registry.Connect(id)
	if errors.Is(err, workload.ErrUnknown) {
		// Its grace is over, or the control plane lost it: it is to register anew.
		return fmt.Errorf("%w; it was away for too long, register again", err)
	}
	return err
}

// Disconnected implements attendance.
func (r *registrations) Disconnected(c server.Client) {
	id := workloadOf(&c)
	if id == "" {
		return
	}
	if err := r.registry.Disconnect(id); err != nil && !errors.Is(err, workload.ErrUnknown) {
		r.log.Error("a workload's departure is not saved", "workload", id, "error", err)
	}
}

// Health implements attendance. A workload that has been registered over the local
// API says there whether it is ready.
func (r *registrations) Health(c server.Client, healthy bool, reason string) error {
	j := joinOf(&c)
	if j == nil || c.Node.Meta(metaWorkloadID) != "" {
		return nil
	}
	r.log.Info("workload tells how it does", "workload", j.ID(), "healthy", healthy, "reason", reason)
	return r.registry.SetReady(j.ID(), healthy)
}

// workloadOf is the registration of a proxy's workload; "" if it has none.
func workloadOf(c *server.Client) string {
	if id := c.Node.Meta(metaWorkloadID); id != "" {
		return id
	}
	if j := joinOf(c); j != nil {
		return j.ID()
	}
	return ""
}

// joinOf is what a proxy says whose workload shall be one of a WorkloadGroup's; nil
// if it shall not.
func joinOf(c *server.Client) *workload.Join {
	n := c.Node
	if n.Metadata.AutoRegisterGroup == "" {
		return nil
	}
	j := &workload.Join{Namespace: firstOf(n.Metadata.Namespace, n.WorkloadNamespace(), "default"), Group: n.Metadata.AutoRegisterGroup,
		Labels: n.Metadata.Labels, Network: n.Metadata.Network,
		Locality: strings.TrimRight(n.Locality.Region+"/"+n.Locality.Zone+"/"+n.Locality.SubZone, "/")}
	if len(n.IPs) > 0 {
		j.Address = n.IPs[0]
	}
	if id, err := identity.ParseID(c.Peer.ID); err == nil {
		j.ServiceAccount = id.ServiceAccount
	}
	return j
}

func (r *registrations) mount(mux *http.ServeMux) {
	mux.HandleFunc("POST "+pathWorkloads, r.join)
	mux.HandleFunc("GET "+pathWorkloads, r.list)
	mux.HandleFunc("POST "+pathReady, r.ready)
	mux.HandleFunc("POST "+pathLeave, r.leave)
	mux.HandleFunc("POST "+pathToken, r.token)
	mux.HandleFunc("POST "+cli.PathCredentials, r.credentials)
}

func (r *registrations) list(w http.ResponseWriter, _ *http.Request) {
	var out workloadsResponse
	out.Workloads, out.Revision = r.registry.All()
	writeJSON(w, out)
}

func (r *registrations) join(w http.ResponseWriter, q *http.Request) {
	var request workload.Request
	if !readJSON(w, q, &request) {
		return
	}
	if request.ServiceAccount == "" {
		request.ServiceAccount = "default"
	}
	reg, err := r.registry.Register(request)
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	token, _, err := r.issue(&reg)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	r.log.Info("workload registered", "workload", reg.ID, "address", reg.Address, "account", reg.ServiceAccount)
	writeJSON(w, joinResponse{Workload: reg, Token: token, Discovery: r.discovery, Root: r.authority.RootPEM(),
		TrustDomain: r.authority.TrustDomain(), MeshID: r.authority.TrustDomain(), Cluster: r.cluster,
		TerminationDrain: r.terminationDrain()})
}

func (r *registrations) issue(reg *workload.Registration) (string, time.Time, error) {
	return r.tokens.Issue(ca.TokenRequest{Namespace: reg.Namespace, ServiceAccount: reg.ServiceAccount, Node: reg.Name + "." + reg.Namespace})
}

func (r *registrations) token(w http.ResponseWriter, q *http.Request) {
	var request tokenRequest
	if !readJSON(w, q, &request) {
		return
	}
	reg, err := r.registry.Get(request.ID)
	if err != nil {
		writeError(w, http.StatusNotFound, err)
		return
	}
	token, expires, err := r.issue(&reg)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	writeJSON(w, tokenResponse{Token: token, Expires: expires})
}

func (r *registrations) ready(w http.ResponseWriter, q *http.Request) {
	var request readyRequest
	if !readJSON(w, q, &request) {
		return
	}
	if err := r.registry.SetReady(request.ID, request.Ready); err != nil {
		writeError(w, http.StatusNotFound, err)
		return
	}
	writeJSON(w, struct{}{})
}

func (r *registrations) leave(w http.ResponseWriter, q *http.Request) {
	var request readyRequest
	if !readJSON(w, q, &request) {
		return
	}
	if err := r.registry.Remove(request.ID); err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	writeJSON(w, struct{}{})
}

// processName names a process, whoever owns it, by its number and when it began; ""
// if there is none. One that only waits for its parent to take note of its end is none.
func processName(pid int) string {
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		return processBegun(b)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return ""
	}
	if err = p.Signal(syscall.Signal(0)); err == nil || errors.Is(err, os.ErrPermission) {
		return strconv.Itoa(pid)
	}
	return ""
}

// processBegun reads /proc/PID/stat (proc_pid_stat(5)): the state is field 3, when the process began, in ticks since the
// machine did, field 22. The boot is part of the name, as numbers and ticks begin anew with it.
func processBegun(stat []byte) string {
	// The name in parentheses, field 2, may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const state, begun = 0, 19
	if len(fields) <= begun || fields[state] == "Z" || fields[state] == "X" {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fields[begun]
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[begun]
}

// addressInUse tells whether a proxy of another mesh on this machine has an
// address: its admin pages are there.
func addressInUse(a netip.Addr) bool {
	l, err := net.Listen("tcp", netip.AddrPortFrom(a, adminPort).String())
	if err != nil {
		return true
	}
	return l.Close() != nil
}

// maxLocalBody bounds requests to the local API's own paths, in bytes.
const maxLocalBody = 1 << 20

func readJSON(w http.ResponseWriter, q *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, q.Body, maxLocalBody))
	if err := d.Decode(v); err != nil {
		writeError(w, http.StatusBadRequest, fmt.Errorf("request: %w", err))
		return false
	}
	return true
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // whoever asked has gone: nobody is left to tell
}

func writeError(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	b, merr := json.Marshal(struct {
		Message string `json:"message"`
	}{strings.TrimSpace(err.Error())})
	if merr == nil {
		_, _ = w.Write(b)
	}
}

// joinAt is the local API of the directory's control plane, or what stands for it
// when that is on another machine.
func joinAt(dir string, o AwayOptions) (joining, error) {
	if o.Control != "" {
		return newAway(o)
	}
	if o.Group != "" {
		return nil, errors.New("--workload-group goes with --control-address: on the control plane's own machine programs register over its local API")
	}
	return api.NewClient(filepath.Join(dir, cli.SocketName)), nil
}

// joinMesh registers a workload.
func joinMesh(ctx context.Context, c joining, q workload.Request) (*joinResponse, error) {
	var answer joinResponse
	if err := c.Call(ctx, http.MethodPost, pathWorkloads, q, &answer); err != nil {
		return nil, fmt.Errorf("joining the mesh: %w", err)
	}
	return &answer, nil
}

// credentials answers with a token for an identity, for a proxy on another machine.
func (r *registrations) credentials(w http.ResponseWriter, q *http.Request) {
	var request cli.CredentialsRequest
	if !readJSON(w, q, &request) {
		return
	}
	token, expires, err := r.tokens.Issue(ca.TokenRequest{Namespace: request.Namespace, ServiceAccount: request.ServiceAccount,
		Node: request.Proxy, TTL: request.TTL})
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	r.log.Info("token issued", "namespace", request.Namespace, "account", request.ServiceAccount, "proxy", request.Proxy, "expires", expires)
	writeJSON(w, cli.CredentialsResponse{Token: token, Expires: expires, Root: string(r.authority.RootPEM()),
		TrustDomain: r.authority.TrustDomain(), Discovery: r.discovery})
}
