package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lateen.dev/lateen/app/dataplane"
	"lateen.dev/lateen/capture"
	"lateen.dev/lateen/source/workload"
	"lateen.dev/lateen/translate"
)

// Port is a port that a program serves.
type Port struct {
	Number uint16
	// Name, whose prefix is the protocol, as in a Kubernetes Service.
	Name string
}

// RunOptions are the flags of `lateen run`.
type RunOptions struct {
	Dir            string
	Namespace      string
	Service        string
	Version        string
	Ports          []Port
	ServiceAccount string
	Labels         map[string]string
	Locality       string
	// OnDemand says whether the sidecar asks for what the program uses: "true" or "false"; empty is as the mesh has it.
	OnDemand string
	LogFile  string
	// Explicit gives the program HTTP_PROXY instead of capturing it.
	Explicit bool
	// Away is set if the control plane is on another machine.
	Away    AwayOptions
	Command []string
	// DrainTime and ParentShutdown are how long idle connections, and others, may stay with a sidecar that another one has
	// taken over from.
	DrainTime, ParentShutdown time.Duration
	Log                       LogOptions
}

// RunWorkload runs a program in the mesh until it ends, and passes its exit
// code on as an *ExitError. Signals go to the program: ctx is not what ends it.
func RunWorkload(ctx context.Context, o RunOptions) error {
	ctx = context.WithoutCancel(ctx)
	if _, err := o.Log.scopes(io.Discard); err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	defer signal.Stop(signals)
	at, err := joinAt(o.Dir, o.Away)
	if err != nil {
		return err
	}
	defer at.Close()
	w := &workloadRun{RunOptions: o, api: at}
	w.chooseCapture()
	if err := w.join(ctx); err != nil {
		return err
	}
	defer w.leave(ctx)
	if err := w.openLog(); err != nil {
		return err
	}
	defer w.logFile.Close()
	status, err := w.run(ctx, signals)
	if err != nil {
		return err
	}
	if status.Err != nil {
		return fmt.Errorf("%s: %w", o.Command[0], status.Err)
	}
	if status.Code != 0 {
		return &ExitError{Code: status.Code}
	}
	return nil
}

// workloadRun is one `lateen run`.
type workloadRun struct {
	RunOptions
	api     joining
	joined  *joinResponse
	logFile *os.File
	log     *slog.Logger
}

// chooseCapture falls back to explicit proxying where namespaces are not to be
// had, and says so in one line.
func (w *workloadRun) chooseCapture() {
	if w.Explicit {
		return
	}
	if err := capture.Supported(); err != nil {
		w.Explicit = true
		fmt.Fprintf(os.Stderr, "lateen: %v; the program gets HTTP_PROXY instead: its HTTP goes through the mesh, other traffic does not\n", err)
	}
}

func (w *workloadRun) join(ctx context.Context) error {
	q := workload.Request{Namespace: w.Namespace, Service: w.Service, Version: w.Version,
		ServiceAccount: firstOf(w.ServiceAccount, w.Service), Labels: w.Labels, Locality: w.Locality, PID: os.Getpid()}
	for _, p := range w.Ports {
		port := workload.Port{Number: p.Number, Name: p.Name}
		if w.Explicit {
			port.Bound = explicitBound(p.Number)
		}
		q.Ports = append(q.Ports, port)
	}
	joined, err := joinMesh(ctx, w.api, q)
	if err != nil {
		return err
	}
	joined.OnDemand = w.OnDemand
	w.joined = joined
	return nil
}

// explicitBound is where the sidecar takes connections for a port that the
// program, in the same network, has already taken on every address.
func explicitBound(port uint16) uint16 {
	const shift = 10000
	if port > 65535-shift {
		return port - shift
	}
	return port + shift
}

// leave takes the workload out of the mesh; if that fails its stream's end
// tells the control plane the same.
func (w *workloadRun) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request := readyRequest{ID: w.joined.Workload.ID}
	if err := w.api.Call(ctx, http.MethodPost, pathLeave, request, &struct{}{}); err != nil && w.log != nil {
		w.log.Warn("leaving the mesh", "error", err)
	}
}

// openLog opens the sidecar's log, which is not the program's output.
func (w *workloadRun) openLog() error {
	name := w.LogFile
	if name == "" {
		name = filepath.Join(w.Dir, "log", w.joined.Workload.Name+"-sidecar.log")
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("sidecar's log: %w", err)
	}
	var err error
	if w.logFile, err = os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return fmt.Errorf("sidecar's log: %w", err)
	}
	return nil
}

// readyTimeout bounds how long the sidecar may take to be ready for its
// program.
const readyTimeout = 30 * time.Second

func (w *workloadRun) run(ctx context.Context, signals <-chan os.Signal) (capture.ExitStatus, error) {
	scopes, err := w.Log.scopes(w.logFile)
	if err != nil {
		return capture.ExitStatus{}, err
	}
	w.log = scopes.Logger("run")
	program, err := w.prepare(ctx)
	if err != nil {
		return capture.ExitStatus{}, err
	}
	defer program.close()
	c := sidecarConfig(w.joined, scopes)
	c.AccessLog = w.logFile.Name()
	c.Token = tokenSource(w.api, w.joined, firstTokenLife)
	c.InterceptionMode = "REDIRECT"
	c.DNSCapture = !w.Explicit
	program.fill(&c, w)
	if c.Inbound, err = w.listenInbound(); err != nil {
		return capture.ExitStatus{}, err
	}
	keeper, err := w.newSidecarKeeper(&c)
	if err != nil {
		return capture.ExitStatus{}, err
	}
	defer keeper.close()
	sidecar, err := keeper.startFirst(ctx, c)
	if err != nil {
		return capture.ExitStatus{}, err
	}
	defer sidecar.Close()
	readyCtx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := sidecar.WaitReady(readyCtx); err != nil {
		return capture.ExitStatus{}, fmt.Errorf("sidecar is not ready: %w (its log is %s)", err, w.logFile.Name())
	}
	keeper.begin(sidecar)
	if err := program.release(readyCtx); err != nil {
		return capture.ExitStatus{}, err
	}
	return w.follow(ctx, program, keeper, signals)
}

