package rbac

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbachttp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rbactcp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"
	security "istio.io/api/security/v1beta1"

	"lateen.dev/lateen/translate/internal/pb"
)

// Layout names the actions that some policy has, in the order in which they decide: "deny+allow". Filters whose
// configurations come by themselves (ECDS) are named by it. So a change that adds a filter or takes one away gives all of
// them new names, and the listener before keeps the configurations that it had: no moment has one of the change's filters
// without the others.
func Layout(in Input) string {
	var out []string
	for _, o := range order() {
		for _, p := range in.Policies {
			if p.Spec.GetAction() == o.from {
				out = append(out, actionName(o.from))
				break
			}
		}
	}
	return strings.Join(out, "+")
}

func actionName(a security.AuthorizationPolicy_Action) string { return strings.ToLower(a.String()) }

// name is what a filter and its configuration are called: rbac|http|deny|deny+allow.
func name(protocol string, set ruleSet, layout string) string {
	return "rbac|" + protocol + "|" + actionName(set.action) + "|" + layout
}

// HTTPByName returns the filters for an HTTP connection manager whose configurations are among Configurations. Where one is
// missing, nobody may pass.
func HTTPByName(in Input) []*hcmv3.HttpFilter {
	layout := Layout(in)
	var out []*hcmv3.HttpFilter
	for _, set := range build(in, false) {
		out = append(out, &hcmv3.HttpFilter{
			Name:       name("http", set, layout),
			ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: discovery(pb.Any(&rbachttp.RBAC{Rules: nobody()}))},
		})
	}
	return out
}

// TCPByName returns the filters for a TCP chain whose configurations are among Configurations.
func TCPByName(in Input) []*listenerv3.Filter {
	layout := Layout(in)
	var out []*listenerv3.Filter
	for _, set := range build(in, true) {
		out = append(out, &listenerv3.Filter{
			Name:       name("tcp", set, layout),
			ConfigType: &listenerv3.Filter_ConfigDiscovery{ConfigDiscovery: discovery(pb.Any(&rbactcp.RBAC{Rules: nobody(), StatPrefix: tcpStat}))},
		})
	}
	return out
}

// Configurations returns what the filters of HTTPByName and TCPByName are configured with.
func Configurations(in Input) []*corev3.TypedExtensionConfig {
	layout := Layout(in)
	var out []*corev3.TypedExtensionConfig
	for _, set := range build(in, false) {
		out = append(out, &corev3.TypedExtensionConfig{Name: name("http", set, layout), TypedConfig: set.http()})
	}
	for _, set := range build(in, true) {
		out = append(out, &corev3.TypedExtensionConfig{Name: name("tcp", set, layout), TypedConfig: set.tcp()})
	}
	return out
}

func discovery(missing *anypb.Any) *corev3.ExtensionConfigSource {
	return &corev3.ExtensionConfigSource{ConfigSource: pb.ADS(), DefaultConfig: missing, TypeUrls: []string{missing.GetTypeUrl()}}
}

// nobody allows nothing.
func nobody() *rbacv3.RBAC { return &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW} }
