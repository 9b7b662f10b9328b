package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sidecarRun is a program under `lateen run` that calls ten services of a mesh,
// each of which a second program serves over mutual TLS.
type sidecarRun struct {
	services int
	onDemand bool
}

// sidecarResult is what it measured.
type sidecarResult struct {
	Services int  `json:"services"`
	OnDemand bool `json:"onDemand"`
	// RSS is the sidecar's memory at rest.
	RSS int64 `json:"rss"`
	// First and Later are medians over the services called: of the first request
	// to each, and of those after it, each on a fresh connection to the sidecar.
	First time.Duration `json:"first"`
	Later time.Duration `json:"later"`
}

// sidecarRuns show what a sidecar holds as the mesh grows.
func sidecarRuns() []sidecarRun {
	return []sidecarRun{{10, true}, {1000, true}, {5000, true}, {10000, true}, {10000, false}}
}

const (
	sidecarsName   = "sidecars"
	calledServices = 10
	calledPort     = 8080
	// What on-demand scope shall reach.
	goalGrowth = 1.3
	goalMore   = 5 * time.Millisecond
)

func calledHost(j int) string { return fmt.Sprintf("called-%d.default.svc.cluster.local", j) }

// calledServicesFile declares them, all of one workload.
func calledServicesFile() string {
	var docs []string
	for j := range calledServices {
		docs = append(docs, fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: called-%d, namespace: default}
spec:
  hosts: [%s]
  addresses: [172.21.0.%d]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: %d}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: called}}
`, j, calledHost(j), j+1, calledPort))
	}
	return strings.Join(docs, "---\n")
}

const onDemandMesh = `apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
spec:
  defaultConfig:
    proxyMetadata: {LATEEN_ON_DEMAND: "true"}
`

// measureSidecar runs the mesh and the two programs.
func measureSidecar(ctx context.Context, o options, s sidecarRun) (r *sidecarResult, err error) {
	dir, err := os.MkdirTemp("", "lateen-control-")
	if err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "config")
	if err := writeMesh(config, scenario{services: s.services}); err != nil {
		return nil, err
	}
	files := map[string]string{"zz-called.yaml": calledServicesFile()}
	if s.onDemand {
		files["zz-mesh.yaml"] = onDemandMesh
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(config, name), []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("mesh: %w", err)
		}
	}
	control, err := startControl(ctx, o.lateen, dir)
	if err != nil {
		return nil, err
	}
	defer control.stop()
	server, err := startWorkload(ctx, o.lateen, dir, []string{"--service", "called", "--port", strconv.Itoa(calledPort) + ":http"}, "serve")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	if _, err := server.line(); err != nil {
		return nil, fmt.Errorf("the program that is called: %w", err)
	}
	caller, err := startWorkload(ctx, o.lateen, dir, []string{"--service", "visitor"}, "call")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, caller.stop()) }()
	text, err := caller.line()
	if err != nil {
		return nil, fmt.Errorf("the program that calls: %w", err)
	}
	r = &sidecarResult{Services: s.services, OnDemand: s.onDemand}
	if err := json.Unmarshal([]byte(text), r); err != nil {
		return nil, fmt.Errorf("the program that calls: %w in %q", err, text)
	}
	r.RSS = (&process{cmd: caller.cmd}).atRest(ctx)
	return r, nil
}

// atRest is the process's memory when that has not changed for a while.
func (p *process) atRest(ctx context.Context) int64 {
	const step, calm, limit = 250 * time.Millisecond, 8, 48
	last, same := int64(0), 0
	for i := 0; i < limit && same < calm && ctx.Err() == nil; i++ {
		now := p.memory("VmRSS")
		if same++; now > last+last/100 || now < last-last/100 {
			last, same = now, 0
		}
		pause(ctx, step)
	}
	return p.memory("VmRSS")
}

// workloadProcess is `lateen run` with this binary as the program.
type workloadProcess struct {
	cmd  *exec.Cmd
	hold io.Closer // its end ends the program
	out  *bufio.Reader
}

func startWorkload(ctx context.Context, lateen, dir string, flags []string, role string) (*workloadProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("this program: %w", err)
	}
	args := append([]string{"run", "--dir", dir}, flags...)
	w := &workloadProcess{cmd: exec.CommandContext(ctx, lateen, append(args, "--", self, workloadRole, role)...)}
	w.cmd.Stderr = os.Stderr
	if w.hold, err = w.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	w.out = bufio.NewReader(out)
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	return w, nil
}

// line is the next line that the program writes.
func (w *workloadProcess) line() (string, error) { return w.out.ReadString('\n') }

func (w *workloadProcess) stop() error {
	return errors.Join(w.hold.Close(), w.cmd.Wait())
}

// workloadRole is the argument by which this binary is such a program.
const workloadRole = "workload"

// runRole is the program. It ends when its input does.
func runRole(role string, in io.Reader, out io.Writer) error {
	failed := make(chan error, 1)
	if role == "serve" {
		server := &http.Server{Addr: ":" + strconv.Itoa(calledPort), ReadHeaderTimeout: time.Minute,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })}
		go func() { failed <- server.ListenAndServe() }()
		defer server.Close()
		fmt.Fprintln(out, "serving")
	} else {
		r, err := callAll()
		if err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(r); err != nil {
			return fmt.Errorf("figures: %w", err)
		}
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in) // an error is an end as well
		close(ended)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ended:
		return nil
	}
}

// callAll calls each service once, and then each of them again some times.
func callAll() (map[string]time.Duration, error) {
	const again = 10
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	var first, later []time.Duration
	for j := range calledServices {
		for i := range 1 + again {
			began := time.Now()
			resp, err := client.Get("http://" + calledHost(j) + "/")
			if err != nil {
				return nil, fmt.Errorf("calling: %w", err)
			}
			_, err = io.Copy(io.Discard, resp.Body)
			if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
				return nil, fmt.Errorf("calling %s: %s, %v", calledHost(j), resp.Status, err)
			}
			if took := time.Since(began); i == 0 {
				first = append(first, took)
			} else {
				later = append(later, took)
			}
		}
	}
	return map[string]time.Duration{"first": percentile(first, 0.5), "later": percentile(later, 0.5)}, nil
}

// runSidecars measures and prints all of them, and returns how many goals were
// missed.
func runSidecars(ctx context.Context, o options, out io.Writer) (missed int, err error) {
	const row = "  %-10s%-12s%-11s%-21s%-12s%-13s%-8s%s\n"
	fmt.Fprintln(out, "\nSidecars whose workload calls ten services")
	fmt.Fprintf(out, row, "services", "", "RSS", "beside ten services", "first call", "later calls", "more", "")
	var smallest int64
	for _, s := range sidecarRuns() {
		r, err := measureSidecar(ctx, o, s)
		if err != nil {
			return missed, fmt.Errorf("sidecar among %s services: %w", thousands(s.services), err)
		}
		kind, beside, goals, more := "everything", "–", "", r.First-r.Later
		if s.onDemand {
			if smallest == 0 {
				smallest = r.RSS
			}
			growth := float64(r.RSS) / float64(smallest)
			kind, beside, goals = "on demand", fmt.Sprintf("%.2f", growth), fmt.Sprintf("goals %.1f, %v", goalGrowth, goalMore)
			if growth > goalGrowth || more > goalMore {
				goals += " missed"
				missed++
			}
		}
		fmt.Fprintf(out, row, thousands(s.services), kind, fmt.Sprintf("%.1f MiB", float64(r.RSS)/(1<<20)), beside,
			round(r.First).String(), round(r.Later).String(), round(more).String(), goals)
	}
	return missed, nil
}
