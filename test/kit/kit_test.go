package kit

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	code, run := Main()
	if run {
		code = m.Run()
	}
	os.Exit(code)
}

const bookinfo = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, clusterIP: 10.20.0.1, ports: [{name: http, port: 9080}]}
`

// TestEnvoys sends a request from one stock Envoy to another.
func TestEnvoys(t *testing.T) {
	n, err := Namespaces()
	if err != nil {
		t.Fatal(err)
	}
	m := NewMesh(t, n)
	if err := m.Control.Apply(File{Name: "config.yaml", Data: bookinfo}); err != nil {
		t.Fatal(err)
	}
	reviews, err := m.AddHost(Spec{Name: "reviews", Labels: map[string]string{"app": "reviews"}, Engine: Envoy, Version: "v1",
		ServiceAccount: "reviews", Ports: []Port{{Number: 9080, Protocol: "http"}}})
	if err != nil {
		t.Fatal(err)
	}
	productpage, err := m.AddHost(Spec{Name: "productpage", ServiceAccount: "productpage", Engine: Envoy})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := m.Start(ctx, reviews, productpage); err != nil {
		t.Fatal(err)
	}
	if err := m.Control.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	r := productpage.Send(ctx, Request{Method: "GET", URL: "http://reviews:9080/reviews/0"})[0]
	if r.Err != nil || r.Report == nil {
		t.Fatalf("%+v\n%s\n%s", r, productpage.Log(), reviews.Log())
	}
	t.Logf("%+v", r.Report)
	if got := r.Report.Headers.Get("X-Forwarded-Client-Cert"); got == "" {
		t.Error("no client certificate")
	}
}
