package compile

import (
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"lateen.dev/lateen/proxy/plan"
)

func TestHTTP2Options(t *testing.T) {
	var m corev3.Http2ProtocolOptions
	got, err := http2Options(&m)
	want := plan.HTTP2Options{
		MaxConcurrentStreams: 1024, InitialStreamWindow: 16 << 20, InitialConnectionWindow: 24 << 20, HPACKTableSize: 4096,
		MaxOutboundFrames: 10_000, MaxOutboundControlFrames: 1000, MaxConsecutiveEmptyFrames: 1, MaxInboundPriorityPerStream: 100,
		MaxInboundWindowPerData: 10,
	}
	if err != nil || got != want {
		t.Errorf("by default %+v, %v", got, err)
	}
	read(t, `{hpack_table_size: 0, max_outbound_frames: 1, max_outbound_control_frames: 2, max_consecutive_inbound_frames_with_empty_payload: 0,
  max_inbound_priority_frames_per_stream: 3, max_inbound_window_update_frames_per_data_frame_sent: 4, max_header_field_size_kb: 64,
  stream_reset_burst: 5, stream_reset_rate: 6, connection_keepalive: {interval: 7s, timeout: 8s}}`, &m)
	want = plan.HTTP2Options{
		MaxConcurrentStreams: 1024, InitialStreamWindow: 16 << 20, InitialConnectionWindow: 24 << 20, NoHPACKTable: true,
		MaxOutboundFrames: 1, MaxOutboundControlFrames: 2, MaxInboundPriorityPerStream: 3, MaxInboundWindowPerData: 4,
		MaxFieldBytes: 64 << 10, ResetBurst: 5, ResetRate: 6, PingInterval: 7 * time.Second, PingTimeout: 8 * time.Second,
	}
	if got, err = http2Options(&m); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"max_outbound_frames", "max_outbound_control_frames", "max_inbound_window_update_frames_per_data_frame_sent",
		"initial_stream_window_size", "max_concurrent_streams"} {
		var m corev3.Http2ProtocolOptions
		read(t, "{"+bad+": 0}", &m)
		if _, err := http2Options(&m); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: 0: %v", bad, err)
		}
	}
}
