package kit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Ports on a host's loopback device: Envoy's admin pages, and the control plane.
const (
	adminPort     = 15000
	discoveryPort = 15010
)

// envoyBinary is where test/install-envoy.sh puts a stock Envoy.
func envoyBinary() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(file), "../../.cache/bin/envoy")
	if _, err := os.Stat(path); err != nil {
		return "", errors.New("no stock Envoy at .cache/bin/envoy: run test/install-envoy.sh")
	}
	return path, nil
}

// startEnvoy starts a stock Envoy on the host, with nothing but the address of the control plane.
func startEnvoy(h *Host) (proxyOnHost, error) {
	binary, err := envoyBinary()
	if err != nil {
		return nil, err
	}
	l, err := h.place.Listen(loopback(discoveryPort).String())
	if err != nil {
		return nil, fmt.Errorf("discovery on %s: %w", h.Name, err)
	}
	h.mesh.Control.Serve(l)
	e := &process{host: h, out: &output{}, ended: make(chan struct{})}
	if e.dir, err = tempDir(); err != nil {
		return nil, err
	}
	path := filepath.Join(e.dir, "bootstrap.json")
	data, err := json.Marshal(envoyBootstrap(h))
	if err == nil {
		// The proxy's user is another one.
		err = errors.Join(os.WriteFile(path, data, 0o600), os.Chmod(path, 0o644), os.Chmod(e.dir, 0o755)) //nolint:gosec // see above
	}
	if err != nil {
		return nil, fmt.Errorf("bootstrap of %s: %w", h.Name, err)
	}
	e.cmd = exec.Command(binary, "-c", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error",
		"--file-flush-interval-msec", "20", "--drain-time-s", "1", "--parent-shutdown-time-s", "2")
	return e, e.start()
}

func loopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// object is a JSON object.
type object = map[string]any

// envoyBootstrap is what a stock Envoy has to know before it asks the control plane: who it is, and where that is. All of
// its secrets come over the same stream as everything else.
func envoyBootstrap(h *Host) object {
	ads := object{"ads": object{}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
	manager := object{}
	if !hasUser() {
		// Without a user of its own, its connections are known by their mark.
		manager["upstream_bind_config"] = object{"source_address": object{"address": "0.0.0.0", "port_value": 0},
			"socket_options": []object{{"level": unix.SOL_SOCKET, "name": unix.SO_MARK, "int_value": passMark}}}
	}
	return object{
		"node": object{"id": h.NodeID(), "cluster": h.Name + "." + h.Namespace,
			"metadata": object{"NAMESPACE": h.Namespace, "LABELS": h.Labels, "SERVICE_ACCOUNT": h.ServiceAccount, "WORKLOAD_NAME": h.Name}},
		"admin":           object{"address": socketAddress(loopback(adminPort))},
		"cluster_manager": manager,
		"dynamic_resources": object{
			"ads_config": object{"api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
				"grpc_services": []object{{"envoy_grpc": object{"cluster_name": "xds"}}}},
			"cds_config": ads, "lds_config": ads,
		},
		"typed_dns_resolver_config": object{"name": "envoy.network.dns_resolver.cares", "typed_config": object{
			"@type":                "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
			"resolvers":            []object{socketAddress(netip.AddrPortFrom(hubAddr(), 53))},
			"dns_resolver_options": object{"no_default_search_domain": true},
		}},
		"static_resources": object{"clusters": []object{{
			"name": "xds", "type": "STATIC", "connect_timeout": "2s",
			"typed_extension_protocol_options": object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
				"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": object{"http2_protocol_options": object{}},
			}},
			"load_assignment": object{"cluster_name": "xds", "endpoints": []object{{"lb_endpoints": []object{
				{"endpoint": object{"address": socketAddress(loopback(discoveryPort))}},
			}}}},
		}}},
	}
}

func socketAddress(a netip.AddrPort) object {
	return object{"socket_address": object{"address": a.Addr().String(), "port_value": a.Port()}}
}
