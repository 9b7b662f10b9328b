package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source/api"
)

type buildInfo struct {
	Version string `json:"version"`
}

func (b buildInfo) String() string { return b.Version }

// control is a control plane's local API that answers from a table.
type control struct {
	mux  *http.ServeMux
	seen []string
}

func newControl(t *testing.T) (*control, string) {
	t.Helper()
	dir := t.TempDir()
	c := &control{mux: http.NewServeMux()}
	l, err := net.Listen("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.seen = append(c.seen, r.Method+" "+r.URL.String())
		c.mux.ServeHTTP(w, r)
	})}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return c, dir
}

func (c *control) answer(pattern string, status int, v any) {
	c.mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		if b, ok := v.([]byte); ok {
			w.Write(b)
			return
		}
		if err := json.NewEncoder(w).Encode(v); err != nil {
			panic(err)
		}
	})
}

// run runs a command line and returns its output, standard error included.
func run(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := NewRoot(Env{In: strings.NewReader("kind: X\n"), Out: &out, Err: &out, Dir: dir, Build: buildInfo{"v1"}})
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	return out.String(), err
}

func TestApplyAndWait(t *testing.T) {
	c, dir := newControl(t)
	ref := config.Ref{Kind: "VirtualService", Namespace: "default", Name: "reviews"}
	c.answer("POST "+api.PathApply, 200, api.ApplyResponse{Revision: 7, Results: []api.Result{{Object: ref, Action: api.Created}}})
	c.answer("GET "+PathWait, 200, WaitResponse{Revision: 7, Proxies: 8})
	out, err := run(t, dir, "apply", "-f", "-", "--wait")
	if err != nil || !strings.Contains(out, "VirtualService default/reviews created") || !strings.Contains(out, "8 proxies have it") {
		t.Errorf("%v\n%s", err, out)
	}
	if last := c.seen[len(c.seen)-1]; !strings.Contains(last, "revision=7") {
		t.Errorf("waited with %s", last)
	}
}

func TestApplyWaitReportsRefusals(t *testing.T) {
	c, dir := newControl(t)
	c.answer("POST "+api.PathApply, 200, api.ApplyResponse{Revision: 8})
	c.answer("GET "+PathWait, 200, WaitResponse{Proxies: 2, Missing: []WaitMissing{{Proxy: "reviews-v1.default", Reason: "refused RDS 9080: no"}}})
	out, err := run(t, dir, "apply", "-f", "-", "--wait")
	if err == nil || !strings.Contains(out, "reviews-v1.default: refused RDS 9080: no") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRefusedApplyShowsProblems(t *testing.T) {
	c, dir := newControl(t)
	p := config.Problem{Severity: config.Error, Code: "IST0106", Object: config.Ref{Kind: "VirtualService", Namespace: "default", Name: "x"},
		Field: "spec.http[0].wieght", Position: config.Position{File: "x.yaml", Line: 9, Column: 7}, Message: "unknown field", Hint: "Did you mean weight?"}
	c.answer("POST "+api.PathApply, 422, api.ErrorBody{Message: "nothing was applied", Problems: config.Problems{p}})
	out, err := run(t, dir, "apply", "-f", "-")
	if err == nil || !strings.Contains(out, "x.yaml:9:7") || !strings.Contains(out, "Did you mean weight?") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNoControlPlane(t *testing.T) {
	_, err := run(t, t.TempDir(), "get", "vs")
	if err == nil || !strings.Contains(err.Error(), "lateen control") {
		t.Errorf("the error names no way out: %v", err)
	}
}

func TestInputErrors(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"apply"}, {"apply", "-f", filepath.Join(dir, "missing.yaml")}, {"apply", "-f", dir}, {"delete", "vs"}, {"delete", "nope", "x"},
		{"get", "vs", "-o", "xml"}, {"explain", "p", "GET", "/no-host"}, {"proxy-config", "cluster"}, {"analyze", "--failure-threshold", "x"},
	} {
		if out, err := run(t, dir, args...); err == nil {
			t.Errorf("%v: no error\n%s", args, out)
		}
	}
}

func TestGet(t *testing.T) {
	c, dir := newControl(t)
	body := json.RawMessage(`{"kind":"VirtualService","metadata":{"name":"reviews"}}`)
	c.answer("GET "+api.PathObjects, 200, api.GetResponse{Items: []api.Item{{Body: body}},
		Tables: []api.Table{{Columns: []string{"NAME", "HOSTS"}, Rows: [][]string{{"reviews", "[reviews]"}}}}})
	for format, want := range map[string]string{"table": "NAME      HOSTS", "json": `"kind": "VirtualService"`, "yaml": "kind: VirtualService"} {
		out, err := run(t, dir, "get", "vs", "reviews", "-o", format)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s", format, err, out)
		}
	}
}

