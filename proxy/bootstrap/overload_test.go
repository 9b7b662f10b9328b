package bootstrap

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/proxy/overload"
)

const overloaded = `
overload_manager:
  refresh_interval: 0.5s
  resource_monitors:
  - name: envoy.resource_monitors.fixed_heap
    typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig, max_heap_size_bytes: 1000000}
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 10}
  actions:
  - name: envoy.overload_actions.stop_accepting_requests
    triggers: [{name: envoy.resource_monitors.fixed_heap, threshold: {value: 0.95}}]
  - name: envoy.overload_actions.reduce_timeouts
    triggers: [{name: envoy.resource_monitors.fixed_heap, scaled: {scaling_threshold: 0.85, saturation_threshold: 0.95}}]
    typed_config:
      "@type": type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig
      timer_scale_factors: [{timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 2s}, {timer: TRANSPORT_SOCKET_CONNECT, min_scale: {value: 10}}]
  - name: envoy.overload_actions.dance
  loadshed_points:
  - name: envoy.load_shed_points.tcp_listener_accept
    triggers: [{name: envoy.resource_monitors.fixed_heap, scaled: {scaling_threshold: 0.8, saturation_threshold: 0.9}}]
`

func TestOverload(t *testing.T) {
	b, err := Parse("x", []byte(overloaded))
	if err != nil {
		t.Fatal(err)
	}
	const heap = "envoy.resource_monitors.fixed_heap"
	want := Overload{Configured: true, MaxConnections: 10, HeapLimit: 1000000, Config: overload.Config{
		Interval: 500_000_000,
		Monitors: []overload.Monitor{
			{Name: heap, Kind: overload.Heap, Limit: 1000000},
			{Name: "envoy.resource_monitors.global_downstream_max_connections", Kind: overload.Connections, Limit: 10},
		},
		Actions: []overload.Action{
			{Name: overload.StopAcceptingRequests, Triggers: []overload.Trigger{{Monitor: heap, From: 0.95, To: 0.95}}},
			{Name: overload.ReduceTimeouts, Triggers: []overload.Trigger{{Monitor: heap, From: 0.85, To: 0.95}}, Timers: map[overload.Timer]overload.Reduction{
				overload.ConnectionIdle: {Least: 2 * time.Second}, overload.TransportConnect: {Share: 0.1}}},
			{Name: overload.ShedAccept, Triggers: []overload.Trigger{{Monitor: heap, From: 0.8, To: 0.9}}},
		},
	}}
	if !reflect.DeepEqual(b.Overload, want) {
		t.Errorf("got %+v\nwant %+v", b.Overload, want)
	}
	if len(b.Ignored) != 1 || !strings.Contains(b.Ignored[0], "dance") {
		t.Errorf("ignored: %v", b.Ignored)
	}
	for _, text := range []string{
		`layered_runtime: {layers: [{name: a, static_layer: {overload: {global_downstream_max_connections: 50}}}]}`,
		`layered_runtime: {layers: [{name: a, static_layer: {"overload.global_downstream_max_connections": "50"}}]}`,
	} {
		if b, err := Parse("x", []byte(text)); err != nil || b.Overload.MaxConnections != 50 {
			t.Errorf("%s: %+v, %v", text, b, err)
		}
	}
	for old, bad := range map[string]string{
		"max_heap_size_bytes: 1000000": "max_heap_size_bytes: 0", "value: 0.95": "value: 95", "threshold: 0.9}": "threshold: 0.1}",
		"min_timeout: 2s": "min_timeout: -2s", "value: 10}": "value: 101}", "TRANSPORT_SOCKET_CONNECT": "HTTP_DOWNSTREAM_CONNECTION_IDLE", ", min_timeout: 2s": "",
		"max_active_downstream_connections: 10": "max_active_downstream_connections: 0", "threshold: {value: 0.95}": "",
	} {
		if _, err := Parse("x", []byte(strings.Replace(overloaded, old, bad, 1))); err == nil {
			t.Errorf("%q instead of %q is accepted", bad, old)
		}
	}
}
