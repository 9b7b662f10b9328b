package translate_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
)

// envoyBinary is where test/install-envoy.sh puts a stock Envoy.
const envoyBinary = "../.cache/bin/envoy"

// TestEnvoyAccepts gives a stock Envoy everything that it would be sent in each scenario, as static configuration: routes
// inside their listeners, endpoints inside their clusters. Envoy checks all of it before it starts.
func TestEnvoyAccepts(t *testing.T) {
	for _, file := range scenarios(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			s := readScenario(t, file)
			s.proxy.Flavor, s.proxy.Version = model.StockEnvoy, "1.40.0"
			validate(t, stateOf(t, s))
		})
	}
}

// TestEnvoyAcceptsConflicts does the same with meshes made at random, in which services want the same addresses, names and
// ports for different things.
func TestEnvoyAcceptsConflicts(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 2))
			w := world.New(world.Options{})
			present := map[config.Key]bool{}
			for range 60 {
				mutate(t, r, w, present)
			}
			tr := translate.New(w.Snapshot())
			for _, p := range []*model.Proxy{
				sidecarProxy("s0", "ns0", "10.0.0.1"), sidecarProxy("s1", "ns1", "10.0.1.1"),
				{ID: "gw", Type: model.GatewayProxy, Namespace: "ns0", Labels: map[string]string{"istio": "ingressgateway"}},
			} {
				p.Flavor, p.Version = model.StockEnvoy, "1.40.0"
				validate(t, tr.State(p))
			}
		})
	}
}

// validate fails unless Envoy accepts the state.
func validate(t *testing.T, state *xds.State) {
	t.Helper()
	binary, err := filepath.Abs(envoyBinary)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("no Envoy at %s: run test/install-envoy.sh", binary)
	}
	dir := t.TempDir()
	path, secrets := filepath.Join(dir, "bootstrap.json"), filepath.Join(dir, "secrets.json")
	tree := tree(t, static(t, state))
	secretsFrom(tree, secrets)
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	// Envoy reads the files that are named. What they are called doesn't matter here.
	certificate(t, dir)
	data = bytes.ReplaceAll(data, []byte("/etc/certs/"), []byte(dir+"/"))
	data = bytes.ReplaceAll(data, []byte("/etc/ssl/certs/ca-certificates.crt"), []byte(dir+"/ca.pem"))
	if err := errors.Join(os.WriteFile(path, data, 0o600), os.WriteFile(secrets, []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "--mode", "validate", "-c", path, "--log-level", "error")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("envoy: %v\n%s", err, out)
	}
}

// static makes a bootstrap of a state, in which nothing is left to be fetched but secrets.
func static(t *testing.T, state *xds.State) *bootstrapv3.Bootstrap {
	t.Helper()
	out := &bootstrapv3.Bootstrap{
		Node:            &corev3.Node{Id: "test", Cluster: "test"},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{},
	}
	for r := range state.Set(xds.ClusterType).All() {
		c := message(t, r).(*clusterv3.Cluster)
		if c.GetType() == clusterv3.Cluster_EDS {
			e := state.Set(xds.EndpointType).Get(c.GetEdsClusterConfig().GetServiceName())
			if e == nil {
				t.Fatalf("cluster %s has no endpoints resource", c.GetName())
			}
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
			c.EdsClusterConfig = nil
			c.LoadAssignment = message(t, e).(*endpointv3.ClusterLoadAssignment)
		}
		out.StaticResources.Clusters = append(out.StaticResources.Clusters, c)
	}
	for r := range state.Set(xds.ListenerType).All() {
		l := message(t, r).(*listenerv3.Listener)
		for _, fc := range slices.Concat(l.GetFilterChains(), []*listenerv3.FilterChain{l.GetDefaultFilterChain()}) {
			inline(t, state, fc)
		}
		out.StaticResources.Listeners = append(out.StaticResources.Listeners, l)
	}
	return out
}

// inline puts the routes and the filters' configurations that a chain names into it.
func inline(t *testing.T, state *xds.State, fc *listenerv3.FilterChain) {
	t.Helper()
	for _, f := range fc.GetFilters() {
		if f.GetConfigDiscovery() != nil {
			f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: filterConfig(t, state, f.GetName())}
		}
		h := &hcmv3.HttpConnectionManager{}
		if !f.GetTypedConfig().MessageIs(h) {
			continue
		}
		if err := f.GetTypedConfig().UnmarshalTo(h); err != nil {
			t.Fatal(err)
		}
		if name := h.GetRds().GetRouteConfigName(); name != "" {
			r := state.Set(xds.RouteType).Get(name)
			if r == nil {
				t.Fatalf("no routes %q", name)
			}
			h.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: message(t, r).(*routev3.RouteConfiguration)}
		}
		for _, hf := range h.GetHttpFilters() {
			if hf.GetConfigDiscovery() != nil {
				hf.ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: filterConfig(t, state, hf.GetName())}
			}
		}
		packed, err := anypb.New(h)
		if err != nil {
			t.Fatal(err)
		}
		f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed}
	}
}

// filterConfig is what a filter's configuration is that comes by itself.
func filterConfig(t *testing.T, state *xds.State, name string) *anypb.Any {
	t.Helper()
	r := state.Set(xds.ExtensionConfigType).Get(name)
	if r == nil {
		t.Fatalf("no configuration of filter %q", name)
	}
	return message(t, r).(*corev3.TypedExtensionConfig).GetTypedConfig()
}

// secretsFrom makes secrets come from a file, for Envoy has no aggregated stream while it validates.
func secretsFrom(v any, path string) {
	switch v := v.(type) {
	case map[string]any:
		for name, e := range v {
			if name == "sdsConfig" {
				v[name] = map[string]any{"pathConfigSource": map[string]any{"path": path}, "resourceApiVersion": "V3"}
				continue
			}
			secretsFrom(e, path)
		}
	case []any:
		for _, e := range v {
			secretsFrom(e, path)
		}
	}
}

// certificate writes cert.pem, key.pem and ca.pem.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"test"}, IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(cryptorand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for name, data := range map[string][]byte{"cert.pem": certPEM, "ca.pem": certPEM, "key.pem": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