// Tables of several kinds say of each object which it is.
func TestGetSeveralKinds(t *testing.T) {
	c, dir := newControl(t)
	row := func(column string) []api.Table {
		return []api.Table{{Columns: []string{"NAMESPACE", "NAME", column}, Rows: [][]string{{"default", "reviews", "x"}}}}
	}
	c.answer("GET "+api.PathObjects, 200, api.GetResponse{
		Items:  []api.Item{{Object: config.Ref{Kind: "VirtualService"}}, {Object: config.Ref{Kind: "DestinationRule"}}},
		Tables: append(row("HOSTS"), row("HOST")...)})
	out, err := run(t, dir, "get", "all", "-A")
	if err != nil || !strings.Contains(out, "virtualservice/reviews") || !strings.Contains(out, "destinationrule/reviews") {
		t.Errorf("%v\n%s", err, out)
	}
}

func sampleProxies() ProxiesResponse {
	return ProxiesResponse{Proxies: []Proxy{
		{Name: "productpage-v1.default", Type: "sidecar", Version: "v1", Revision: 3, Admin: true,
			Types: []ProxyType{{Type: "CDS", Status: "SYNCED"}, {Type: "RDS", Status: "ERROR", Refused: []string{"9080"}, Reason: "route 9080: bad regex"}}},
		{Name: "reviews-v1.default", Type: "sidecar", Version: "v1", Revision: 3, Types: []ProxyType{{Type: "CDS", Status: "SYNCED"}}},
		{Name: "reviews-v2.default", Type: "sidecar", Version: "v1", Revision: 3},
	}}
}

