package overload

import "time"

// Kind is what a monitor reads.
type Kind uint8

// The kinds of monitor.
const (
	Heap        Kind = iota // memory that this process has from the system, against Limit bytes
	Cgroup                  // memory of the control group, against Limit bytes or the group's own limit
	Connections             // open downstream connections, against Limit; they are refused beyond it
	Descriptors             // open files, against Limit or the process's own limit
	Injected                // a pressure between 0 and 1 that is read from File, for tests
)

// Monitor is a resource.
type Monitor struct {
	Name  string
	Kind  Kind
	Limit uint64
	File  string
}

// Trigger says how far a resource's pressure sets an action off: not at all below From, wholly from To on.
type Trigger struct {
	Monitor  string
	From, To float64
}

// Action is what is done about pressure. It is in force when one of its triggers is wholly set off.
type Action struct {
	Name     string
	Triggers []Trigger
	// Timers are those that ReduceTimeouts makes shorter.
	Timers map[Timer]Reduction
}

// Config is what is watched, and what is done.
type Config struct {
	// Interval is how often resources are read; 1 s by default.
	Interval time.Duration
	Monitors []Monitor
	Actions  []Action
	// HeavyPower is the power of two of bytes from which ResetHeavyStreams looks at a stream; 0 for DefaultHeavyPower.
	HeavyPower uint32
}

// The actions, by Envoy's names, and the points of load shedding that come to the same.
const (
	StopAcceptingRequests    = "envoy.overload_actions.stop_accepting_requests"
	DisableKeepAlive         = "envoy.overload_actions.disable_http_keepalive"
	StopAcceptingConnections = "envoy.overload_actions.stop_accepting_connections"
	RejectConnections        = "envoy.overload_actions.reject_incoming_connections"
	ShrinkHeap               = "envoy.overload_actions.shrink_heap"
	ReduceTimeouts           = "envoy.overload_actions.reduce_timeouts"
	ResetHeavyStreams        = "envoy.overload_actions.reset_high_memory_stream"
	ShedAccept               = "envoy.load_shed_points.tcp_listener_accept"
	ShedRequest              = "envoy.load_shed_points.http_connection_manager_decode_headers"
)

// Known tells whether an action, or a point of load shedding, is one of the above.
func Known(action string) bool {
	switch action {
	case StopAcceptingRequests, DisableKeepAlive, StopAcceptingConnections, RejectConnections, ShrinkHeap, ReduceTimeouts, ResetHeavyStreams,
		ShedAccept, ShedRequest:
		return true
	}
	return false
}

// The names of the monitors that Default adds.
const (
	HeapMonitor        = "envoy.resource_monitors.fixed_heap"
	DescriptorsMonitor = "lateen.resource_monitors.file_descriptors"
)

// Default is what holds without configuration: with a limit of memory requests are answered 503 before it is reached.
func Default(memoryLimit uint64) Config {
	c := Config{Interval: defaultInterval}
	if memoryLimit > 0 {
		c.Monitors = append(c.Monitors, Monitor{Name: HeapMonitor, Kind: Heap, Limit: memoryLimit})
		c.Actions = []Action{
			{Name: ShrinkHeap, Triggers: []Trigger{{HeapMonitor, 0.90, 0.90}}},
			{Name: DisableKeepAlive, Triggers: []Trigger{{HeapMonitor, 0.92, 0.92}}},
			{Name: StopAcceptingRequests, Triggers: []Trigger{{HeapMonitor, 0.95, 0.95}}},
			{Name: StopAcceptingConnections, Triggers: []Trigger{{HeapMonitor, 0.98, 0.98}}},
		}
	}
	return c
}

// WithDescriptors adds the watch over file descriptors, without which a proxy that runs out of them can't reach a server
// any more: a part is kept for connections upstream.
func (c Config) WithDescriptors() Config {
	c.Monitors = append(c.Monitors, Monitor{Name: DescriptorsMonitor, Kind: Descriptors})
	c.Actions = append(c.Actions,
		Action{Name: DisableKeepAlive, Triggers: []Trigger{{DescriptorsMonitor, 0.75, 0.75}}},
		Action{Name: StopAcceptingConnections, Triggers: []Trigger{{DescriptorsMonitor, 0.85, 0.85}}})
	return c
}

const defaultInterval = 250 * time.Millisecond
