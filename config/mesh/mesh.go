// Package mesh gives MeshConfig its defaults and puts what a user wrote over
// them.
//
// It is called by world (the mesh's configuration), by config/analysis and by
// app. All functions are pure; the package starts no goroutines.
//
// May import: config (besides lib).
package mesh

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	"lateen.dev/lateen/config"
)

// Defaults that other rooms need by name.
const (
	RootNamespace = "istio-system"
	TrustDomain   = "cluster.local"
)

// Default is the mesh's configuration when nobody says anything: Istio's
// defaults. The caller owns the result.
func Default() *meshconfig.MeshConfig {
	return &meshconfig.MeshConfig{
		ProxyListenPort:                15001,
		ProxyInboundListenPort:         15006,
		ConnectTimeout:                 durationpb.New(10 * time.Second),
		HboneIdleTimeout:               durationpb.New(time.Hour),
		ProtocolDetectionTimeout:       durationpb.New(0),
		IngressService:                 "istio-ingressgateway",
		IngressControllerMode:          meshconfig.MeshConfig_STRICT,
		IngressClass:                   "istio",
		TrustDomain:                    TrustDomain,
		TrustDomainAliases:             []string{},
		EnableAutoMtls:                 wrapperspb.Bool(true),
		OutboundTrafficPolicy:          &meshconfig.MeshConfig_OutboundTrafficPolicy{Mode: meshconfig.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY},
		InboundTrafficPolicy:           &meshconfig.MeshConfig_InboundTrafficPolicy{Mode: meshconfig.MeshConfig_InboundTrafficPolicy_PASSTHROUGH},
		AccessLogEncoding:              meshconfig.MeshConfig_TEXT,
		EnableTracing:                  false,
		RootNamespace:                  RootNamespace,
		DnsRefreshRate:                 durationpb.New(60 * time.Second),
		LocalityLbSetting:              &networking.LocalityLoadBalancerSetting{Enabled: wrapperspb.Bool(true)},
		EnablePrometheusMerge:          wrapperspb.Bool(true),
		DefaultServiceExportTo:         []string{"*"},
		DefaultVirtualServiceExportTo:  []string{"*"},
		DefaultDestinationRuleExportTo: []string{"*"},
		H2UpgradePolicy:                meshconfig.MeshConfig_DO_NOT_UPGRADE,
		DefaultConfig:                  DefaultProxy(),
		ExtensionProviders:             defaultProviders(),
	}
}

// DefaultProxy is what proxies are configured with when nobody says anything.
func DefaultProxy() *meshconfig.ProxyConfig {
	return &meshconfig.ProxyConfig{
		ConfigPath:               "./etc/istio/proxy",
		ClusterName:              &meshconfig.ProxyConfig_ServiceCluster{ServiceCluster: "istio-proxy"},
		DrainDuration:            durationpb.New(45 * time.Second),
		TerminationDrainDuration: durationpb.New(5 * time.Second),
		ProxyAdminPort:           15000,
		StatusPort:               15020,
		DiscoveryAddress:         "istiod.istio-system.svc:15012",
		ControlPlaneAuthPolicy:   meshconfig.AuthenticationPolicy_MUTUAL_TLS,
		StatNameLength:           189,
		InterceptionMode:         meshconfig.ProxyConfig_REDIRECT,
		ProxyMetadata:            map[string]string{},
	}
}

// defaultProviders are the providers that exist under their names unless a
// user's provider takes the name.
func defaultProviders() []*meshconfig.MeshConfig_ExtensionProvider {
	return []*meshconfig.MeshConfig_ExtensionProvider{
		{Name: "prometheus", Provider: &meshconfig.MeshConfig_ExtensionProvider_Prometheus{
			Prometheus: &meshconfig.MeshConfig_ExtensionProvider_PrometheusMetricsProvider{}}},
		{Name: "stackdriver", Provider: &meshconfig.MeshConfig_ExtensionProvider_Stackdriver{
			Stackdriver: &meshconfig.MeshConfig_ExtensionProvider_StackdriverProvider{}}},
		{Name: "envoy", Provider: &meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLog{
			EnvoyFileAccessLog: &meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider{Path: "/dev/stdout"}}},
	}
}

// Apply puts what the user wrote over base and returns the result; base stays
// as it is. Each field the user wrote replaces base's whole field, with Istio's
// three exceptions: defaultConfig is merged field by field (and its
// proxyMetadata key by key), trustDomainAliases and extensionProviders add to
// base's, a provider replacing its namesake.
func Apply(base *meshconfig.MeshConfig, written *config.MeshConfigSpec) (*meshconfig.MeshConfig, error) {
	out := proto.Clone(base).(*meshconfig.MeshConfig)
	if written == nil || len(written.JSON) == 0 {
		return out, nil
	}
	user := &meshconfig.MeshConfig{}
	if err := protojson.Unmarshal(written.JSON, user); err != nil {
		return nil, fmt.Errorf("read MeshConfig: %w", err)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(written.JSON, &keys); err != nil {
		return nil, fmt.Errorf("read MeshConfig: %w", err)
	}
	replace(out, user, keys)
	out.TrustDomainAliases = union(base.GetTrustDomainAliases(), user.GetTrustDomainAliases())
	out.ExtensionProviders = providers(base.GetExtensionProviders(), user.GetExtensionProviders())
	if inner, ok := keys["defaultConfig"]; ok {
		proxy, err := proxyOver(base.GetDefaultConfig(), user.GetDefaultConfig(), inner)
		if err != nil {
			return nil, err
		}
		out.DefaultConfig = proxy
	}
	return out, nil
}

func proxyOver(base, user *meshconfig.ProxyConfig, written json.RawMessage) (*meshconfig.ProxyConfig, error) {
	out := &meshconfig.ProxyConfig{}
	if base != nil {
		out = proto.Clone(base).(*meshconfig.ProxyConfig)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(written, &keys); err != nil {
		return nil, fmt.Errorf("read MeshConfig.defaultConfig: %w", err)
	}
	replace(out, user, keys)
	if len(base.GetProxyMetadata()) > 0 && len(user.GetProxyMetadata()) > 0 {
		merged := map[string]string{}
		for _, m := range []map[string]string{base.GetProxyMetadata(), user.GetProxyMetadata()} {
			for k, v := range m {
				merged[k] = v
			}
		}
		out.ProxyMetadata = merged
	}
	return out, nil
}

// replace sets the fields of dst that keys names to what src has, which may be
// the zero value.
func replace(dst, src proto.Message, keys map[string]json.RawMessage) {
	to, from := dst.ProtoReflect(), src.ProtoReflect()
	for key := range keys {
		fd := to.Descriptor().Fields().ByJSONName(key)
		if fd == nil {
			fd = to.Descriptor().Fields().ByName(protoreflect.Name(key))
		}
		switch {
		case fd == nil:
		case from.Has(fd):
			to.Set(fd, from.Get(fd))
		default:
			to.Clear(fd)
		}
	}
}

func union(a, b []string) []string {
	seen := map[string]bool{}
	out := []string{}
	for _, s := range append(append([]string{}, a...), b...) {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func providers(base, user []*meshconfig.MeshConfig_ExtensionProvider) []*meshconfig.MeshConfig_ExtensionProvider {
	var out []*meshconfig.MeshConfig_ExtensionProvider
	taken := map[string]bool{}
	for _, p := range user {
		taken[p.GetName()] = true
	}
	for _, p := range base {
		if !taken[p.GetName()] {
			out = append(out, proto.Clone(p).(*meshconfig.MeshConfig_ExtensionProvider))
		}
	}
	return append(out, user...)
}
