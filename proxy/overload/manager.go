package overload

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// State says which actions are in force. The methods of a nil State say that none is.
type State struct {
	requests, keepAlive, stop, reject, shrink atomic.Bool
	// highest is the first file descriptor that no accepted connection may have; 0 is no limit.
	highest atomic.Int64
	// reduced is how far ReduceTimeouts is set off, in millionths; reductions don't change.
	reduced    atomic.Int64
	reductions [timers]reduction
}

// RefuseRequests tells that requests are answered 503.
func (s *State) RefuseRequests() bool { return s != nil && s.requests.Load() }

// CloseConnections tells that HTTP/1 connections end with their next response.
func (s *State) CloseConnections() bool { return s != nil && s.keepAlive.Load() }

// StopAccepting tells that new connections are to wait.
func (s *State) StopAccepting() bool { return s != nil && s.stop.Load() }

// RejectConnections tells that new connections are closed at once.
func (s *State) RejectConnections() bool { return s != nil && s.reject.Load() }

// NearDescriptors tells whether so many connections are open that their descriptors are worth looking at.
func (s *State) NearDescriptors(open int64) bool {
	if s == nil {
		return false
	}
	highest := s.highest.Load()
	return highest > 0 && 4*open >= highest
}

// TooManyDescriptors tells that a connection with that descriptor must not be served. The kernel gives the lowest one
// that is free, so that all below it are in use: a flood is noticed before the manager looks again.
func (s *State) TooManyDescriptors(fd int) bool {
	return s != nil && s.highest.Load() > 0 && int64(fd) >= s.highest.Load()
}

// monitor is a resource with what is known of it.
type monitor struct {
	Monitor
	pressure atomic.Int64 // in percent
	failed   atomic.Int64
}

// action is an action with what is known of it.
type action struct {
	Action
	active atomic.Bool
	scale  atomic.Int64 // in percent
}

// Manager watches resources.
type Manager struct {
	State    State
	interval time.Duration
	monitors []*monitor
	actions  []*action
	log      *slog.Logger
	read     func(Monitor) (used, limit uint64, err error)

	relief     Relief
	heavyPower uint32
	resets     atomic.Int64
}

// Reader reads how much of a resource is used, and how much there is; 0 is no limit. For Injected used is the pressure
// in millionths, and the limit a million.
type Reader func(Monitor) (used, limit uint64, err error)

// New returns a manager that watches nothing yet. An action or a trigger that names what there isn't is an error.
func New(c Config, read Reader, log *slog.Logger) (*Manager, error) {
	m := &Manager{interval: c.Interval, read: read, log: log, heavyPower: c.HeavyPower}
	if m.heavyPower == 0 {
		m.heavyPower = DefaultHeavyPower
	}
	if m.interval <= 0 {
		m.interval = time.Second
	}
	names := map[string]bool{}
	for _, r := range c.Monitors {
		if names[r.Name] {
			return nil, fmt.Errorf("overload manager: the resource monitor %s is there twice", r.Name)
		}
		names[r.Name] = true
		m.monitors = append(m.monitors, &monitor{Monitor: r})
	}
	for _, a := range c.Actions {
		if !Known(a.Name) {
			return nil, fmt.Errorf("overload manager: the action %s is not supported by this proxy", a.Name)
		}
		for _, t := range a.Triggers {
			if !names[t.Monitor] {
				return nil, fmt.Errorf("overload manager: the action %s is triggered by %s, which is no resource monitor", a.Name, t.Monitor)
			}
		}
		for t, r := range a.Timers {
			m.State.reductions[t] = reduction{r, true}
		}
		m.actions = append(m.actions, &action{Action: a})
	}
	return m, nil
}

// Relieve says what is to be done about memory and connections, besides what the State says. It must be called before Run.
func (m *Manager) Relieve(r Relief) { m.relief = r }

// Run watches until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	tick := time.NewTicker(m.interval)
	defer tick.Stop()
	for {
		m.Look()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if m.State.shrink.Load() {
			debug.FreeOSMemory()
		}
	}
}

// Look reads the resources once, and puts in force what follows.
func (m *Manager) Look() {
	pressure := map[string]float64{}
	for _, r := range m.monitors {
		used, limit, err := m.read(r.Monitor)
		switch {
		case err != nil:
			if r.failed.Add(1) == 1 {
				m.log.Warn("a resource can't be read", "monitor", r.Name, "error", err)
			}
			pressure[r.Name] = float64(r.pressure.Load()) / 100 // as it was
		case limit > 0:
			pressure[r.Name] = float64(used) / float64(limit)
			if r.Kind == Descriptors {
				m.State.highest.Store(m.highest(r.Name, limit))
			}
		}
	}
	scales := step(m.actions, pressure)
	m.put(scales)
	for _, r := range m.monitors { // last: whoever sees a pressure may expect that what follows from it holds
		r.pressure.Store(int64(math.Round(100 * pressure[r.Name])))
	}
}

// highest is the share of the descriptors from which connections are not accepted any more.
func (m *Manager) highest(monitor string, limit uint64) int64 {
	for _, a := range m.actions {
		for _, t := range a.Triggers {
			if a.Name == StopAcceptingConnections && t.Monitor == monitor {
				return int64(t.To * float64(limit))
			}
		}
	}
	return 0
}

// step is how far each action is set off, between 0 and 1.
func step(actions []*action, pressure map[string]float64) []float64 {
	out := make([]float64, len(actions))
	for i, a := range actions {
		for _, t := range a.Triggers {
			p := pressure[t.Monitor]
			switch {
			case p >= t.To:
				out[i] = 1
			case p > t.From && t.To > t.From:
				out[i] = max(out[i], (p-t.From)/(t.To-t.From))
			}
		}
	}
	return out
}

// put brings what was decided into force.
func (m *Manager) put(scales []float64) {
	inForce, scale := map[string]bool{}, map[string]float64{}
	for i, a := range m.actions {
		scale[a.Name] = max(scale[a.Name], scales[i])
		active := scales[i] >= 1
		if a.active.Swap(active) != active {
			m.log.Warn("overload", "action", a.Name, "active", active)
		}
		a.scale.Store(int64(100 * scales[i]))
		inForce[a.Name] = inForce[a.Name] || active
	}
	m.State.requests.Store(inForce[StopAcceptingRequests] || inForce[ShedRequest])
	m.State.keepAlive.Store(inForce[DisableKeepAlive])
	m.State.stop.Store(inForce[StopAcceptingConnections])
	m.State.reject.Store(inForce[RejectConnections] || inForce[ShedAccept])
	m.State.shrink.Store(inForce[ShrinkHeap])
	m.relieve(scale[ReduceTimeouts], scale[ResetHeavyStreams])
}

// Stats calls f with Envoy's statistics: overload.MONITOR.pressure, overload.ACTION.active, and so on.
func (m *Manager) Stats(f func(name string, value int64)) {
	for _, r := range m.monitors {
		prefix := "overload." + r.Name + "."
		f(prefix+"pressure", r.pressure.Load())
		f(prefix+"failed_updates", r.failed.Load())
	}
	active, scale := map[string]int64{}, map[string]int64{}
	for _, a := range m.actions {
		active[a.Name] = max(active[a.Name], 0)
		if a.active.Load() {
			active[a.Name] = 1
		}
		scale[a.Name] = max(scale[a.Name], a.scale.Load())
	}
	for name, v := range active {
		f("overload."+name+".active", v)
		f("overload."+name+".scale_percent", scale[name])
	}
	if _, there := active[ResetHeavyStreams]; there {
		f("overload."+ResetHeavyStreams+".count", m.resets.Load())
	}
}
