package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
)

// fake is a source under the test's control.
type fake struct {
	name    string
	batches chan source.Batch
	fail    chan error
}

func newFake(name string) *fake {
	return &fake{name: name, batches: make(chan source.Batch), fail: make(chan error)}
}

func (f *fake) Name() string              { return f.name }
func (f *fake) Problems() config.Problems { return nil }

func (f *fake) Run(ctx context.Context, sink source.Sink) error {
	for {
		select {
		case b := <-f.batches:
			sink.Apply(b)
		case err := <-f.fail:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// bench runs sources and notes what came to which sink.
type bench struct {
	*sources
	mu     sync.Mutex
	heard  []string
	opened map[string]int
}

func newBench(t *testing.T) *bench {
	return newBenchIn(t, t.TempDir())
}

// newBenchIn keeps what sources said in a directory.
func newBenchIn(t *testing.T, dir string) *bench {
	b := &bench{opened: map[string]int{}}
	b.sources = newSources(slog.New(slog.DiscardHandler), dir, func(id string, told func()) source.Sink {
		return source.SinkFunc(func(batch source.Batch) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.heard = append(b.heard, fmt.Sprintf("%s %v %d", id, batch.Initial, len(batch.Changes)))
			if batch.Initial {
				told()
			}
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b
}

// wantedFake opens a fake; an error instead if there is one.
func (b *bench) wantedFake(id string, f *fake, err error) wantedSource {
	return wantedSource{id: id, name: f.name, open: func() (source.Source, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.opened[id]++
		if err != nil {
			return nil, err
		}
		return f, nil
	}}
}

func (b *bench) log() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.heard, ", ")
}

func batch(initial bool, names ...string) source.Batch {
	out := source.Batch{Initial: initial}
	for _, name := range names {
		out.Changes = append(out.Changes, source.Put(&config.Object{Key: config.Key{Kind: config.VirtualService, Namespace: "default", Name: name}}))
	}
	return out
}

// Sources come and go with what is wanted; what one had is gone with it, and the
// others don't notice.
func TestSourcesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		one, two := newFake("one"), newFake("two")
		first, second := b.wantedFake("1", one, nil), b.wantedFake("2", two, nil)
		b.want([]wantedSource{first, second})
		one.batches <- batch(true, "a", "b")
		synctest.Wait()
		two.batches <- batch(true, "c")
		if err := b.wait(t.Context(), time.Minute, func([]string) { t.Error("nothing is missing") }); err != nil {
			t.Error(err)
		}
		b.want([]wantedSource{second})
		synctest.Wait()
		two.batches <- batch(false, "d")
		synctest.Wait()
		b.want([]wantedSource{first, second})
		one.batches <- batch(true)
		synctest.Wait()
		if got, want := b.log(), "1 true 2, 2 true 1, 1 true 0, 2 false 1, 1 true 0"; got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
		if b.opened["1"] != 2 || b.opened["2"] != 1 {
			t.Errorf("opened %v", b.opened)
		}
	})
}

// A source that ends by itself is opened anew, with what it had live until it
// tells again; one that can never work keeps nobody waiting.
func TestSourcesThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		one, never := newFake("one"), newFake("k8s://")
		b.want([]wantedSource{b.wantedFake("1", one, nil), b.wantedFake("2", never, fmt.Errorf("%w: no", errUnusable))})
		var missing []string
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		if err := b.wait(ctx, 5*time.Second, func(names []string) { missing = names }); !errors.Is(err, context.DeadlineExceeded) || !slices.Equal(missing, []string{"one"}) {
			t.Errorf("waited until %v, missing %v", err, missing)
		}
		one.batches <- batch(true, "a")
		if err := b.wait(t.Context(), time.Minute, func([]string) { t.Error("it has told") }); err != nil {
			t.Error(err)
		}
		one.fail <- errors.New("lost")
		synctest.Wait()
		got := b.conditions()
		if len(got) != 2 || got[0].State != source.Failing || got[0].Reason != "lost" || got[0].Failures != 1 || got[1].State != source.Failing {
			t.Errorf("conditions %+v", got)
		}
		if ps := b.problems(); len(ps) != 2 || !ps.HasErrors() {
			t.Errorf("problems %v", ps)
		}
		one.batches <- batch(true, "a") // it runs again after a while
		synctest.Wait()
		if got := b.conditions(); got[0].State != source.Ready || got[0].Reason != "" {
			t.Errorf("condition %+v", got[0])
		}
		if got, want := b.log(), "1 true 1, 1 true 1"; got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
		if b.opened["2"] != 1 {
			t.Errorf("what can never work was tried %d times", b.opened["2"])
		}
	})
}

// A source on another machine may be away when the control plane starts: what it
// said before is live at once, visibly, until it says more.
func TestStartWithoutASource(t *testing.T) {
	dir := t.TempDir()
	objects := config.Decode([]byte("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a, namespace: default}\n"+
		"spec: {hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}\n"), config.DecodeOptions{File: "a.yaml"}).Objects()
	said := source.Batch{Initial: true, Revision: 7, Changes: []source.Change{source.Put(objects[0])}}
	t.Run("before", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBenchIn(t, dir)
			f := newFake("far")
			w := b.wantedFake("1", f, nil)
			w.away = true
			b.want([]wantedSource{w})
			f.batches <- said
			synctest.Wait()
		})
	})
	t.Run("after", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBenchIn(t, dir)
			f := newFake("far")
			there := make(chan struct{})
			w := wantedSource{id: "1", name: "far", away: true, open: func() (source.Source, error) {
				select {
				case <-there:
					return f, nil
				default:
					return nil, errors.New("connection refused")
				}
			}}
			b.want([]wantedSource{w})
			if err := b.wait(t.Context(), time.Minute, func([]string) { t.Error("proxies wait") }); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			c := b.conditions()[0]
			if b.log() != "1 true 1" || c.State != source.Stale || c.Objects != 1 || c.Reason != "connection refused" || c.Heard.IsZero() {
				t.Errorf("%s, %+v", b.log(), c)
			}
			if ps := b.problems(); len(ps) != 1 || !strings.Contains(ps[0].Message, "since the start") {
				t.Errorf("complaints: %v", ps)
			}
			// It comes back with something else.
			close(there)
			f.batches <- batch(true, "b", "c")
			synctest.Wait()
			if c := b.conditions()[0]; !strings.HasSuffix(b.log(), "1 true 2") || c.State == source.Stale {
				t.Errorf("%s, %+v", b.log(), c)
			}
			// What nobody wants any more is forgotten.
			b.want(nil)
			synctest.Wait()
			if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	})
}