// follow passes signals to the program until it has ended, and makes the
// workload an endpoint once the program listens.
func (w *workloadRun) follow(ctx context.Context, p program, sidecar *sidecarKeeper, signals <-chan os.Signal) (capture.ExitStatus, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	announced := make(chan struct{})
	go func() {
		defer close(announced)
		w.announce(ctx, p)
	}()
	defer func() {
		cancel()
		<-announced
	}()
	for {
		select {
		case <-p.done():
			return p.status(), nil
		case s := <-signals:
			if s == syscall.SIGTERM || s == syscall.SIGINT {
				w.setReady(ctx, false) // nobody new is sent here while it ends
				sidecar.drain()        // and those who were are asked to go elsewhere
			}
			if err := p.signal(s); err != nil {
				w.log.Warn("passing a signal on", "signal", s, "error", err)
			}
		}
	}
}

// announce waits until the program listens on all its ports.
func (w *workloadRun) announce(ctx context.Context, p program) {
	for _, port := range w.Ports {
		if err := p.listening(ctx, port.Number); err != nil {
			if ctx.Err() == nil {
				w.log.Warn("the program does not listen", "port", port.Number, "error", err)
			}
			return
		}
	}
	w.setReady(ctx, true)
}

func (w *workloadRun) setReady(ctx context.Context, ready bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request := readyRequest{ID: w.joined.Workload.ID, Ready: ready}
	if err := w.api.Call(ctx, http.MethodPost, pathReady, request, &struct{}{}); err != nil && ctx.Err() == nil {
		w.log.Warn("telling the control plane whether the program takes requests", "ready", ready, "error", err)
	}
}

// listenInbound opens the workload's ports at its own address. Their original
// destination is the port that the service has.
func (w *workloadRun) listenInbound() ([]dataplane.Socket, error) {
	if w.Explicit {
		return nil, nil // discovery has a listener of its own for each port then
	}
	var sockets []dataplane.Socket
	address := w.joined.Workload.Address
	for _, p := range w.joined.Workload.Ports {
		l, err := net.Listen("tcp", netip.AddrPortFrom(address, p.Number).String())
		if err != nil {
			for _, s := range sockets {
				s.Listener.Close()
			}
			hint := ""
			if errors.Is(err, os.ErrPermission) {
				hint = "; ports below 1024 need root: let the program listen on a higher one"
			}
			return nil, fmt.Errorf("the workload's own address: %w%s", err, hint)
		}
		sockets = append(sockets, dataplane.Socket{Listener: l, OriginalDst: netip.AddrPortFrom(address, p.Number)})
	}
	return sockets, nil
}

// firstTokenLife is how long the token that joining gave is used.
const firstTokenLife = 5 * time.Minute

// tokenSource gives the token that joining gave for some time, and asks for
// another one after that.
func tokenSource(c joining, joined *joinResponse, life time.Duration) func(context.Context) (string, error) {
	first, expires := joined.Token, time.Now().Add(life)
	return func(ctx context.Context) (string, error) {
		if time.Now().Before(expires) {
			return first, nil
		}
		var answer tokenResponse
		if err := c.Call(ctx, http.MethodPost, pathToken, tokenRequest{ID: joined.Workload.ID}, &answer); err != nil {
			return "", fmt.Errorf("token for %s: %w", joined.Workload.ID, err)
		}
		return answer.Token, nil
	}
}

// sidecarConfig is what sidecars and gateways have in common.
func sidecarConfig(j *joinResponse, scopes scopesOf) dataplane.Config {
	reg := &j.Workload
	labels := map[string]string{"app": reg.Service}
	if reg.Version != "" {
		labels["version"] = reg.Version
	}
	for k, v := range reg.Labels {
		labels[k] = v
	}
	admin := netip.AddrPortFrom(reg.Address, adminPort)
	if j.away {
		// Others reach the workload's address.
		admin = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), cmp.Or(j.adminPort, adminPort))
	}
	c := dataplane.Config{
		Discovery: j.Discovery, Root: j.Root, TrustDomain: j.TrustDomain,
		Name: reg.Name, Namespace: reg.Namespace, ServiceAccount: reg.ServiceAccount, Address: reg.Address, Labels: labels,
		WorkloadName: strings.TrimSuffix(reg.Service+"-"+reg.Version, "-"), Locality: reg.Locality, Cluster: j.Cluster, MeshID: j.MeshID,
		Scopes: scopes, Version: version,
		Admin:    admin,
		Metadata: map[string]string{metaLateen: version},
	}
	if j.OnDemand != "" {
		c.Annotations = map[string]string{translate.OnDemandAnnotation: j.OnDemand}
	}
	if j.group != "" {
		c.Metadata[metaGroup] = j.group
	}
	if !j.away {
		c.Metadata[metaWorkloadID], c.Metadata[metaAdminAddress] = reg.ID, c.Admin.String()
	}
	return c
}

// Envoy's and Istio's ports, each on the proxy's own address.
const (
	adminPort     = 15000
	httpProxyPort = 15007
)

func portText(p uint16) string { return strconv.Itoa(int(p)) }
