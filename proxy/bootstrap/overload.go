package bootstrap

import (
	"fmt"
	"strconv"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	cgroupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/cgroup_memory/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	injectedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/injected_resource/v3"

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
	add := func(name string, triggers []*overloadv3.Trigger) error {
		if !overload.Known(name) {
			b.Ignored = append(b.Ignored, "overload_manager: "+name)
			return nil
		}
		a := overload.Action{Name: name}
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
		if err := add(a.GetName(), a.GetTriggers()); err != nil {
			return err
		}
	}
	for _, p := range m.GetLoadshedPoints() {
		if err := add(p.GetName(), p.GetTriggers()); err != nil {
			return err
		}
	}
	return nil
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
