package listener

import (
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	meshconfig "istio.io/api/mesh/v1alpha1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/pb"
)

// Logs says which providers log the requests that a workload makes and those that it takes. It is comparable: equal ones make equal
// listeners, given the same MeshConfig.
type Logs struct {
	// told says that Telemetry or MeshConfig's default providers decide; otherwise MeshConfig's accessLogFile does.
	told           bool
	client, server string // the providers' names, joined
}

const (
	betweenNames = "\n"
	// meshLog stands for MeshConfig's accessLogFile, which has no provider's name.
	meshLog = "\x00"
	// builtinLog is the provider that exists without being declared; its format is MeshConfig's.
	builtinLog = "envoy"
	standard   = "/dev/stdout"
)

// LogsOf composes what the Telemetry objects of a workload say, the most general first. One that names providers replaces those
// of the more general; one that names none speaks about theirs.
func LogsOf(mesh *model.Mesh, objects []*model.Telemetry) Logs {
	defaults := slices.Clone(mesh.Config.GetDefaultProviders().GetAccessLogging())
	out := Logs{told: len(defaults) > 0}
	if len(defaults) == 0 && mesh.Config.GetAccessLogFile() != "" {
		defaults = []string{meshLog}
	}
	client, server := defaults, slices.Clone(defaults)
	for _, o := range objects {
		if len(o.Spec.GetAccessLogging()) > 0 {
			out.told = true
			client = speak(client, o.Spec.GetAccessLogging(), telemetry.WorkloadMode_CLIENT)
			server = speak(server, o.Spec.GetAccessLogging(), telemetry.WorkloadMode_SERVER)
		}
	}
	if out.told {
		out.client, out.server = strings.Join(client, betweenNames), strings.Join(server, betweenNames)
	}
	return out
}

// speak returns the providers that are left when one object has spoken about one side.
func speak(inherited []string, said []*telemetry.AccessLogging, side telemetry.WorkloadMode) []string {
	out := slices.Clone(inherited)
	replaced := false
	for _, a := range said {
		if m := a.GetMatch().GetMode(); m != side && m != telemetry.WorkloadMode_CLIENT_AND_SERVER {
			continue
		}
		names := inherited
		if len(a.GetProviders()) > 0 {
			names = nil
			for _, p := range a.GetProviders() {
				names = append(names, p.GetName())
			}
			if !replaced {
				out, replaced = nil, true
			}
		}
		for _, name := range names {
			out = slices.DeleteFunc(out, func(s string) bool { return s == name })
			if !a.GetDisabled().GetValue() {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// accessLog is what logs the requests and connections of one side; nil if nothing does.
func (e Env) accessLog(side Direction) []*accesslogv3.AccessLog {
	if !e.Logs.told {
		return accessLog(e.Mesh.Config, e.Mesh.Config.GetAccessLogFile())
	}
	names := e.Logs.client
	if side == InboundSide {
		names = e.Logs.server
	}
	var out []*accesslogv3.AccessLog
	for name := range strings.SplitSeq(names, betweenNames) {
		out = append(out, e.providerLog(name)...)
	}
	return out
}

// providerLog is the log of a provider that writes files; nil for other kinds, which don't log here.
func (e Env) providerLog(name string) []*accesslogv3.AccessLog {
	switch name {
	case meshLog:
		return accessLog(e.Mesh.Config, e.Mesh.Config.GetAccessLogFile())
	case builtinLog:
		return accessLog(e.Mesh.Config, standard)
	}
	for _, p := range e.Mesh.Config.GetExtensionProviders() {
		if file := p.GetEnvoyFileAccessLog(); p.GetName() == name && file != nil {
			return []*accesslogv3.AccessLog{fileLog(file.GetPath(), providerFormat(file.GetLogFormat()))}
		}
	}
	return nil
}

func providerFormat(in *meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider_LogFormat) *corev3.SubstitutionFormatString {
	if labels := in.GetLabels(); labels != nil {
		if len(labels.GetFields()) == 0 {
			labels = jsonFormat()
		}
		return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: labels}}
	}
	return textLog(in.GetText())
}

func textLog(format string) *corev3.SubstitutionFormatString {
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
		Specifier: &corev3.DataSource_InlineString{InlineString: customText(format)},
	}}}
}

func fileLog(path string, format *corev3.SubstitutionFormatString) *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name: fileLogger,
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pb.Any(&filev3.FileAccessLog{
			Path:            path,
			AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: format},
		})},
	}
}