func TestProxyStatus(t *testing.T) {
	c, dir := newControl(t)
	c.answer("GET "+PathProxies, 200, sampleProxies())
	out, err := run(t, dir, "ps")
	if err != nil || !strings.Contains(out, "productpage-v1.default") || !strings.Contains(out, "route 9080: bad regex") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err = run(t, dir, "proxy-status", "reviews"); err == nil || !strings.Contains(err.Error(), "2 proxies") {
		t.Errorf("an ambiguous name: %v", err)
	}
	if _, err = run(t, dir, "proxy-status", "nobody"); err == nil || !strings.Contains(err.Error(), "connected are productpage-v1.default") {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestProxyConfig(t *testing.T) {
	dump, err := os.ReadFile("testdata/config_dump.json")
	if err != nil {
		t.Fatal(err)
	}
	c, dir := newControl(t)
	c.answer("GET "+PathProxies, 200, sampleProxies())
	c.answer("GET "+PathProxies+"/{name}/admin/config_dump", 200, dump)
	clusters := []byte(`{"cluster_statuses":[{"name":"outbound|9080|v1|reviews.default.svc.cluster.local","host_statuses":[` +
		`{"address":{"socket_address":{"address":"127.64.0.3","port_value":9080}},"health_status":{"eds_health_status":"HEALTHY","failed_outlier_check":true}}]}]}`)
	c.answer("GET "+PathProxies+"/{name}/admin/clusters", 200, clusters)
	c.answer("POST "+PathProxies+"/{name}/admin/logging", 200, []byte("xds: info\n"))
	for args, want := range map[string]string{
		"cluster productpage-v1":                    "reviews.default.svc.cluster.local   9080   v1       outbound    EDS    reviews.default (dr.yaml:3)",
		"cluster productpage-v1 --subset v2":        "SERVICE FQDN   PORT",
		"listener productpage-v1":                   "0.0.0.0_9080   0.0.0.0   9080   Trans: raw_buffer; App: http/1.1,h2c   Route: 9080",
		"route productpage-v1":                      "9080   reviews.default.svc.cluster.local:9080   reviews + 1 more...   /reviews* +1 headers   reviews.default (vs.yaml:12)",
		"endpoint productpage-v1":                   "127.64.0.3:9080   HEALTHY   FAILED",
		"secret productpage-v1":                     "RESOURCE NAME",
		"bootstrap productpage-v1":                  "sidecar~127.64.0.2~productpage-v1.default~default.svc.cluster.local",
		"all productpage-v1":                        "VHOST NAME",
		"cluster -f testdata/config_dump.json":      "reviews.default.svc.cluster.local",
		"route productpage-v1 -o yaml":              "name: \"9080\"",
		"log productpage-v1 --level xds:debug,info": "xds: info",
	} {
		out, err := run(t, dir, append([]string{"proxy-config"}, strings.Fields(args)...)...)
		if err != nil || !strings.Contains(squeeze(out), squeeze(want)) {
			t.Errorf("%s: %v, want %q\n%s", args, err, want, out)
		}
	}
	if log := strings.Join(c.seen, "\n"); !strings.Contains(log, "logging?xds=debug") || !strings.Contains(log, "logging?level=info") {
		t.Errorf("log levels were set with\n%s", log)
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestExplain(t *testing.T) {
	c, dir := newControl(t)
	c.answer("GET "+PathProxies, 200, sampleProxies())
	c.answer("GET "+PathProxies+"/{name}/admin/explain", 200, []byte(`{
		"listener": {"name": "0.0.0.0_9080", "direction": "OUTBOUND", "handedOverBy": "virtualOutbound", "reason": "port"},
		"route": {"routeConfig": "9080", "virtualHost": "reviews:9080", "routes": [
			{"match": "path /x", "reason": "the path differs", "file": "vs.yaml", "line": 9, "rule": "http[0]"},
			{"match": "any path", "matched": true, "file": "vs.yaml", "line": 12, "rule": "http[1]"}]},
		"outcome": "forwarded", "retries": "up to 2",
		"cluster": {"name": "outbound|9080|v2|reviews", "exists": true, "type": "EDS"},
		"endpoints": [{"address": "127.64.0.3:9080", "health": "HEALTHY", "tls": "mutual TLS", "workload": "reviews-v2.default"}]}`))
	out, err := run(t, dir, "explain", "productpage", "get", "reviews:9080/x", "-H", "end-user:jason")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"handed over by virtualOutbound", "not vs.yaml:9 http[0] path /x: the path differs", "rule vs.yaml:12 http[1]",
		"outcome forwarded", "cluster outbound|9080|v2|reviews", "endpoint 127.64.0.3:9080 reviews-v2.default, healthy, mutual TLS"} {
		if !strings.Contains(squeeze(out), want) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
	if last := c.seen[len(c.seen)-1]; !strings.Contains(last, "header=end-user%3Ajason") || !strings.Contains(last, "method=GET") {
		t.Errorf("asked %s", last)
	}
}

func TestAnalyzeFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "vs.yaml")
	text := "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n  - rout: []\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, dir, "analyze", file)
	if err == nil || !strings.Contains(out, fmt.Sprintf("%s:7", file)) {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = run(t, dir, "analyze", file, "-o", "json"); err == nil || !strings.Contains(out, `"IST0106"`) {
		t.Errorf("%v\n%s", err, out)
	}
}

// What the control plane has found in what is live is printed as it is; only with files is it found anew, as they may
// mend it.
func TestAnalyzeLive(t *testing.T) {
	c, dir := newControl(t)
	p := config.Problem{Severity: config.Error, Code: "IST0101", Object: config.Ref{Kind: "VirtualService", Namespace: "default", Name: "a"},
		Field: "spec.http[0]", Position: config.Position{File: "a.yaml", Line: 7, Column: 5}, Message: "no such host"}
	c.mux.HandleFunc("GET "+api.PathProblems, func(w http.ResponseWriter, r *http.Request) {
		var found config.Problems
		if r.URL.Query().Get("analysis") != "false" {
			found = config.Problems{p}
		}
		if err := json.NewEncoder(w).Encode(api.ProblemsResponse{Problems: found}); err != nil {
			t.Error(err)
		}
	})
	live := `{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a", "namespace": "default"},
		"spec": {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]}}`
	c.answer("GET "+api.PathObjects, 200, api.GetResponse{Items: []api.Item{{Source: "files", Body: []byte(live)}}})
	out, err := run(t, dir, "analyze")
	if err == nil || strings.Count(out, "IST0101") != 1 || !strings.Contains(out, "a.yaml:7:5") {
		t.Errorf("%v\n%s", err, out)
	}
	mended := filepath.Join(dir, "a.yaml")
	text := strings.Replace(live, `"host": "a"`, `"host": "b.example.com"`, 1) + "\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n" +
		"metadata: {name: b, namespace: default}\nspec: {hosts: [b.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}\n"
	if err := os.WriteFile(mended, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err = run(t, dir, "analyze", mended, "--live"); err != nil || strings.Contains(out, "IST0101") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = run(t, dir, "analyze", mended); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestVersion(t *testing.T) {
	c, dir := newControl(t)
	c.answer("GET "+PathVersion, 200, VersionResponse{Control: "v2", Proxies: map[string]int{"v1": 3}})
	out, err := run(t, dir, "version", "--remote")
	if err != nil || !strings.Contains(out, "client version: v1") || !strings.Contains(out, "data plane version: v1 (3 proxies)") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestCompletionAndHelp(t *testing.T) {
	for _, args := range [][]string{{"completion", "bash"}, {"--help"}, {"apply", "--help"}, {"proxy-config", "--help"}} {
		if out, err := run(t, t.TempDir(), args...); err != nil || out == "" {
			t.Errorf("%v: %v", args, err)
		}
	}
}
