package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/config"
	"lateen.dev/lateen/lib/backoff"
	"lateen.dev/lateen/source/api"
)

const strictMTLS = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
`

// proxyAddress is where a workload's sidecar takes connections from others.
func (d *demo) proxyAddress(ctx context.Context, name string) (string, error) {
	all, err := d.proxies(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range all {
		if p.Name == name+".default" {
			return net.JoinHostPort(p.Address, "9080"), nil
		}
	}
	return "", fmt.Errorf("%s is not connected", name)
}

func (d *demo) proxies(ctx context.Context) ([]cli.Proxy, error) {
	c := d.api()
	defer c.Close()
	var answer cli.ProxiesResponse
	if err := c.Call(ctx, http.MethodGet, cli.PathProxies, nil, &answer); err != nil {
		return nil, fmt.Errorf("proxies: %w", err)
	}
	return answer.Proxies, nil
}

func (d *demo) checkStrict(ctx context.Context) (string, error) {
	address, err := d.proxyAddress(ctx, "ratings-v1")
	if err != nil {
		return "", err
	}
	// A client outside the mesh: no sidecar, no certificate.
	plain := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + address + "/ratings/0"
	status, _, err := fetch(ctx, plain, url)
	if err != nil || status != http.StatusOK {
		return "", fmt.Errorf("PERMISSIVE: plain text got %d: %w", status, orError(err, "not 200"))
	}
	if _, err := d.apply(ctx, "strict.yaml", strictMTLS); err != nil {
		return "", err
	}
	if status, _, err = fetch(ctx, plain, url); err == nil {
		return "", fmt.Errorf("STRICT: plain text was answered with %d", status)
	}
	if err := getOK(ctx, d.url("/productpage")); err != nil {
		return "", fmt.Errorf("STRICT: the mesh's own traffic: %w", err)
	}
	return "200, then refused, while the page goes on", d.delete(ctx, "PeerAuthentication", "default")
}

func (d *demo) delete(ctx context.Context, kind, name string) error {
	c := d.api()
	defer c.Close()
	ref := config.Ref{Kind: kind, Namespace: "default", Name: name}
	if _, err := c.Delete(ctx, api.DeleteRequest{Objects: []config.Ref{ref}}); err != nil {
		return fmt.Errorf("deleting %s: %w", ref, err)
	}
	return nil
}

// marker is a VirtualService that sends all reviews to v1 and differs by n.
func marker(n int) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - headers: {response: {set: {x-marker: "%d"}}}
    route: [{destination: {host: reviews, subset: v1}}]
`, n)
}

// latencyGoal is within which a change must be live in every sidecar.
const latencyGoal = 200 * time.Millisecond

func (d *demo) checkLatency(ctx context.Context) (string, error) {
	median, worst, err := d.changeLatency(ctx)
	// A machine that is busy with something else may stall one change of ten.
	for tries := 1; err == nil && worst > latencyGoal && tries < 3; tries++ {
		median, worst, err = d.changeLatency(ctx)
	}
	if err != nil {
		return "", err
	}
	if worst > latencyGoal {
		return "", fmt.Errorf("from apply to the last acknowledgement: median %v, worst %v; the goal is %v", median, worst, latencyGoal)
	}
	// The same from a file edited on disk, as a user sees it: through the gateway.
	saved := time.Now()
	if err := os.WriteFile(filepath.Join(d.Dir, configDir, "extra-marker.yaml"), []byte(extraMarker), 0o600); err != nil {
		return "", fmt.Errorf("configuration file: %w", err)
	}
	defer os.Remove(filepath.Join(d.Dir, configDir, "extra-marker.yaml"))
	err = eventually(ctx, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url("/extra-marker"), nil)
		if err != nil {
			return err
		}
		req.Host = "extra.example.com"
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusTeapot {
			return fmt.Errorf("status %s", resp.Status)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("a file saved on disk: %w", err)
	}
	return fmt.Sprintf("apply → every proxy: median %d ms, worst %d ms; file saved → live %d ms", median.Milliseconds(),
		worst.Milliseconds(), time.Since(saved).Milliseconds()), nil
}

// changeLatency applies ten changes, each until every proxy has it.
func (d *demo) changeLatency(ctx context.Context) (median, worst time.Duration, err error) {
	var took []time.Duration
	for i := range 10 {
		started := time.Now()
		if _, err := d.apply(ctx, "marker.yaml", marker(i)); err != nil {
			return 0, 0, err
		}
		took = append(took, time.Since(started))
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)-1], nil
}

const extraMarker = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: aaa-extra-marker, namespace: default}
spec:
  hosts: [extra.example.com]
  gateways: [bookinfo-gateway]
  http:
  - match: [{uri: {exact: /extra-marker}}]
    directResponse: {status: 418}
