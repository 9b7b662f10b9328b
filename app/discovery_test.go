package app

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// absent has no registered workloads.
type absent struct{}

func (absent) Connected(server.Client) error { return nil }
func (absent) Disconnected(server.Client)    {}

func (absent) Health(server.Client, bool, string) error { return nil }

// fragile is discovery whose translation panics for chosen proxies.
type fragile struct {
	*discovery
	world    *world.World
	revision uint64

	mu       sync.Mutex // guards what follows
	panics   string     // for the proxy of this name
	failures []*translationError
	tries    int
}

func (f *fragile) setPanics(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.panics = name
}

func (f *fragile) seen() (failures []*translationError, tries int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failures, f.tries
}

func newFragile() *fragile {
	f := &fragile{world: world.New(world.Options{Sources: []string{"test"}})}
	f.discovery = newDiscovery(f.world, absent{}, func(e *translationError) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.failures = append(f.failures, e)
	})
	f.state = func(p *model.Proxy) (*xds.State, uint64) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.panics == p.Name {
			f.tries++
			panic("translation went wrong")
		}
		return f.translator.Current(p)
	}
	return f
}

// change makes a Snapshot that differs.
func (f *fragile) change(t *testing.T, address string) {
	t.Helper()
	f.revision++
	text := "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: s, namespace: default}\nspec:\n  hosts: [s.example]\n" +
		"  ports: [{number: 80, name: http, protocol: HTTP}]\n  resolution: STATIC\n  endpoints: [{address: " + address + "}]\n"
	batch := world.Batch{Source: "test", Initial: f.revision == 1, Revision: f.revision}
	for _, o := range config.Decode([]byte(text), config.DecodeOptions{File: "test.yaml"}).Objects() {
		batch.Changes = append(batch.Changes, world.ObjectChange{Key: o.Key, Object: o})
	}
	f.world.Apply(batch)
	synctest.Wait()
}

func (f *fragile) attach(name string) (server.Session, error) {
	node := &xds.Node{ID: "sidecar~10.0.0.1~" + name + ".default~default.svc.cluster.local", Type: xds.SidecarNode, Workload: name + ".default",
		Metadata: xds.Metadata{Namespace: "default", Name: name}}
	return f.Attach(context.Background(), server.Client{Node: node})
}

// A panic in the translation for one proxy leaves it what it has, is reported,
// and is tried again; other proxies do not notice.
func TestTranslationPanicIsContainedReportedAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile()
		f.change(t, "10.1.0.1")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.run(ctx) }()
		good, err := f.attach("good")
		if err != nil {
			t.Fatal(err)
		}
		bad, err := f.attach("bad")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		before := bad.State()
		f.setPanics("bad")
		f.change(t, "10.1.0.2")
		if good.State() == before {
			t.Error("a proxy whose translation works did not get the change")
		}
		if bad.State() != before {
			t.Error("the proxy whose translation panicked lost what it had")
		}
		if failures, _ := f.seen(); len(failures) != 1 || failures[0].proxies != 1 || failures[0].stack == "" {
			t.Errorf("reported: %+v", failures)
		}
		time.Sleep(time.Minute)
		if _, tries := f.seen(); tries < 3 || tries > 60 {
			t.Errorf("tried %d times within a minute", tries)
		}
		f.setPanics("")
		time.Sleep(time.Minute)
		if bad.State() != good.State() && bad.State().Revision != good.State().Revision {
			t.Error("the proxy was not served again")
		}
		cancel()
		<-done
	})
}

// A proxy that connects while its translation panics is told to come back, and
// leaves nothing behind.
func TestTranslationPanicRefusesANewcomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFragile()
		f.change(t, "10.1.0.1")
		f.setPanics("bad")
		if _, err := f.attach("bad"); err == nil {
			t.Error("it was accepted")
		}
		if failures, _ := f.seen(); len(failures) != 1 || len(f.all()) != 0 {
			t.Errorf("reported %d, %d sessions", len(failures), len(f.all()))
		}
		f.sub.Close()
	})
}
