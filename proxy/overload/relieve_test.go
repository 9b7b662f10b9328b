package overload

import (
	"slices"
	"testing"
	"time"
)

func TestReducedTimeouts(t *testing.T) {
	var used uint64
	m := manager(t, Config{
		Monitors: []Monitor{{Name: "heap", Limit: 100}},
		Actions: []Action{{Name: ReduceTimeouts, Triggers: []Trigger{{"heap", 0.8, 0.9}}, Timers: map[Timer]Reduction{
			ConnectionIdle: {Least: 2 * time.Second}, StreamIdle: {Share: 0.1}, StreamFlush: {},
		}}},
	}, func(r Monitor) (uint64, uint64, error) { return used, r.Limit, nil })
	looked := 0
	m.Relieve(Relief{Reconsider: func() { looked++ }})
	for _, c := range []struct {
		used                              uint64
		idle, stream, flush, connect, one time.Duration
		looked                            int
	}{
		{50, 12 * time.Second, 10 * time.Second, 8 * time.Second, 4 * time.Second, time.Second, 0},
		{85, 7 * time.Second, 5500 * time.Millisecond, 4 * time.Second, 4 * time.Second, time.Second, 1},
		{95, 2 * time.Second, time.Second, time.Millisecond, 4 * time.Second, time.Second, 2},
		{95, 2 * time.Second, time.Second, time.Millisecond, 4 * time.Second, time.Second, 2},
		{85, 7 * time.Second, 5500 * time.Millisecond, 4 * time.Second, 4 * time.Second, time.Second, 2},
		{10, 12 * time.Second, 10 * time.Second, 8 * time.Second, 4 * time.Second, time.Second, 2},
	} {
		used = c.used
		m.Look()
		s := &m.State
		near := func(got, want time.Duration) bool { return (got - want).Abs() < time.Millisecond }
		if got := s.Reduced(ConnectionIdle, 12*time.Second); !near(got, c.idle) {
			t.Errorf("at %d %%: idle %v, want %v", c.used, got, c.idle)
		}
		if got := s.Reduced(StreamIdle, 10*time.Second); !near(got, c.stream) {
			t.Errorf("at %d %%: stream idle %v, want %v", c.used, got, c.stream)
		}
		if got := s.Reduced(StreamFlush, 8*time.Second); !near(got, c.flush) || got == 0 {
			t.Errorf("at %d %%: flush %v, want %v", c.used, got, c.flush)
		}
		if got := s.Reduced(TransportConnect, 4*time.Second); got != c.connect {
			t.Errorf("at %d %%: a timer that isn't reduced is %v, want %v", c.used, got, c.connect)
		}
		if got := s.Reduced(ConnectionIdle, time.Second); got != c.one {
			t.Errorf("at %d %%: what is shorter already is %v, want %v", c.used, got, c.one)
		}
		if got := s.Reduced(ConnectionIdle, 0); got != 0 {
			t.Errorf("at %d %%: no limit has become %v", c.used, got)
		}
		if looked != c.looked {
			t.Errorf("at %d %%: connections have looked %d times, want %d", c.used, looked, c.looked)
		}
	}
	var none *State
	if none.Reduced(ConnectionIdle, time.Second) != time.Second {
		t.Error("nobody watches, and a timeout is reduced")
	}
}

func TestHeavyStreams(t *testing.T) {
	var used uint64
	var from []int64
	m := manager(t, Config{
		Monitors: []Monitor{{Name: "heap", Limit: 100}}, HeavyPower: 10,
		Actions: []Action{{Name: ResetHeavyStreams, Triggers: []Trigger{{"heap", 0.8, 1}}}},
	}, func(r Monitor) (uint64, uint64, error) { return used, r.Limit, nil })
	m.Relieve(Relief{ResetStreams: func(bytes int64, most int) int {
		if most != mostResets {
			t.Errorf("%d may be reset", most)
		}
		from = append(from, bytes)
		return 3
	}})
	for _, used = range []uint64{70, 80, 81, 90, 97, 100, 50} {
		m.Look()
	}
	if want := []int64{128 << 10, 8 << 10, 2 << 10, 1 << 10}; !slices.Equal(from, want) {
		t.Errorf("streams are reset from %v, want %v", from, want)
	}
	count := int64(0)
	m.Stats(func(name string, v int64) {
		if name == "overload."+ResetHeavyStreams+".count" {
			count = v
		}
	})
	if count != 12 {
		t.Errorf("%d are counted", count)
	}
}
