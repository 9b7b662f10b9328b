package compile

import (
	"errors"
	"fmt"
	"math"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	preservev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"

	"lateen.dev/lateen/proxy/plan"
)

var (
	http1Fields = fields(`allow_absolute_url accept_http_10 default_host_for_http_10 header_key_format enable_trailers
		allow_chunked_length override_stream_error_on_invalid_http_message send_fully_qualified_url use_balsa_parser
		ignore_http_11_upgrade`)
	http2Fields = fields(`hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size
		allow_connect allow_metadata max_outbound_frames max_outbound_control_frames
		max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream
		max_inbound_window_update_frames_per_data_frame_sent stream_error_on_invalid_http_messaging
		override_stream_error_on_invalid_http_message connection_keepalive use_oghttp2_codec max_metadata_size
		enable_huffman_encoding max_header_field_size_kb disallow_obs_text stream_reset_burst stream_reset_rate`)
)

func http1Options(m *corev3.Http1ProtocolOptions) (plan.HTTP1Options, error) {
	out := plan.HTTP1Options{
		AllowAbsoluteURL: boolean(m.GetAllowAbsoluteUrl(), true), AcceptHTTP10: m.GetAcceptHttp_10(), DefaultHostHTTP10: m.GetDefaultHostForHttp_10(),
		EnableTrailers: m.GetEnableTrailers(), AllowChunkedLength: m.GetAllowChunkedLength(),
	}
	if err := http1Fields.only(m); err != nil {
		return out, err
	}
	if m.GetSendFullyQualifiedUrl() {
		return out, errors.New("send_fully_qualified_url is not supported by this proxy")
	}
	switch f := m.GetHeaderKeyFormat().GetHeaderFormat().(type) {
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_ProperCaseWords_:
		return out, errors.New("header_key_format: proper_case_words is not supported by this proxy; names keep the case they came in")
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter:
		e, err := extensionOf(f.StatefulFormatter.GetTypedConfig())
		if err != nil {
			return out, at(err, "header_key_format")
		}
		if e.kind != "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig" {
			return out, fmt.Errorf("header_key_format: %s is not known to this proxy", e.kind)
		}
		if err := e.into(&preservev3.PreserveCaseFormatterConfig{}); err != nil {
			return out, at(err, "header_key_format")
		}
	}
	return out, nil
}

// http2Options fills in Envoy's defaults of 1.40.
func http2Options(m *corev3.Http2ProtocolOptions) (plan.HTTP2Options, error) {
	out := plan.HTTP2Options{
		MaxConcurrentStreams:        u32(m.GetMaxConcurrentStreams(), 1024),
		InitialStreamWindow:         u32(m.GetInitialStreamWindowSize(), 16<<20),
		InitialConnectionWindow:     u32(m.GetInitialConnectionWindowSize(), 24<<20),
		HPACKTableSize:              u32(m.GetHpackTableSize(), 4096),
		NoHPACKTable:                m.GetHpackTableSize() != nil && m.GetHpackTableSize().GetValue() == 0,
		MaxOutboundFrames:           u32(m.GetMaxOutboundFrames(), 10000),
		MaxOutboundControlFrames:    u32(m.GetMaxOutboundControlFrames(), 1000),
		MaxConsecutiveEmptyFrames:   u32(m.GetMaxConsecutiveInboundFramesWithEmptyPayload(), 1),
		MaxInboundPriorityPerStream: u32(m.GetMaxInboundPriorityFramesPerStream(), 100),
		MaxInboundWindowPerData:     u32(m.GetMaxInboundWindowUpdateFramesPerDataFrameSent(), 10),
		AllowConnect:                m.GetAllowConnect(),
		MaxFieldBytes:               min(m.GetMaxHeaderFieldSizeKb().GetValue(), maxHeadKiB) << 10,
		ResetBurst:                  uint32(min(m.GetStreamResetBurst().GetValue(), math.MaxInt32)),
		ResetRate:                   uint32(min(m.GetStreamResetRate().GetValue(), math.MaxInt32)),
	}
	if err := http2Fields.only(m); err != nil {
		return out, err
	}
	for _, w := range []struct {
		name string
		v    uint32
	}{{"initial_stream_window_size", out.InitialStreamWindow}, {"initial_connection_window_size", out.InitialConnectionWindow}} {
		if w.v < 65535 || w.v > 1<<31-1 {
			return out, fmt.Errorf("%s: %d is not between 65535 and 2147483647", w.name, w.v)
		}
	}
	if out.MaxConcurrentStreams == 0 || out.MaxConcurrentStreams > 1<<31-1 {
		return out, fmt.Errorf("max_concurrent_streams: %d is not between 1 and 2147483647", out.MaxConcurrentStreams)
	}
	for _, f := range []struct {
		name string
		v    uint32
	}{{"max_outbound_frames", out.MaxOutboundFrames}, {"max_outbound_control_frames", out.MaxOutboundControlFrames},
		{"max_inbound_window_update_frames_per_data_frame_sent", out.MaxInboundWindowPerData}} {
		if f.v == 0 || f.v > math.MaxInt32 {
			return out, fmt.Errorf("%s: %d is not between 1 and 2147483647", f.name, f.v)
		}
	}
	ds := &durations{}
	out.PingInterval = ds.get("connection_keepalive: interval", m.GetConnectionKeepalive().GetInterval(), 0)
	out.PingTimeout = ds.get("connection_keepalive: timeout", m.GetConnectionKeepalive().GetTimeout(), 0)
	return out, ds.err
}