`

// underLoad runs f while clients ask for the product's reviews, and counts
// requests and failures.
func (d *demo) underLoad(ctx context.Context, clients int, f func(ctx context.Context) error) (requests, failures int64, firstFailure string, err error) {
	loadCtx, cancel := context.WithCancel(ctx)
	var total, failed atomic.Int64
	var first atomic.Pointer[string]
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for loadCtx.Err() == nil {
				status, body, err := fetch(ctx, http.DefaultClient, d.url("/api/v1/products/0/reviews"))
				total.Add(1)
				if err != nil || status != http.StatusOK {
					failed.Add(1)
					text := fmt.Sprintf("status %d, %v, %.120s", status, err, body)
					first.CompareAndSwap(nil, &text)
				}
			}
		})
	}
	err = f(loadCtx)
	cancel()
	wg.Wait()
	if p := first.Load(); p != nil {
		firstFailure = *p
	}
	return total.Load(), failed.Load(), firstFailure, err
}

func (d *demo) checkChurn(ctx context.Context) (string, error) {
	changes := 0
	requests, failures, first, err := d.underLoad(ctx, 4, func(ctx context.Context) error {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for ; changes < 50; changes++ {
			if _, err := d.apply(ctx, "marker.yaml", marker(changes)); err != nil {
				return err
			}
			<-tick.C
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if failures > 0 {
		return "", fmt.Errorf("%d of %d requests failed during %d changes; the first: %s", failures, requests, changes, first)
	}
	return fmt.Sprintf("%d requests during %d changes in 5 s, none failed", requests, changes), nil
}

const brokenService = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, subset: v1}
      wieght: 50
`

