package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// ruleService is a VirtualService at the gateway with one rule of each kind.
const ruleService = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rules, namespace: default}
spec:
  hosts: [rules.example.com]
  gateways: [bookinfo-gateway]
  http:
  - match: [{uri: {exact: /old}}]
    redirect: {uri: /new, authority: other.example.com, redirectCode: 308}
  - match: [{uri: {exact: /teapot}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - match: [{uri: {prefix: /shop/}}]
    rewrite: {uri: /}
    route: [{destination: {host: details, port: {number: 9080}}}]
    headers:
      response: {set: {x-shop: "yes"}, remove: [server]}
  - match: [{uri: {regex: "/v[0-9]+/details/.*"}}]
    rewrite: {uriRegexRewrite: {match: "^/v[0-9]+(/.*)$", rewrite: "\\1"}}
    route: [{destination: {host: details, port: {number: 9080}}}]
  - match: [{uri: {prefix: /pick}, queryParams: {who: {exact: me}}}]
    directResponse: {status: 201}
  - match: [{uri: {prefix: /pick}, method: {exact: PUT}}]
    directResponse: {status: 202}
  - match: [{uri: {prefix: /pick}, headers: {x-test: {prefix: a}}, withoutHeaders: {x-not: {}}}]
    directResponse: {status: 203}
  - match: [{uri: {prefix: /PICK}, ignoreUriCase: true, authority: {prefix: rules}}]
    directResponse: {status: 204}
  - match: [{uri: {prefix: /retried}}]
    fault: {abort: {percentage: {value: 100}, httpStatus: 503}}
    route: [{destination: {host: details, port: {number: 9080}}}]
  - route: [{destination: {host: nowhere.default.svc.cluster.local, port: {number: 9080}}}]
`

// rule is a request and what must come back.
type rule struct {
	name, method, path, header string
	status                     int
	// want must be in the body, or in "NAME: VALUE" of a response header.
	want string
}

func rules() []rule {
	return []rule{
		{"redirect", "GET", "/old", "", 308, "Location: http://other.example.com/new"},
		{"direct response", "GET", "/teapot", "", 418, "short and stout"},
		{"prefix rewrite and response headers", "GET", "/shop/details/0", "", 200, "X-Shop: yes"},
		{"regex match and rewrite", "GET", "/v12/details/0", "", 200, `"pages"`},
		{"query", "GET", "/pick?who=me", "", 201, ""},
		{"method", "PUT", "/pick", "", 202, ""},
		{"header", "GET", "/pick", "x-test: abc", 203, ""},
		{"path in any case", "GET", "/Pick", "", 204, ""},
		{"abort", "GET", "/retried", "", 503, "fault filter abort"},
		{"no such destination", "GET", "/else", "", 503, ""},
	}
}

func (d *demo) checkRules(ctx context.Context) (string, error) {
	if _, err := d.apply(ctx, "rules.yaml", ruleService); err != nil {
		return "", err
	}
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var seen []string
	for _, r := range rules() {
		if err := d.checkRule(ctx, browser, r); err != nil {
			return "", fmt.Errorf("%s: %w", r.name, err)
		}
		seen = append(seen, r.name)
	}
	return strings.Join(seen, ", "), d.delete(ctx, "VirtualService", "rules")
}

func (d *demo) checkRule(ctx context.Context, browser *http.Client, r rule) error {
	req, err := http.NewRequestWithContext(ctx, r.method, d.url(r.path), nil)
	if err != nil {
		return err
	}
	req.Host = "rules.example.com"
	if name, value, ok := strings.Cut(r.header, ": "); ok {
		req.Header.Set(name, value)
	}
	resp, err := browser.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	text := string(body)
	for name, values := range resp.Header {
		text += fmt.Sprintf("\n%s: %s", name, strings.Join(values, ","))
	}
	if resp.StatusCode != r.status || !strings.Contains(text, r.want) {
		return fmt.Errorf("status %d, want %d with %q:\n%s", resp.StatusCode, r.status, r.want, text)
	}
	return nil
}

// probe runs a fetch of a URL as a program of the mesh, captured like any
// other, and returns what it got: the status and the body.
func (d *demo) probe(ctx context.Context, namespace, url string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("probe: %w", err)
	}
	cmd := exec.CommandContext(ctx, exe, "run", "--dir", d.Dir, "--namespace", namespace, "--service", "probe", "--port", "9999", "--",
		exe, "sample", "fetch", url)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("fetching %s: %w: %s", url, err, exit.Stderr)
	}
	return string(out), err
}

func (d *demo) checkNames(ctx context.Context) (string, error) {
	names := []string{"details", "details.default", "details.default.svc", "details.default.svc.cluster.local"}
	for _, name := range names {
		got, err := d.probe(ctx, "default", "http://"+name+":9080/details/0")
		if err != nil || !strings.HasPrefix(got, "200 ") {
			return "", fmt.Errorf("%s: %q, %w", name, got, orError(err, "no 200"))
		}
	}
	got, err := d.probe(ctx, "shop", "http://details.default:9080/details/0")
	if err != nil || !strings.HasPrefix(got, "200 ") {
		return "", fmt.Errorf("from another namespace: %q, %w", got, orError(err, "no 200"))
	}
	if got, err = d.probe(ctx, "default", "http://nobody.default.svc.cluster.local:9080/"); err == nil {
		return "", fmt.Errorf("a name that does not exist was answered: %q", got)
	}
	return strings.Join(names, ", "), nil
}

const outsideService = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: default}
spec:
  hosts: [outside.example.com]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: %d}]
  resolution: STATIC
  location: MESH_EXTERNAL
  endpoints: [{address: 127.0.0.1}]
`

const registryOnly = `apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec:
  egress: [{hosts: ["./*", "istio-system/*"]}]
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
`

// checkEgress leads traffic out of the mesh: to a ServiceEntry, and, as long
// as that is allowed, to anywhere.
func (d *demo) checkEgress(ctx context.Context) (string, error) {
	if _, err := d.apply(ctx, "outside.yaml", fmt.Sprintf(outsideService, d.ControlPort+4)); err != nil {
		return "", err
	}
	got, err := d.probe(ctx, "default", "http://outside.example.com/ready")
	if err != nil || !strings.HasPrefix(got, "200 ready") {
		return "", fmt.Errorf("ServiceEntry: %q, %w", got, orError(err, "not what is there"))
	}
	address, err := d.proxyAddress(ctx, "details-v1")
	if err != nil {
		return "", err
	}
	if _, err := d.apply(ctx, "registry-only.yaml", registryOnly); err != nil {
		return "", err
	}
	if got, err = d.probe(ctx, "default", "http://outside.example.com/ready"); err != nil || !strings.HasPrefix(got, "200 ready") {
		return "", fmt.Errorf("REGISTRY_ONLY, a ServiceEntry: %q, %w", got, orError(err, "not what is there"))
	}
	if got, err = d.probe(ctx, "default", fmt.Sprintf("http://192.0.2.1:%d/ready", d.ControlPort+4)); err == nil && !strings.HasPrefix(got, "502 ") {
		return "", fmt.Errorf("REGISTRY_ONLY: an address that nobody declared was answered: %q", got)
	}
	if err := errors.Join(d.delete(ctx, "Sidecar", "default"), d.delete(ctx, "ServiceEntry", "outside")); err != nil {
		return "", err
	}
	return "ServiceEntry reached; undeclared address refused under REGISTRY_ONLY; " + address + " stays in the mesh", nil
}

// runFetch is `sample fetch URL`: it prints the status and the body.
func runFetch(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("sample fetch URL")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	status, body, err := fetch(ctx, http.DefaultClient, args[0])
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d %s", status, body)
	return err
}
