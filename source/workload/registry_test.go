package workload

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
)

// world is a sink that holds what it was told.
type world struct {
	mu      sync.Mutex
	objects map[config.Key]*config.Object
	batches int
}

func (w *world) Apply(b source.Batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b.Initial != (w.batches == 0) {
		panic("the first batch, and only it, is the initial one")
	}
	w.batches++
	for _, c := range b.Changes {
		if c.Object == nil {
			delete(w.objects, c.Key)
		} else {
			w.objects[c.Key] = c.Object
		}
	}
}

func (w *world) get(kind config.Kind, name string) *config.Object {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.objects[config.Key{Kind: kind, Namespace: "default", Name: name}]
}

func reviews(version string) Request {
	return Request{Namespace: "default", Service: "reviews", Version: version, ServiceAccount: "bookinfo-reviews",
		Ports: []Port{{Number: 9080}}, PID: 42}
}

// begin opens a registry and runs it inside a synctest bubble.
func begin(t *testing.T, o Options) (*Registry, *world) {
	t.Helper()
	r, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{objects: map[config.Key]*config.Object{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, w) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return r, w
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestLifeOfAWorkload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := begin(t, Options{})
		reg := must[Registration](t)(r.Register(reviews("v1")))
		synctest.Wait()
		if reg.Name != "reviews-v1" || !DefaultPrefix.Contains(reg.Address) {
			t.Errorf("registration %+v", reg)
		}
		if w.get(config.WorkloadEntry, "reviews-v1") != nil {
			t.Error("it is an endpoint before it is ready")
		}
		if w.get(config.Service, "reviews") == nil {
			t.Error("there is no service of that name")
		}
		if err := errors.Join(r.Connect(reg.ID), r.SetReady(reg.ID, true)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		entry := config.As[*networking.WorkloadEntry](w.get(config.WorkloadEntry, "reviews-v1"))
		if entry.GetAddress() != reg.Address.String() || entry.GetLabels()["version"] != "v1" || entry.GetServiceAccount() != "bookinfo-reviews" {
			t.Errorf("entry %v", entry)
		}
		if err := r.Disconnect(reg.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second) // virtual: within the grace
		synctest.Wait()
		if w.get(config.WorkloadEntry, "reviews-v1") == nil {
			t.Error("it has gone within its grace")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if w.get(config.WorkloadEntry, "reviews-v1") != nil || w.get(config.Service, "reviews") != nil {
			t.Error("it has not gone after its grace")
		}
	})
}

func TestDeadProcessGoesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		process := "begun at noon"
		r, w := begin(t, Options{Process: func(int) string { return process }})
		reg := must[Registration](t)(r.Register(reviews("v1")))
		if err := errors.Join(r.Connect(reg.ID), r.SetReady(reg.ID, true)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		process = "begun at one" // another one has its number
		if err := r.Disconnect(reg.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if w.get(config.WorkloadEntry, "reviews-v1") != nil {
			t.Error("its endpoint is still there")
		}
	})
}

func TestDyingProcessGoesWhenItHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var alive atomic.Bool
		alive.Store(true)
		r, w := begin(t, Options{Process: func(int) string {
			if alive.Load() {
				return "begun at noon"
			}
			return ""
		}})
		reg := must[Registration](t)(r.Register(reviews("v1")))
		if err := errors.Join(r.Connect(reg.ID), r.SetReady(reg.ID, true), r.Disconnect(reg.ID)); err != nil {
			t.Fatal(err)
		}
		for _, away := range []time.Duration{time.Second, time.Hour} { // as long as a machine may be too busy, or asleep
			time.Sleep(away)
			synctest.Wait()
			if w.get(config.WorkloadEntry, "reviews-v1") == nil {
				t.Fatalf("it left after %v, while its process was there", away)
			}
		}
		alive.Store(false)
		time.Sleep(awayInterval)
		synctest.Wait()
		if w.get(config.WorkloadEntry, "reviews-v1") != nil {
			t.Error("its endpoint is still there")
		}
	})
}

func TestRestartKeepsTheLiving(t *testing.T) {
	file := filepath.Join(t.TempDir(), "workloads.json")
	var kept Registration
	synctest.Test(t, func(t *testing.T) {
		r, _ := begin(t, Options{File: file})
		for _, v := range []string{"v1", "v2"} {
			q := reviews(v)
			if v == "v2" {
				q.PID = 43
			}
			reg := must[Registration](t)(r.Register(q))
			if err := errors.Join(r.Connect(reg.ID), r.SetReady(reg.ID, true)); err != nil {
				t.Fatal(err)
			}
			if v == "v1" {
				kept = reg
			}
		}
	})
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file %v, %v", info, err)
	}
	synctest.Test(t, func(t *testing.T) {
		var over atomic.Bool
		_, w := begin(t, Options{File: file, Process: func(pid int) string {
			if pid == 42 && !over.Load() {
				return "begun at noon"
			}
			return ""
		}})
		o := config.As[*networking.WorkloadEntry](w.get(config.WorkloadEntry, "reviews-v1"))
		if o.GetAddress() != kept.Address.String() {
			t.Errorf("after the restart the entry is %v", o)
		}
		if w.get(config.WorkloadEntry, "reviews-v2") != nil {
			t.Error("a workload whose process has ended is back")
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if w.get(config.WorkloadEntry, "reviews-v1") == nil {
			t.Error("a workload whose process is there has gone because its proxy took long to come back")
		}
		over.Store(true)
		time.Sleep(awayInterval)
		synctest.Wait()
		if w.get(config.WorkloadEntry, "reviews-v1") != nil {
			t.Error("a workload stays whose process has ended meanwhile")
		}
	})
}

func TestNamesAndAddressesDoNotCollide(t *testing.T) {
	r, err := Open(Options{Prefix: netip.MustParsePrefix("127.64.0.0/29")})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 7 {
		reg, err := r.Register(reviews("v1"))
		if err != nil {
			t.Fatal(err)
		}
		if seen[reg.Name] || seen[reg.Address.String()] {
			t.Errorf("%s at %s is there twice", reg.Name, reg.Address)
		}
		seen[reg.Name], seen[reg.Address.String()] = true, true
	}
	if _, err := r.Register(reviews("v1")); !errors.Is(err, errFull) {
		t.Errorf("an eighth of seven addresses: %v", err)
	}
}

func TestProgramWithoutPortsIsNoService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := begin(t, Options{})
		reg, err := r.Register(Request{Namespace: "default", Service: "client", ServiceAccount: "client"})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Connect(reg.ID), r.SetReady(reg.ID, true)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if w.get(config.WorkloadEntry, "client") == nil {
			t.Error("it has no entry")
		}
		if o := w.get(config.Service, "client"); o != nil {
			t.Errorf("nobody can call it, but there is %v", o)
		}
	})
}

func TestWrongRequests(t *testing.T) {
	r, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]Request{
		"no service":   {Namespace: "default", Ports: []Port{{Number: 1}}},
		"a dot":        {Namespace: "default", Service: "a.b", Ports: []Port{{Number: 1}}},
		"port 0":       {Namespace: "default", Service: "a", Ports: []Port{{}}},
		"odd account":  {Namespace: "default", Service: "a", ServiceAccount: "x/y", Ports: []Port{{Number: 1}}},
		"upper spaces": {Namespace: "De fault", Service: "a", Ports: []Port{{Number: 1}}},
	} {
		if _, err := r.Register(q); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.SetReady("default/nope", true); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown workload: %v", err)
	}
	if err := r.Remove("default/nope"); err != nil {
		t.Error(err)
	}
}
