package bootstrap

import (
	"errors"
	"fmt"
	"strconv"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	cgroupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/cgroup_memory/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	injectedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/injected_resource/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/proxy/overload"
)

// Overload is what a bootstrap says about overload.
type Overload struct {
	// Config is the overload manager's; Configured tells that there is one.
	Config     overload.Config
	Configured bool
	// MaxConnections limits open downstream connections; 0 is no limit.
	MaxConnections int64
	// HeapLimit is the smallest limit of memory that a monitor was given, in bytes; 0 is none.
	HeapLimit uint64
}

// maxConnectionsKey is Envoy's runtime key for the number of downstream connections.
const maxConnectionsKey = "global_downstream_max_connections"

func (b *Bootstrap) overload(raw *bootstrapv3.Bootstrap) error {
	b.Overload.MaxConnections = runtimeConnections(raw.GetLayeredRuntime())
	m := raw.GetOverloadManager()
	if m == nil {
		return nil
	}
	b.Overload.Configured = true
	c := &b.Overload.Config
	c.Interval = m.GetRefreshInterval().AsDuration()
	for _, r := range m.GetResourceMonitors() {
		if err := b.Overload.monitor(r); err != nil {
			return fmt.Errorf("overload_manager: resource_monitors: %s: %w", r.GetName(), err)
		}
	}
	if p := m.GetBufferFactoryConfig().GetMinimumAccountToTrackPowerOfTwo(); p > 56 {
		return fmt.Errorf("overload_manager: buffer_factory_config: minimum_account_to_track_power_of_two: %d is more than 56", p)
	} else {
		c.HeavyPower = p
	}
	add := func(name string, triggers []*overloadv3.Trigger, more *anypb.Any) error {
		if !overload.Known(name) {
			b.Ignored = append(b.Ignored, "overload_manager: "+name)
			return nil
		}
		timers, err := reductions(name, more)
		if err != nil {
			return fmt.Errorf("overload_manager: %s: %w", name, err)
		}
		a := overload.Action{Name: name, Timers: timers}
		for _, t := range triggers {
			trigger, err := triggerOf(t)
			if err != nil {
				return fmt.Errorf("overload_manager: %s: %w", name, err)
			}
			a.Triggers = append(a.Triggers, trigger)
		}
		c.Actions = append(c.Actions, a)
		return nil
	}
	for _, a := range m.GetActions() {
		if err := add(a.GetName(), a.GetTriggers(), a.GetTypedConfig()); err != nil {
			return err
		}
	}
	for _, p := range m.GetLoadshedPoints() {
		if err := add(p.GetName(), p.GetTriggers(), nil); err != nil {
			return err
		}
	}
	return nil
}

// timersOf are Envoy's timers.
func timersOf() map[overloadv3.ScaleTimersOverloadActionConfig_TimerType]overload.Timer {
	return map[overloadv3.ScaleTimersOverloadActionConfig_TimerType]overload.Timer{
		overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_IDLE: overload.ConnectionIdle,
		overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_STREAM_IDLE:     overload.StreamIdle,
		overloadv3.ScaleTimersOverloadActionConfig_TRANSPORT_SOCKET_CONNECT:        overload.TransportConnect,
		overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_MAX:  overload.ConnectionMax,
		overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_STREAM_FLUSH:    overload.StreamFlush,
	}
}

