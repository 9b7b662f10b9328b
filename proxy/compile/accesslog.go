package compile

import (
	"errors"
	"fmt"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/telemetry"
)

// envoyTextFormat is Envoy's own default, used where a logger has no format.
const envoyTextFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ` +
	`%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ` +
	`"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

func (c *Compiler) accessLogs(in []*accesslogv3.AccessLog) ([]*plan.AccessLog, error) {
	var out []*plan.AccessLog
	for i, l := range in {
		a, err := c.accessLog(l)
		if err != nil {
			return nil, at(err, "access_log[%d] %q", i, l.GetName())
		}
		out = append(out, a)
	}
	return out, nil
}

func (c *Compiler) accessLog(l *accesslogv3.AccessLog) (*plan.AccessLog, error) {
	out := &plan.AccessLog{Name: l.GetName()}
	e, err := extensionOf(l.GetTypedConfig())
	if err != nil {
		return nil, err
	}
	switch e.kind {
	case "envoy.extensions.access_loggers.file.v3.FileAccessLog":
		err = c.fileLog(out, &e)
	case "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog":
		var m streamv3.StdoutAccessLog
		if err = e.into(&m); err == nil {
			out.Path = "/dev/stdout"
			out.Formatter, err = c.logFormat(m.GetLogFormat())
		}
	case "envoy.extensions.access_loggers.stream.v3.StderrAccessLog":
		var m streamv3.StderrAccessLog
		if err = e.into(&m); err == nil {
			out.Path = "/dev/stderr"
			out.Formatter, err = c.logFormat(m.GetLogFormat())
		}
	default:
		err = fmt.Errorf("%s is not an access logger that this proxy has", e.kind)
	}
	if err != nil {
		return nil, err
	}
	out.Filter, err = logFilter(l.GetFilter(), 0)
	return out, at(err, "filter")
}

func (c *Compiler) fileLog(out *plan.AccessLog, e *extension) error {
	var m filev3.FileAccessLog
	if err := e.into(&m); err != nil {
		return err
	}
	if m.GetPath() == "" {
		return errors.New("path is empty")
	}
	out.Path = m.GetPath()
	var err error
	switch f := m.GetAccessLogFormat().(type) {
	case *filev3.FileAccessLog_Format:
		out.Formatter, err = c.textFormat(f.Format, false)
	case *filev3.FileAccessLog_JsonFormat:
		out.Formatter, err = c.jsonFormat(f.JsonFormat)
	case *filev3.FileAccessLog_TypedJsonFormat:
		out.Formatter, err = c.jsonFormat(f.TypedJsonFormat)
	default:
		out.Formatter, err = c.logFormat(m.GetLogFormat())
	}
	return err
}

func (c *Compiler) logFormat(f *corev3.SubstitutionFormatString) (telemetry.Formatter, error) {
	switch s := f.GetFormat().(type) {
	case *corev3.SubstitutionFormatString_TextFormat:
		return c.textFormat(s.TextFormat, f.GetOmitEmptyValues())
	case *corev3.SubstitutionFormatString_TextFormatSource:
		b, err := c.data(s.TextFormatSource)
		if err != nil {
			return nil, err
		}
		return c.textFormat(string(b), f.GetOmitEmptyValues())
	case *corev3.SubstitutionFormatString_JsonFormat:
		return c.jsonFormat(s.JsonFormat)
	case nil:
		return c.textFormat(envoyTextFormat, false)
	}
	return nil, errors.New("log_format: kind of format is unknown")
}