func (d *demo) checkInvalid(ctx context.Context) (string, error) {
	_, err := d.apply(ctx, "broken.yaml", brokenService)
	var refused *api.Error
	if !errors.As(err, &refused) || len(refused.Problems) == 0 {
		return "", fmt.Errorf("a misspelt field was accepted: %w", orError(err, "no error"))
	}
	p := refused.Problems[0]
	if p.Position.Line != 9 || !strings.Contains(p.Message+p.Hint, "weight") {
		return "", fmt.Errorf("the refusal does not help: %s", p)
	}
	file := filepath.Join(d.Dir, configDir, "broken.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(brokenService, "name: reviews", "name: broken", 1)), 0o600); err != nil {
		return "", fmt.Errorf("configuration file: %w", err)
	}
	defer os.Remove(file)
	c := d.api()
	defer c.Close()
	err = eventually(ctx, func() error {
		answer, err := c.Problems(ctx)
		if err == nil && !strings.Contains(answer.Problems.Error(), "broken.yaml:9") {
			err = fmt.Errorf("a broken file on disk is not reported: %v", answer.Problems)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("refused: %s", p), getOK(ctx, d.url("/productpage"))
}

const busyGateway = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: busy, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: %d, name: http, protocol: HTTP}
    hosts: ["*"]
`

// checkRefusal has a proxy refuse something that only it can know to be
// impossible: a port that is taken.
func (d *demo) checkRefusal(ctx context.Context) (string, error) {
	_, err := d.apply(ctx, "busy.yaml", fmt.Sprintf(busyGateway, d.ControlPort+4))
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		return "", fmt.Errorf("a gateway on the control plane's port: %w", orError(err, "nobody refused it"))
	}
	all, perr := d.proxies(ctx)
	if perr != nil {
		return "", perr
	}
	for _, p := range all {
		for _, t := range p.Types {
			if len(t.Refused) > 0 && strings.Contains(t.Reason, "address already in use") {
				saw := fmt.Sprintf("%s refused %s: %s", p.Name, strings.Join(t.Refused, ", "), t.Reason)
				return saw, errors.Join(d.delete(ctx, "Gateway", "busy"), getOK(ctx, d.url("/productpage")))
			}
		}
	}
	return "", errors.New("proxy-status does not show the refusal")
}

func (d *demo) checkExplain(ctx context.Context) (string, error) {
	if err := d.applySample(ctx, "virtual-service-reviews-test-v2.yaml"); err != nil {
		return "", err
	}
	text, err := d.admin(ctx, "productpage-v1", "/explain?method=GET&url=http://reviews:9080/reviews/0&header=end-user:jason")
	if err != nil {
		return "", err
	}
	var e struct {
		Cluster struct {
			Name string `json:"name"`
		} `json:"cluster"`
		Route struct {
			Routes []struct {
				Matched bool   `json:"matched"`
				File    string `json:"file"`
				Line    int    `json:"line"`
			} `json:"routes"`
		} `json:"route"`
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return "", fmt.Errorf("explanation: %w", err)
	}
	if e.Cluster.Name != "outbound|9080|v2|reviews.default.svc.cluster.local" {
		return "", fmt.Errorf("explain leads to %q", e.Cluster.Name)
	}
	for _, r := range e.Route.Routes {
		if r.Matched && r.File != "" && r.Line > 0 {
			return fmt.Sprintf("jason goes to v2 because of %s:%d", filepath.Base(r.File), r.Line), nil
		}
	}
	return "", errors.New("explain does not name the file of the rule")
}

func (d *demo) checkTelemetry(ctx context.Context) (string, error) {
	metrics, err := d.admin(ctx, "productpage-v1", "/stats/prometheus")
	if err != nil {
		return "", err
	}
	line := metricLine(metrics, "istio_requests_total{", `reporter="source"`, `source_workload="productpage-v1"`,
		`destination_workload="reviews-v1"`, `destination_service="reviews.default.svc.cluster.local"`, `response_code="200"`)
	if line == "" {
		return "", errors.New("productpage-v1 reports no request to reviews-v1 with all labels")
	}
	if _, err := d.apply(ctx, "mesh.yaml", meshAccessLog); err != nil {
		return "", err
	}
	var entry struct {
		Path    string `json:"path"`
		Code    int    `json:"response_code"`
		Cluster string `json:"upstream_cluster"`
		ID      string `json:"request_id"`
	}
	err = eventually(ctx, func() error {
		if err := getOK(ctx, d.url("/productpage")); err != nil {
			return err
		}
		return d.lastLogEntry("gateway.log", &entry)
	})
	if err != nil {
		return "", err
	}
	if entry.Code != http.StatusOK || entry.ID == "" || !strings.HasPrefix(entry.Cluster, "outbound|9080||productpage") {
		return "", fmt.Errorf("access log entry %+v", entry)
	}
	return fmt.Sprintf("%s; access log of request %s", strings.TrimSpace(line[strings.LastIndexByte(line, 0x7d)+1:])+" requests counted with all labels", entry.ID), nil
}

const meshAccessLog = `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogEncoding: JSON
`

// lastLogEntry finds the last line of a log that is an access log entry for
// the product page.
func (d *demo) lastLogEntry(name string, v any) error {
	b, err := os.ReadFile(filepath.Join(d.logs, name))
	if err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	lines := strings.Split(string(b), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.HasPrefix(line, "{") && strings.Contains(line, `"/productpage"`) {
			return json.Unmarshal([]byte(line), v)
		}
	}
	return fmt.Errorf("%s has no access log entry for /productpage", name)
}

func (d *demo) checkControlKilled(ctx context.Context) (string, error) {
	before, err := d.proxies(ctx)
	if err != nil {
		return "", err
	}
	requests, failures, first, err := d.underLoad(ctx, 2, func(ctx context.Context) error {
		d.children[0].kill()
		_ = backoff.Sleep(ctx, time.Second) // traffic without a control plane
		restarted, err := startChild("control", d.logs, d.children[0].cmd.Args[1:]...)
		if err != nil {
			return err
		}
		d.children[0] = restarted
		if err := d.waitFor(ctx, "the control plane", d.controlReady); err != nil {
			return err
		}
		return eventually(ctx, func() error { return d.sameAs(ctx, before) })
	})
	if err != nil {
		return "", err
	}
	if failures > 0 {
		return "", fmt.Errorf("%d of %d requests failed; the first: %s", failures, requests, first)
	}
	return fmt.Sprintf("%d requests, none failed; %d proxies are back with the same versions", requests, len(before)), nil
}

// sameAs fails unless all proxies are connected and have the versions that
// they had.
func (d *demo) sameAs(ctx context.Context, before []cli.Proxy) error {
	now, err := d.proxies(ctx)
	if err != nil {
		return err
	}
	if len(now) != len(before) {
		return fmt.Errorf("%d proxies are connected, there were %d", len(now), len(before))
	}
	for i := range now {
		for _, t := range now[i].Types {
			was := slices.IndexFunc(before[i].Types, func(o cli.ProxyType) bool { return o.Type == t.Type })
			if was < 0 || before[i].Types[was].Acked != t.Acked || t.Status == "STALE" {
				return fmt.Errorf("%s of %s is %s at another version", t.Type, now[i].Name, t.Status)
			}
		}
	}
	return nil
}

func (d *demo) checkWorkloadKilled(ctx context.Context) (string, error) {
	const name = "reviews-v3"
	if err := d.delete(ctx, "VirtualService", "reviews"); err != nil {
		return "", err
	}
	at := slices.IndexFunc(d.children, func(c *child) bool { return c.name == name })
	requests, failures, first, err := d.underLoad(ctx, 2, func(ctx context.Context) error {
		_ = backoff.Sleep(ctx, 300*time.Millisecond)
		d.children[at].kill()
		return eventually(ctx, func() error {
			all, err := d.proxies(ctx)
			if err == nil && slices.ContainsFunc(all, func(p cli.Proxy) bool { return p.Name == name+".default" }) {
				err = fmt.Errorf("%s is still connected", name)
			}
			return err
		})
	})
	if err != nil {
		return "", err
	}
	if failures > 0 {
		return "", fmt.Errorf("%d of %d requests failed; the first: %s", failures, requests, first)
	}
	d.children = slices.Delete(d.children, at, at+1)
	if err := d.launchService(service{"reviews", "v3"}); err != nil {
		return "", err
	}
	err = eventually(ctx, func() error {
		seen, err := d.versions(ctx, http.DefaultClient, 12)
		if err == nil && seen["v3"] == 0 {
			err = fmt.Errorf("v3 does not answer: %v", seen)
		}
		return err
	})
	return fmt.Sprintf("%d requests, none failed; v3 is back", requests), err
}
