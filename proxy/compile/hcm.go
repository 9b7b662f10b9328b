package compile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"

	"lateen.dev/lateen/proxy/plan"
)

var (
	hcmFields = fields(`codec_type stat_prefix rds route_config http_filters add_user_agent tracing
		common_http_protocol_options http1_safe_max_connection_duration http_protocol_options http2_protocol_options
		http3_protocol_options server_name server_header_transformation scheme_header_transformation
		max_request_headers_kb stream_idle_timeout stream_flush_timeout request_timeout request_headers_timeout
		drain_timeout delayed_close_timeout access_log access_log_flush_interval flush_access_log_on_new_request
		access_log_options use_remote_address xff_num_trusted_hops original_ip_detection_extensions
		internal_address_config skip_xff_append via generate_request_id preserve_external_request_id
		always_set_request_id_in_response forward_client_cert_details set_current_client_cert_details
		proxy_100_continue represent_ipv4_remote_address_as_ipv4_mapped_ipv6 upgrade_configs normalize_path
		merge_slashes path_with_escaped_slashes_action request_id_extension local_reply_config
		strip_matching_host_port strip_any_host_port strip_trailing_host_dot stream_error_on_invalid_http_message
		append_local_overload record_route_resolution_stats`)
	commonHTTPFields = fields(`idle_timeout max_connection_duration max_connection_duration_jitter max_headers_count max_response_headers_kb
		max_stream_duration max_requests_per_connection`)
)

// Envoy's defaults of a connection manager.
const (
	defaultHTTPIdle     = time.Hour
	defaultStreamIdle   = 5 * time.Minute
	defaultDelayedClose = time.Second
	defaultDrain        = 5 * time.Second
	defaultHeadKiB      = 60
	defaultHeaderCount  = 100
	maxHeadKiB          = 8192
	defaultServerName   = "envoy"
)

