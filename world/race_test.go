package world_test

import (
	"fmt"
	"sync"
	"testing"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/world"
)

// TestReadersWhileTheWorldChanges is of use under the race detector: readers ask everything of Snapshots, old and new, while
// batches are applied from several goroutines.
func TestReadersWhileTheWorldChanges(t *testing.T) {
	w := build(t, services)
	sub := w.Subscribe()
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for i := range 3 {
		readers.Go(func() {
			first := w.Snapshot()
			last := uint64(0)
			for {
				s := w.Snapshot()
				if i == 0 {
					s, _ = sub.Take()
				}
				if s.Version() < last {
					t.Errorf("version %d after %d", s.Version(), last)
					return
				}
				last = s.Version()
				everything(s)
				everything(first)
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 2 {
		batches := make([]world.Batch, 0, 50)
		for n := range 50 {
			o := objects(t, fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: s%d, namespace: one}\n"+
				"spec: {selector: {app: a}, ports: [{name: http, port: %d}]}", n%5, 80+n))[0]
			batches = append(batches, world.Batch{Source: fmt.Sprint(i), Revision: uint64(n), Changes: []world.ObjectChange{{Key: o.Key, Object: o}}})
			if n%7 == 6 {
				batches = append(batches, world.Batch{Source: fmt.Sprint(i), Changes: []world.ObjectChange{{Key: o.Key}}})
			}
		}
		writers.Go(func() {
			for _, b := range batches {
				w.Apply(b)
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	sub.Close()
	w.Apply(world.Batch{Changes: []world.ObjectChange{{Key: config.Key{Kind: config.Service, Namespace: "one", Name: "a"}}}})
	select {
	case <-sub.Ready():
		if s, _ := sub.Take(); s == w.Snapshot() {
			t.Error("a closed subscription was told")
		}
	default:
	}
}
