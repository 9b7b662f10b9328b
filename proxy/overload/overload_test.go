package overload

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func manager(t *testing.T, c Config, read Reader) *Manager {
	t.Helper()
	m, err := New(c, read, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestActions(t *testing.T) {
	var used uint64
	var failure error
	m := manager(t, Config{
		Monitors: []Monitor{{Name: "heap", Limit: 100}},
		Actions: []Action{
			{Name: StopAcceptingRequests, Triggers: []Trigger{{"heap", 0.9, 0.9}}}, {Name: ShedRequest, Triggers: []Trigger{{"heap", 0.95, 0.95}}},
			{Name: DisableKeepAlive, Triggers: []Trigger{{"heap", 0.5, 0.8}}}, {Name: StopAcceptingConnections, Triggers: []Trigger{{"heap", 0.95, 0.95}}},
			{Name: RejectConnections, Triggers: []Trigger{{"heap", 1, 1}}}, {Name: ShrinkHeap, Triggers: []Trigger{{"heap", 0.7, 0.7}}},
		},
	}, func(r Monitor) (uint64, uint64, error) { return used, r.Limit, failure })
	stats := func() map[string]int64 {
		out := map[string]int64{}
		m.Stats(func(name string, v int64) { out[name] = v })
		return out
	}
	for _, c := range []struct {
		used                              uint64
		requests, keepAlive, stop, reject bool
		scale                             int64
	}{
		{used: 10}, {used: 65, scale: 50}, {used: 80, keepAlive: true, scale: 100}, {used: 90, requests: true, keepAlive: true, scale: 100},
		{used: 97, requests: true, keepAlive: true, stop: true, scale: 100},
		{used: 100, requests: true, keepAlive: true, stop: true, reject: true, scale: 100}, {used: 20},
	} {
		used = c.used
		m.Look()
		s := &m.State
		if s.RefuseRequests() != c.requests || s.CloseConnections() != c.keepAlive || s.StopAccepting() != c.stop || s.RejectConnections() != c.reject {
			t.Errorf("at %d %%: requests %v, keep-alive %v, stop %v, reject %v", c.used,
				s.RefuseRequests(), s.CloseConnections(), s.StopAccepting(), s.RejectConnections())
		}
		if got := stats(); got["overload.heap.pressure"] != int64(c.used) || got["overload."+DisableKeepAlive+".scale_percent"] != c.scale ||
			got["overload."+StopAcceptingRequests+".active"] == 1 != c.requests {
			t.Errorf("at %d %%: %v", c.used, got)
		}
	}
	// What can't be read is taken to be as it was.
	used = 90
	m.Look()
	failure = errors.New("no")
	m.Look()
	if !m.State.RefuseRequests() || stats()["overload.heap.failed_updates"] != 1 {
		t.Errorf("after a failure: %v", stats())
	}
}

func TestDescriptorsBetweenLooks(t *testing.T) {
	m := manager(t, Config{}.WithDescriptors(), func(Monitor) (uint64, uint64, error) { return 10, 100, nil })
	if m.State.NearDescriptors(1000) || m.State.TooManyDescriptors(1000) {
		t.Error("limited before the limit is known")
	}
	m.Look()
	if s := &m.State; s.NearDescriptors(20) || !s.NearDescriptors(22) || s.TooManyDescriptors(84) || !s.TooManyDescriptors(85) {
		t.Error("the limit is not 85 of 100")
	}
}

func TestNilState(t *testing.T) {
	var s *State
	if s.RefuseRequests() || s.CloseConnections() || s.StopAccepting() || s.RejectConnections() || s.NearDescriptors(1) || s.TooManyDescriptors(1) {
		t.Error("nobody watches, and something is refused")
	}
}

func TestBadConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"twice":   {Monitors: []Monitor{{Name: "a"}, {Name: "a"}}},
		"action":  {Actions: []Action{{Name: "envoy.overload_actions.dance"}}},
		"trigger": {Actions: []Action{{Name: StopAcceptingRequests, Triggers: []Trigger{{"heap", 1, 1}}}}},
	} {
		if _, err := New(c, nil, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	manager(t, Default(1<<30).WithDescriptors(), nil)
}

func TestRunLooksFromTimeToTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		m := manager(t, Config{Interval: time.Second, Monitors: []Monitor{{Name: "a"}}}, func(Monitor) (uint64, uint64, error) {
			looks++
			return 0, 0, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		m.Run(ctx)
		if looks != 11 {
			t.Errorf("looked %d times in 10 s", looks)
		}
	})
}

func TestSystem(t *testing.T) {
	s := &System{Connections: func() int64 { return 3 }}
	file := filepath.Join(t.TempDir(), "pressure")
	for text, want := range map[string]uint64{"0.25\n": 250_000, "1": millionths} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if used, limit, err := s.Read(Monitor{Kind: Injected, File: file}); used != want || limit != millionths || err != nil {
			t.Errorf("%q: %d of %d, %v", text, used, limit, err)
		}
	}
	if err := os.WriteFile(file, []byte("NaN"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Read(Monitor{Kind: Injected, File: file}); err == nil {
		t.Error("a pressure that is no number is accepted")
	}
	if used, limit, err := s.Read(Monitor{Kind: Heap, Limit: 7}); used < 1<<20 || limit != 7 || err != nil {
		t.Errorf("heap: %d of %d, %v", used, limit, err)
	}
	if used, limit, err := s.Read(Monitor{Kind: Descriptors}); used < 3 || limit < used || err != nil {
		t.Errorf("descriptors: %d of %d, %v", used, limit, err)
	}
	if used, limit, err := s.Read(Monitor{Kind: Connections, Limit: 9}); used != 3 || limit != 9 || err != nil {
		t.Errorf("connections: %d of %d, %v", used, limit, err)
	}
	for text, want := range map[string]uint64{"max\n": 0, "123\n": 123} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := number(file); n != want || err != nil {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}