func (c *Compiler) textFormat(s string, omitEmpty bool) (telemetry.Formatter, error) {
	f, err := telemetry.CompileText(s, c.Hostname, omitEmpty)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (c *Compiler) jsonFormat(s *structpb.Struct) (telemetry.Formatter, error) {
	flat := make(map[string]string, len(s.GetFields()))
	for k, v := range s.GetFields() {
		text, ok := v.GetKind().(*structpb.Value_StringValue)
		if !ok {
			return nil, fmt.Errorf("json_format: the value of %q is not a string; nested formats are not supported by this proxy", k)
		}
		flat[k] = text.StringValue
	}
	f, err := telemetry.CompileJSON(flat, c.Hostname)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// maxFilterDepth bounds nesting of filters.
const maxFilterDepth = 16

func logFilter(f *accesslogv3.AccessLogFilter, depth int) (*plan.AccessLogFilter, error) {
	if f == nil {
		return nil, nil
	}
	if depth > maxFilterDepth {
		return nil, errors.New("filters are nested too deeply")
	}
	switch s := f.GetFilterSpecifier().(type) {
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		return comparison(plan.LogStatusCode, s.StatusCodeFilter.GetComparison())
	case *accesslogv3.AccessLogFilter_DurationFilter:
		return comparison(plan.LogDuration, s.DurationFilter.GetComparison())
	case *accesslogv3.AccessLogFilter_NotHealthCheckFilter:
		return &plan.AccessLogFilter{Kind: plan.LogNotHealthCheck}, nil
	case *accesslogv3.AccessLogFilter_TraceableFilter:
		return nil, errors.New("traceable_filter is not supported by this proxy")
	case *accesslogv3.AccessLogFilter_RuntimeFilter:
		fr, err := fraction(s.RuntimeFilter.GetPercentSampled(), plan.Fraction{Denominator: 100})
		return &plan.AccessLogFilter{Kind: plan.LogFraction, Fraction: fr}, err
	case *accesslogv3.AccessLogFilter_AndFilter:
		return combination(plan.LogAnd, s.AndFilter.GetFilters(), depth)
	case *accesslogv3.AccessLogFilter_OrFilter:
		return combination(plan.LogOr, s.OrFilter.GetFilters(), depth)
	case *accesslogv3.AccessLogFilter_HeaderFilter:
		h, err := headerMatch(s.HeaderFilter.GetHeader())
		return &plan.AccessLogFilter{Kind: plan.LogHeader, Header: &h}, err
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		flags, err := responseFlags(s.ResponseFlagFilter.GetFlags())
		return &plan.AccessLogFilter{Kind: plan.LogResponseFlag, Flags: flags}, err
	case *accesslogv3.AccessLogFilter_GrpcStatusFilter:
		out := &plan.AccessLogFilter{Kind: plan.LogGRPCStatus, Exclude: s.GrpcStatusFilter.GetExclude()}
		for _, st := range s.GrpcStatusFilter.GetStatuses() {
			out.Statuses |= 1 << (uint32(st) & 31)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%T is not a log filter that this proxy has", f.GetFilterSpecifier())
}

func comparison(kind plan.AccessLogFilterKind, c *accesslogv3.ComparisonFilter) (*plan.AccessLogFilter, error) {
	out := &plan.AccessLogFilter{Kind: kind, Value: c.GetValue().GetDefaultValue()}
	switch c.GetOp() {
	case accesslogv3.ComparisonFilter_EQ:
		out.Op = plan.CompareEqual
	case accesslogv3.ComparisonFilter_GE:
		out.Op = plan.CompareGreaterOrEqual
	case accesslogv3.ComparisonFilter_LE:
		out.Op = plan.CompareLessOrEqual
	case accesslogv3.ComparisonFilter_NE:
		out.Op = plan.CompareNotEqual
	default:
		return nil, fmt.Errorf("comparison %v is unknown", c.GetOp())
	}
	return out, nil
}

func combination(kind plan.AccessLogFilterKind, in []*accesslogv3.AccessLogFilter, depth int) (*plan.AccessLogFilter, error) {
	out := &plan.AccessLogFilter{Kind: kind}
	for i, f := range in {
		g, err := logFilter(f, depth+1)
		if err != nil {
			return nil, at(err, "filters[%d]", i)
		}
		out.Filters = append(out.Filters, g)
	}
	return out, nil
}

// responseFlags reads the flags' short names.
func responseFlags(names []string) (telemetry.ResponseFlags, error) {
	var out telemetry.ResponseFlags
	for _, n := range names {
		found := false
		for f := telemetry.ResponseFlags(1); f != 0 && !found; f <<= 1 {
			if f.String() == n {
				out |= f
				found = true
			}
		}
		if !found {
			return 0, fmt.Errorf("response flag %q is unknown", n)
		}
	}
	return out, nil
}
