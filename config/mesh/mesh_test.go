package mesh_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/mesh"
)

const written = `
accessLogFile: /dev/stdout
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
trustDomainAliases: [b, a]
proxyListenPort: 0
enablePrometheusMerge: false
defaultConfig:
  concurrency: 3
  proxyMetadata: {B: "2"}
extensionProviders:
- {name: envoy, envoyFileAccessLog: {path: /tmp/log}}
- {name: mine, prometheus: {}}
`

func TestApply(t *testing.T) {
	d := config.Decode([]byte(written), config.DecodeOptions{File: "mesh.yaml"})
	if err := d.Problems().Err(); err != nil {
		t.Fatal(err)
	}
	base := mesh.Default()
	base.TrustDomainAliases = []string{"a"}
	base.DefaultConfig.ProxyMetadata = map[string]string{"A": "1"}
	untouched := proto.Clone(base)

	got, err := mesh.Apply(base, config.As[*config.MeshConfigSpec](d.Objects()[0]))
	if err != nil {
		t.Fatal(err)
	}
	want := proto.Clone(base).(*meshconfig.MeshConfig)
	want.AccessLogFile = "/dev/stdout"
	want.OutboundTrafficPolicy.Mode = meshconfig.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY
	want.TrustDomainAliases = []string{"a", "b"}
	want.ProxyListenPort = 0
	want.EnablePrometheusMerge.Value = false
	want.DefaultConfig.Concurrency = got.DefaultConfig.Concurrency
	want.DefaultConfig.ProxyMetadata = map[string]string{"A": "1", "B": "2"}
	want.ExtensionProviders = []*meshconfig.MeshConfig_ExtensionProvider{
		want.ExtensionProviders[0], want.ExtensionProviders[1], got.ExtensionProviders[2], got.ExtensionProviders[3],
	}
	if !proto.Equal(want, got) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got.DefaultConfig.Concurrency.GetValue() != 3 || got.ExtensionProviders[2].GetEnvoyFileAccessLog().GetPath() != "/tmp/log" {
		t.Errorf("concurrency %v, provider %v", got.DefaultConfig.Concurrency, got.ExtensionProviders[2])
	}
	if !proto.Equal(base, untouched) {
		t.Error("the base was changed")
	}
}

func TestApplyNothing(t *testing.T) {
	got, err := mesh.Apply(mesh.Default(), nil)
	if err != nil || !proto.Equal(got, mesh.Default()) {
		t.Error(got, err)
	}
}