// reductions reads which timers an action makes shorter, which reduce_timeouts must say, and no other may.
func reductions(action string, config *anypb.Any) (map[overload.Timer]overload.Reduction, error) {
	switch {
	case action != overload.ReduceTimeouts && config == nil:
		return nil, nil
	case action != overload.ReduceTimeouts:
		return nil, fmt.Errorf("typed_config: %s is not supported by this proxy here", config.GetTypeUrl())
	case config == nil:
		return nil, errors.New("typed_config must say which timers are to be reduced")
	}
	var m overloadv3.ScaleTimersOverloadActionConfig
	if err := config.UnmarshalTo(&m); err != nil {
		return nil, fmt.Errorf("typed_config: %w", err)
	}
	out := map[overload.Timer]overload.Reduction{}
	for i, f := range m.GetTimerScaleFactors() {
		timer, known := timersOf()[f.GetTimer()]
		if _, twice := out[timer]; !known || twice {
			return nil, fmt.Errorf("timer_scale_factors[%d]: the timer %v is unknown, or there twice", i, f.GetTimer())
		}
		var r overload.Reduction
		switch {
		case f.GetMinTimeout() != nil:
			r.Least = f.GetMinTimeout().AsDuration()
		case f.GetMinScale() != nil:
			r.Share = f.GetMinScale().GetValue() / 100
		default:
			return nil, fmt.Errorf("timer_scale_factors[%d]: neither min_timeout nor min_scale is given", i)
		}
		if r.Least < 0 || !(r.Share >= 0 && r.Share <= 1) {
			return nil, fmt.Errorf("timer_scale_factors[%d]: min_timeout must not be negative, and min_scale lies between 0 and 100", i)
		}
		out[timer] = r
	}
	if len(out) == 0 {
		return nil, errors.New("timer_scale_factors: there is none")
	}
	return out, nil
}

func (o *Overload) monitor(r *overloadv3.ResourceMonitor) error {
	config, err := r.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return err
	}
	m := overload.Monitor{Name: r.GetName()}
	switch c := config.(type) {
	case *heapv3.FixedHeapConfig:
		if m.Kind, m.Limit = overload.Heap, c.GetMaxHeapSizeBytes(); m.Limit == 0 {
			return fmt.Errorf("max_heap_size_bytes must be more than 0")
		}
		o.limitHeap(m.Limit)
	case *cgroupv3.CgroupMemoryConfig:
		m.Kind, m.Limit = overload.Cgroup, c.GetMaxMemoryBytes()
		o.limitHeap(m.Limit)
	case *connectionsv3.DownstreamConnectionsConfig:
		if c.GetMaxActiveDownstreamConnections() <= 0 {
			return fmt.Errorf("max_active_downstream_connections must be more than 0")
		}
		m.Kind, m.Limit = overload.Connections, uint64(c.GetMaxActiveDownstreamConnections())
		o.MaxConnections = c.GetMaxActiveDownstreamConnections()
	case *injectedv3.InjectedResourceConfig:
		m.Kind, m.File = overload.Injected, c.GetFilename()
	default:
		return fmt.Errorf("%s is not supported by this proxy", r.GetTypedConfig().GetTypeUrl())
	}
	o.Config.Monitors = append(o.Config.Monitors, m)
	return nil
}

func (o *Overload) limitHeap(n uint64) {
	if n > 0 && (o.HeapLimit == 0 || n < o.HeapLimit) {
		o.HeapLimit = n
	}
}

func triggerOf(t *overloadv3.Trigger) (overload.Trigger, error) {
	out := overload.Trigger{Monitor: t.GetName()}
	switch {
	case t.GetThreshold() != nil:
		out.From = t.GetThreshold().GetValue()
		out.To = out.From
	case t.GetScaled() != nil:
		out.From, out.To = t.GetScaled().GetScalingThreshold(), t.GetScaled().GetSaturationThreshold()
	default:
		return out, fmt.Errorf("the trigger %s has no threshold", t.GetName())
	}
	if !(out.From >= 0 && out.From <= out.To && out.To <= 1) {
		return out, fmt.Errorf("the trigger %s: thresholds lie between 0 and 1, and saturation not below scaling", t.GetName())
	}
	return out, nil
}

// runtimeConnections finds overload.global_downstream_max_connections in the static layers, written either way.
func runtimeConnections(r *bootstrapv3.LayeredRuntime) int64 {
	limit := int64(0)
	for _, layer := range r.GetLayers() {
		fields := layer.GetStaticLayer().GetFields()
		values := []any{fields["overload."+maxConnectionsKey].AsInterface(), fields["overload"].GetStructValue().GetFields()[maxConnectionsKey].AsInterface()}
		for _, v := range values {
			switch v := v.(type) {
			case float64:
				limit = int64(v)
			case string:
				if n, err := strconv.ParseInt(v, 10, 64); err == nil {
					limit = n
				}
			}
		}
	}
	return max(0, limit)
}
