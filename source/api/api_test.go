package api_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source/api"
	"lateen.dev/lateen/source/sourcetest"
	"lateen.dev/lateen/source/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bookinfo = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: http, port: 9080}], selector: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v1}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: other}
spec: {host: reviews, subsets: [{name: v1}, {name: v2}]}
`

// serve runs a store behind a unix socket and returns a client of it.
func serve(t *testing.T) *api.Client {
	t.Helper()
	s, err := store.Open(store.Options{Dir: t.TempDir(), State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	sourcetest.Start(t, s)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: api.NewHandler(s, s)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	c := api.NewClient(socket)
	t.Cleanup(func() {
		c.Close()
		_ = server.Close()
		<-done
	})
	return c
}

func TestRoundTrip(t *testing.T) {
	c, ctx := serve(t), t.Context()
	applied, err := c.Apply(ctx, api.ApplyRequest{Files: []api.File{{Name: "bookinfo.yaml", Data: bookinfo}}})
	if err != nil || len(applied.Results) != 3 || applied.Revision != 1 {
		t.Fatal(applied, err)
	}
	got, err := c.Get(ctx, api.GetRequest{Kind: "vs,svc"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.Tables {
		for j := range got.Tables[i].Rows {
			last := len(got.Tables[i].Columns) - 1
			got.Tables[i].Rows[j][last] = filepath.Base(got.Tables[i].Rows[j][last])
		}
	}
	want := []api.Table{
		{Columns: []string{"NAME", "GATEWAYS", "HOSTS", "ORIGIN"}, Rows: [][]string{{"reviews", "", "reviews", "virtualservices.reviews.yaml:1:1"}}},
		{Columns: []string{"NAME", "TYPE", "PORTS", "ORIGIN"}, Rows: [][]string{{"reviews", "ClusterIP", "9080/TCP", "services.reviews.yaml:2:1"}}},
	}
	if diff := cmp.Diff(want, got.Tables); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	if got.Revision != 1 || got.Items[0].Object.Kind != "VirtualService" || got.Items[0].Origin.Line != 1 {
		t.Errorf("%+v", got)
	}
	again := config.Decode(got.Items[0].Body, config.DecodeOptions{File: "x"})
	if err := again.Problems().Err(); err != nil || len(again.Objects()) != 1 {
		t.Errorf("body %s: %v", got.Items[0].Body, err)
	}

	all, err := c.Get(ctx, api.GetRequest{Kind: "all", AllNamespaces: true})
	if err != nil || len(all.Items) != 3 || all.Tables[1].Columns[0] != "NAMESPACE" {
		t.Errorf("all: %+v, %v", all, err)
	}
	problems, err := c.Problems(ctx)
	if err != nil || len(problems.Problems) != 2 || problems.Problems[0].Code != "IST0101" || problems.Problems[1].Code != "IST0174" {
		t.Errorf("problems: %v, %v", problems, err)
	}
	deleted, err := c.Delete(ctx, api.DeleteRequest{Objects: []config.Ref{{Kind: "vs", Name: "reviews"}}})
	if err != nil || deleted.Results[0].Action != api.Deleted || deleted.Revision != 2 {
		t.Errorf("delete: %+v, %v", deleted, err)
	}
	changes, err := c.Changes(ctx, 1, 10)
	if err != nil || len(changes.Entries) != 1 || changes.Entries[0].Key.Name != "reviews" || changes.Oldest != 1 {
		t.Errorf("changes: %+v, %v", changes, err)
	}
}

func TestErrors(t *testing.T) {
	c, ctx := serve(t), t.Context()
	expect := func(err error, status int, message string) {
		t.Helper()
		var e *api.Error
		if !errors.As(err, &e) || e.Status != status || !strings.Contains(e.Message, message) {
			t.Errorf("error %v, want %d %q", err, status, message)
		}
	}
	_, err := c.Apply(ctx, api.ApplyRequest{Files: []api.File{{Name: "x", Data: "{"}}})
	expect(err, 422, "nothing was applied")
	var e *api.Error
	if errors.As(err, &e) && (len(e.Problems) != 1 || e.Problems[0].Position.File != "x") {
		t.Errorf("problems %v", e.Problems)
	}
	_, err = c.Get(ctx, api.GetRequest{Kind: "nothing"})
	expect(err, 400, "virtualservices")
	_, err = c.Get(ctx, api.GetRequest{Kind: "vs", Name: "x"})
	expect(err, 404, `no VirtualService "x" in namespace default`)
	expect(c.Call(ctx, http.MethodPost, api.PathApply, map[string]int{"unheard": 1}, nil), 400, "unheard")
	expect(c.Call(ctx, http.MethodGet, api.PathChanges+"?since=x", nil, nil), 400, "since")
	expect(c.Call(ctx, http.MethodGet, "/nowhere", nil, nil), 404, "404")
	w := httptest.NewRecorder()
	large := strings.NewReader(strings.Repeat(" ", api.MaxRequest+1))
	api.NewHandler(nil, nil).ServeHTTP(w, httptest.NewRequest(http.MethodPost, api.PathApply, large))
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large request: %d %s", w.Code, w.Body)
	}
}

func TestNotRunning(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	c := api.NewClient(socket)
	if _, err := c.Problems(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := c.Problems(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("nobody listens: %v", err)
	}
}
