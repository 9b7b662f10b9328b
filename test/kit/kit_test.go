package kit

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code, run := Main()
	if run {
		code = m.Run()
	}
	os.Exit(code)
}

const reviewsService = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, clusterIP: 10.20.0.1, ports: [{name: http, port: 9080}]}
`

// TestMesh sends a request from one host to another, on each network and between all engines, and leaves nothing behind.
func TestMesh(t *testing.T) {
	for _, test := range []struct {
		name           string
		network        func() (Network, error)
		client, server Engine
	}{
		{"memory", Memory, Lateen, Lateen},
		{"lateen", Namespaces, Lateen, Lateen},
		{"lateen to envoy", Namespaces, Lateen, Envoy},
		{"envoy to lateen", Namespaces, Envoy, Lateen},
		{"envoy", Namespaces, Envoy, Envoy},
		{"outside", Namespaces, None, Envoy},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) })
			n, err := test.network()
			if err != nil {
				t.Fatal(err)
			}
			sendOne(t, NewMesh(t, n), test.client, test.server)
		})
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*")); len(left) > 0 {
		for _, d := range left {
			if strings.Contains(d, tempPrefix+strconv.Itoa(os.Getpid())+"-") {
				t.Errorf("left behind: %s", d)
			}
		}
	}
}

func sendOne(t *testing.T, m *Mesh, client, server Engine) {
	if err := m.Control.Apply(File{Name: "config.yaml", Data: reviewsService}); err != nil {
		t.Fatal(err)
	}
	reviews, err := m.AddHost(Spec{Name: "reviews", Labels: map[string]string{"app": "reviews"}, Engine: server, Version: "v1",
		ServiceAccount: "reviews", Ports: []Port{{Number: 9080, Protocol: "http"}}})
	if err != nil {
		t.Fatal(err)
	}
	page, err := m.AddHost(Spec{Name: "productpage", ServiceAccount: "productpage", Engine: client})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := m.Start(ctx, reviews, page); err != nil {
		t.Fatal(err)
	}
	if err := m.Control.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	r := page.Send(ctx, Request{Method: "GET", URL: "http://reviews:9080/reviews/0"})[0]
	if r.Err != nil || r.Report == nil || r.Report.Version != "v1" {
		t.Fatalf("%+v\n%s\n%s", r, page.Log(), reviews.Log())
	}
	cert := r.Report.Headers.Get("X-Forwarded-Client-Cert")
	if mutual := strings.Contains(cert, "URI=spiffe://cluster.local/ns/default/sa/productpage"); mutual != (client != None) {
		t.Errorf("the client's certificate was %q", cert)
	}
}
