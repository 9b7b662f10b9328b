package listener

import (
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"lateen.dev/lateen/translate/internal/pb"
)

const fileLogger = "envoy.access_loggers.file"

// textFormat is the line that Istio's users parse. It must not change.
const textFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% ` +
	`%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ` +
	`"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ` +
	`"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ` +
	`%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"

// jsonFormat is the object that Istio's users parse.
func jsonFormat() *structpb.Struct {
	fields := map[string]string{
		"start_time":                        "%START_TIME%",
		"route_name":                        "%ROUTE_NAME%",
		"method":                            "%REQ(:METHOD)%",
		"path":                              "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
		"protocol":                          "%PROTOCOL%",
		"response_code":                     "%RESPONSE_CODE%",
		"response_flags":                    "%RESPONSE_FLAGS%",
		"response_code_details":             "%RESPONSE_CODE_DETAILS%",
		"connection_termination_details":    "%CONNECTION_TERMINATION_DETAILS%",
		"bytes_received":                    "%BYTES_RECEIVED%",
		"bytes_sent":                        "%BYTES_SENT%",
		"duration":                          "%DURATION%",
		"upstream_service_time":             "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
		"x_forwarded_for":                   "%REQ(X-FORWARDED-FOR)%",
		"user_agent":                        "%REQ(USER-AGENT)%",
		"request_id":                        "%REQ(X-REQUEST-ID)%",
		"authority":                         "%REQ(:AUTHORITY)%",
		"upstream_host":                     "%UPSTREAM_HOST%",
		"upstream_cluster":                  "%UPSTREAM_CLUSTER_RAW%",
		"upstream_local_address":            "%UPSTREAM_LOCAL_ADDRESS%",
		"downstream_local_address":          "%DOWNSTREAM_LOCAL_ADDRESS%",
		"downstream_remote_address":         "%DOWNSTREAM_REMOTE_ADDRESS%",
		"requested_server_name":             "%REQUESTED_SERVER_NAME%",
		"upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
	}
	out := pb.Struct(make(map[string]*structpb.Value, len(fields)))
	for name, format := range fields {
		out.Fields[name] = pb.String(format)
	}
	return out
}

// accessLog is the log in the format that MeshConfig asks for; nil without a path.
func accessLog(mesh *meshconfig.MeshConfig, path string) []*accesslogv3.AccessLog {
	if path == "" {
		return nil
	}
	format := textLog(mesh.GetAccessLogFormat())
	if mesh.GetAccessLogEncoding() == meshconfig.MeshConfig_JSON {
		format.Format = &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: customJSON(mesh.GetAccessLogFormat())}
	}
	return []*accesslogv3.AccessLog{fileLog(path, format)}
}

// listenerLog logs connections for which no filter chain was found; everything else is logged where it is handled.
func (e Env) listenerLog(side Direction) []*accesslogv3.AccessLog {
	if e.Mesh.Config.GetDisableEnvoyListenerLog() {
		return nil
	}
	out := e.accessLog(side)
	for _, l := range out {
		l.Filter = &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}},
		}}
	}
	return out
}

func customText(format string) string {
	switch {
	case format == "":
		return textFormat
	case strings.HasSuffix(format, "\n"):
		return format
	default:
		return format + "\n"
	}
}

// customJSON reads a format that the user wrote as a JSON object; one that isn't is replaced by the default.
func customJSON(format string) *structpb.Struct {
	if format == "" {
		return jsonFormat()
	}
	out := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(format), out); err != nil {
		return jsonFormat()
	}
	return out
}