func (b chainEnv) connectionManager(m *hcmv3.HttpConnectionManager) (*plan.HTTPConnectionManager, error) {
	if err := hcmFields.only(m); err != nil {
		return nil, err
	}
	out := &plan.HTTPConnectionManager{
		StatPrefix:          m.GetStatPrefix(),
		ServerName:          m.GetServerName(),
		Via:                 m.GetVia(),
		Proxy100Continue:    m.GetProxy_100Continue(),
		AddUserAgent:        m.GetAddUserAgent().GetValue(),
		SchemeOverwrite:     m.GetSchemeHeaderTransformation().GetSchemeToOverwrite(),
		SchemeMatchUpstream: m.GetSchemeHeaderTransformation().GetMatchUpstream(),
	}
	if out.ServerName == "" {
		out.ServerName = defaultServerName
	}
	steps := []func(*plan.HTTPConnectionManager, *hcmv3.HttpConnectionManager) error{
		hcmCodec, hcmLimits, hcmEnums, hcmIdentity, b.hcmLogs, b.hcmFilters, b.hcmRoutes, b.hcmReplies, hcmTracing,
	}
	for _, step := range steps {
		if err := step(out, m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func hcmCodec(out *plan.HTTPConnectionManager, m *hcmv3.HttpConnectionManager) error {
	switch m.GetCodecType() {
	case hcmv3.HttpConnectionManager_AUTO:
		out.Codec = plan.CodecAuto
	case hcmv3.HttpConnectionManager_HTTP1:
		out.Codec = plan.CodecHTTP1
	case hcmv3.HttpConnectionManager_HTTP2:
		out.Codec = plan.CodecHTTP2
	default:
		return fmt.Errorf("codec_type %v is not supported by this proxy", m.GetCodecType())
	}
	var err error
	if out.HTTP1, err = http1Options(m.GetHttpProtocolOptions()); err != nil {
		return at(err, "http_protocol_options")
	}
	out.HTTP2, err = http2Options(m.GetHttp2ProtocolOptions())
	return at(err, "http2_protocol_options")
}

func hcmLimits(out *plan.HTTPConnectionManager, m *hcmv3.HttpConnectionManager) error {
	common := m.GetCommonHttpProtocolOptions()
	if err := commonHTTPFields.only(common); err != nil {
		return at(err, "common_http_protocol_options")
	}
	kib := u32(m.GetMaxRequestHeadersKb(), defaultHeadKiB)
	if kib == 0 || kib > maxHeadKiB {
		return fmt.Errorf("max_request_headers_kb: %d is not between 1 and %d", kib, maxHeadKiB)
	}
	out.Limits = plan.HTTPLimits{
		MaxHeadBytes:             kib << 10,
		MaxHeaderCount:           u32(common.GetMaxHeadersCount(), defaultHeaderCount),
		MaxRequestsPerConnection: common.GetMaxRequestsPerConnection().GetValue(),
	}
	ds := &durations{}
	out.Timeouts = plan.HTTPTimeouts{
		Idle:           ds.get("common_http_protocol_options: idle_timeout", common.GetIdleTimeout(), defaultHTTPIdle),
		MaxConnection:  ds.get("common_http_protocol_options: max_connection_duration", common.GetMaxConnectionDuration(), 0),
		MaxStream:      ds.get("common_http_protocol_options: max_stream_duration", common.GetMaxStreamDuration(), 0),
		StreamIdle:     ds.get("stream_idle_timeout", m.GetStreamIdleTimeout(), defaultStreamIdle),
		Request:        ds.get("request_timeout", m.GetRequestTimeout(), 0),
		RequestHeaders: ds.get("request_headers_timeout", m.GetRequestHeadersTimeout(), 0),
		DelayedClose:   ds.get("delayed_close_timeout", m.GetDelayedCloseTimeout(), defaultDelayedClose),
		Drain:          ds.get("drain_timeout", m.GetDrainTimeout(), defaultDrain),
	}
	out.Timeouts.StreamFlush = ds.get("stream_flush_timeout", m.GetStreamFlushTimeout(), out.Timeouts.StreamIdle)
	out.Timeouts.HasStreamFlush = m.GetStreamFlushTimeout() != nil
	out.Timeouts.MaxConnJitter = common.GetMaxConnectionDurationJitter().GetValue()
	if j := out.Timeouts.MaxConnJitter; !(j >= 0 && j <= 100) {
		return fmt.Errorf("common_http_protocol_options: max_connection_duration_jitter: %v is not between 0 and 100", j)
	}
	return ds.err
}

func hcmEnums(out *plan.HTTPConnectionManager, m *hcmv3.HttpConnectionManager) error {
	switch m.GetServerHeaderTransformation() {
	case hcmv3.HttpConnectionManager_APPEND_IF_ABSENT:
		out.ServerHeader = plan.ServerAppendIfAbsent
	case hcmv3.HttpConnectionManager_PASS_THROUGH:
		out.ServerHeader = plan.ServerPassThrough
	}
	if m.GetStripMatchingHostPort() {
		out.StripPort = plan.StripMatchingPort
	}
	if m.GetStripAnyHostPort() {
		out.StripPort = plan.StripAnyPort
	}
	out.StripTrailingDot = m.GetStripTrailingHostDot()
	out.Path = plan.PathNormalization{Normalize: m.GetNormalizePath().GetValue(), MergeSlashes: m.GetMergeSlashes()}
	switch m.GetPathWithEscapedSlashesAction() {
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		out.Path.EscapedSlashes = plan.RejectRequest
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		out.Path.EscapedSlashes = plan.UnescapeAndRedirect
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:
		out.Path.EscapedSlashes = plan.UnescapeAndForward
	}
	return nil
}

func hcmIdentity(out *plan.HTTPConnectionManager, m *hcmv3.HttpConnectionManager) error {
	id := &out.Identity
	*id = plan.RequestIdentity{
		UseRemoteAddress: m.GetUseRemoteAddress().GetValue(), XFFTrustedHops: m.GetXffNumTrustedHops(), SkipXFFAppend: m.GetSkipXffAppend(),
		InternalUnix:      m.GetInternalAddressConfig().GetUnixSockets(),
		GenerateRequestID: boolean(m.GetGenerateRequestId(), true), PreserveExternalRequestID: m.GetPreserveExternalRequestId(),
		AlwaysSetInResponse: m.GetAlwaysSetRequestIdInResponse(), PackTraceReason: true,
		RepresentIPv4AsIPv6: m.GetRepresentIpv4RemoteAddressAsIpv4MappedIpv6(),
	}
	var err error
	if id.Internal, err = cidrs(m.GetInternalAddressConfig().GetCidrRanges()); err != nil {
		return at(err, "internal_address_config")
	}
	switch m.GetForwardClientCertDetails() {
	case hcmv3.HttpConnectionManager_FORWARD_ONLY:
		id.XFCC = plan.XFCCForwardOnly
	case hcmv3.HttpConnectionManager_APPEND_FORWARD:
		id.XFCC = plan.XFCCAppendForward
	case hcmv3.HttpConnectionManager_SANITIZE_SET:
		id.XFCC = plan.XFCCSanitizeSet
	case hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY:
		id.XFCC = plan.XFCCAlwaysForwardOnly
	}
	set := m.GetSetCurrentClientCertDetails()
	id.SetCurrent = plan.ClientCertDetails{
		Subject: set.GetSubject().GetValue(), Cert: set.GetCert(), Chain: set.GetChain(), DNS: set.GetDns(), URI: set.GetUri(),
	}
	if x := m.GetRequestIdExtension(); x != nil {
		if err := requestID(id, x); err != nil {
			return at(err, "request_id_extension")
		}
	}
	return at(originalIP(id, m.GetOriginalIpDetectionExtensions()), "original_ip_detection_extensions")
}

func requestID(id *plan.RequestIdentity, x *hcmv3.RequestIDExtension) error {
	e, err := extensionOf(x.GetTypedConfig())
	if err != nil {
		return err
	}
	var m uuidv3.UuidRequestIdConfig
	if e.kind != "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig" {
		return fmt.Errorf("%s is not a request id extension that this proxy has", e.kind)
	}
	if err := e.into(&m); err != nil {
		return err
	}
	id.PackTraceReason = boolean(m.GetPackTraceReason(), true)
	return nil
}

func originalIP(id *plan.RequestIdentity, in []*corev3.TypedExtensionConfig) error {
	for i, x := range in {
		e, err := extensionOf(x.GetTypedConfig())
		if err != nil {
			return at(err, "[%d]", i)
		}
		switch e.kind {
		case "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig":
			var m xffv3.XffConfig
			if err := e.into(&m); err != nil {
				return at(err, "[%d]", i)
			}
			if m.GetXffTrustedCidrs() != nil {
				return fmt.Errorf("[%d]: xff_trusted_cidrs is not supported by this proxy", i)
			}
			id.XFFTrustedHops, id.SkipXFFAppend = m.GetXffNumTrustedHops(), boolean(m.GetSkipXffAppend(), true)
		default:
			return fmt.Errorf("[%d]: %s is not known to this proxy", i, e.kind)
		}
	}
	return nil
}

func (b chainEnv) hcmLogs(out *plan.HTTPConnectionManager, m *hcmv3.HttpConnectionManager) error {
	var err error
	out.AccessLogs, err = b.accessLogs(m.GetAccessLog())
	return err
}

func (b chainEnv) hcmRoutes(out *plan.HTTPConnectionManager, m *hcmv3.HttpConnectionManager) error {
	switch r := m.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_Rds:
		name := r.Rds.GetRouteConfigName()
		if name == "" {
			return errors.New("rds: route_config_name is empty")
		}
		need, err := discovered(name, r.Rds.GetConfigSource())
		if err != nil {
			return at(err, "rds")
		}
		b.needs.RouteConfigs = add(b.needs.RouteConfigs, need)
		out.RDSName, out.RDS = name, b.Names.RouteConfig(name)
	case *hcmv3.HttpConnectionManager_RouteConfig:
		rc, needs, err := b.RouteConfig(r.RouteConfig)
		if err != nil {
			return at(err, "route_config")
		}
		if len(needs.VirtualHosts) > 0 {
			return errors.New("route_config: vhds is for route configurations that come by rds")
		}
		for _, c := range needs.Clusters {
			b.needs.cluster(c)
		}
		out.Inline = rc
	default:
		return errors.New("neither route_config nor rds is given")
	}
	return nil
}

func (b chainEnv) hcmReplies(out *plan.HTTPConnectionManager, m *hcmv3.HttpConnectionManager) error {
	cfg := m.GetLocalReplyConfig()
	for i, r := range cfg.GetMappers() {
		lr, err := b.localReply(r.GetFilter(), r)
		if err != nil {
			return at(err, "local_reply_config: mappers[%d]", i)
		}
		out.Replies = append(out.Replies, lr)
	}
	if f := cfg.GetBodyFormat(); f != nil {
		body, kind, err := b.bodyFormat(f)
		if err != nil {
			return at(err, "local_reply_config: body_format")
		}
		out.Replies = append(out.Replies, plan.LocalReply{Body: body, ContentType: kind})
	}
	return nil
}

func (b chainEnv) localReply(f *accesslogv3.AccessLogFilter, r *hcmv3.ResponseMapper) (plan.LocalReply, error) {
	out := plan.LocalReply{Status: uint16(min(r.GetStatusCode().GetValue(), 999))}
	var err error
	if out.Filter, err = logFilter(f, 0); err != nil {
		return out, at(err, "filter")
	}
	if d := r.GetBody(); d != nil {
		text, err := b.data(d)
		if err != nil {
			return out, at(err, "body")
		}
		out.Body = &plan.Format{Literal: string(text)}
	}
	if bf := r.GetBodyFormatOverride(); bf != nil {
		if out.Body, out.ContentType, err = b.bodyFormat(bf); err != nil {
			return out, at(err, "body_format_override")
		}
	}
	out.Headers, err = b.addHeaders(r.GetHeadersToAdd())
	return out, at(err, "headers_to_add")
}

func (c *Compiler) bodyFormat(f *corev3.SubstitutionFormatString) (*plan.Format, string, error) {
	var text string
	switch s := f.GetFormat().(type) {
	case *corev3.SubstitutionFormatString_TextFormat:
		text = s.TextFormat
	case *corev3.SubstitutionFormatString_TextFormatSource:
		b, err := c.data(s.TextFormatSource)
		if err != nil {
			return nil, "", err
		}
		text = string(b)
	default:
		return nil, "", errors.New("only text formats are supported by this proxy here")
	}
	out, err := c.format(text)
	return &out, f.GetContentType(), err
}

func hcmTracing(out *plan.HTTPConnectionManager, m *hcmv3.HttpConnectionManager) error {
	t := m.GetTracing()
	if t == nil {
		return nil
	}
	out.Tracing = &plan.Tracing{
		ClientSampling: t.GetClientSampling().GetValue(), RandomSampling: t.GetRandomSampling().GetValue(), OverallSampling: t.GetOverallSampling().GetValue(),
		Verbose: t.GetVerbose(), MaxPathTag: u32(t.GetMaxPathTagLength(), 256), Provider: t.GetProvider().GetName(),
	}
	if t.GetClientSampling() == nil {
		out.Tracing.ClientSampling = 100
	}
	if t.GetRandomSampling() == nil {
		out.Tracing.RandomSampling = 100
	}
	if t.GetOverallSampling() == nil {
		out.Tracing.OverallSampling = 100
	}
	for _, tag := range t.GetCustomTags() {
		out.Tracing.Tags = append(out.Tracing.Tags, plan.TraceTag{
			Tag: tag.GetTag(), Literal: tag.GetLiteral().GetValue(),
			Header: headerName(tag.GetRequestHeader().GetName()), Default: tag.GetRequestHeader().GetDefaultValue(),
		})
	}
	return nil
}

func (b chainEnv) hcmFilters(out *plan.HTTPConnectionManager, m *hcmv3.HttpConnectionManager) error {
	var err error
	if out.Filters, err = b.httpFilters(m.GetHttpFilters()); err != nil {
		return err
	}
	out.Upgrades, err = b.upgrades(m.GetUpgradeConfigs())
	return err
}

func (b chainEnv) upgrades(in []*hcmv3.HttpConnectionManager_UpgradeConfig) ([]plan.Upgrade, error) {
	var out []plan.Upgrade
	for i, u := range in {
		up := plan.Upgrade{Type: strings.ToLower(u.GetUpgradeType()), Enabled: boolean(u.GetEnabled(), true)}
		if len(u.GetFilters()) > 0 {
			var err error
			if up.Filters, err = b.httpFilters(u.GetFilters()); err != nil {
				return nil, at(err, "upgrade_configs[%d]", i)
			}
		}
		out = append(out, up)
	}
	return out, nil
}
