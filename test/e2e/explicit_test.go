package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

const weights = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
`

func TestExplicitProxying(t *testing.T) {
	everyUser(t, func(t *testing.T, u user) {
		m := newMesh(t, u)
		m.apply(strict + "---" + weights)
		m.serve("reviews", "v1", "--port 9080", "--http 9080")
		m.serve("reviews", "v2", "--port 9080", "--http 9080")
		env := m.start("--explicit-proxy --service env --port 31200", peer(), "end", "environment")
		if code := env.wait(patience); code != 0 {
			t.Fatalf("exit code %d: %s", code, env.errs.String())
		}
		if !strings.Contains(env.out.String(), "HTTP_PROXY=http://127.") || env.errs.String() != "" {
			t.Errorf("environment %s\nstandard error %q", env.out.String(), env.errs.String())
		}
		d := m.drive("explicit", "--explicit-proxy --port 31201")
		a := d.get("http://reviews:9080/x?y=z", http.StatusOK)
		if !strings.HasPrefix(a.Body, "reviews-v1 GET reviews:9080/x?y=z HTTP/1.1\n") {
			t.Errorf("through the proxy: %s", a.Body)
		}
		mutualTLS(t, a, "explicit")
		for _, host := range []string{"reviews.default:9080", "reviews.default.svc.cluster.local:9080"} {
			if a := d.get("http://"+host+"/", http.StatusOK, "end-user: jason"); !strings.HasPrefix(a.Body, "reviews-v2 ") {
				t.Errorf("%s as jason: %s", host, a.Body)
			}
		}
		// Inbound: a captured program calls one that is not.
		m.serve("uncaptured", "v1", "--explicit-proxy --port 31202", "--host 127.0.0.1 --http 31202")
		c := m.drive("captured", "--port 9999")
		a = c.get("http://uncaptured:31202/in", http.StatusOK)
		if !strings.HasPrefix(a.Body, "uncaptured-v1 GET uncaptured:31202/in HTTP/1.1\n") {
			t.Errorf("inbound: %s", a.Body)
		}
		mutualTLS(t, a, "captured")
		metric(t, m, "uncaptured", `reporter="destination"`, `source_app="captured"`, `connection_security_policy="mutual_tls"`, `response_code="200"`)
		metric(t, m, "explicit", `reporter="source"`, `destination_service_name="reviews"`, `destination_version="v2"`, `response_code="200"`)
	})
}

// metric looks for istio_requests_total with these labels at a workload's own
// admin address.
func metric(t *testing.T, m *mesh, service string, labels ...string) {
	t.Helper()
	var page []string
	eventually(t, service+" counts requests with "+strings.Join(labels, ", "), func() bool {
		page = nil
		for _, reg := range m.registrations() {
			if reg.Service != service {
				continue
			}
			r, err := http.Get(fmt.Sprintf("http://%s:15000/stats/prometheus", reg.Address))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(b)) {
				if strings.HasPrefix(line, "istio_requests_total{") {
					page = append(page, line)
				}
			}
		}
	lines:
		for _, line := range page {
			for _, l := range labels {
				if !strings.Contains(line, l) {
					continue lines
				}
			}
			return true
		}
		return false
	})
}
