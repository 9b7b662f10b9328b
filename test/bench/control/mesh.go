package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// The shape of the mesh on which control planes are compared.
const (
	namespaces  = 50
	endpoints   = 10 // of each service
	tcpEvery    = 10 // each so many services have a TCP port besides
	rulesEvery  = 20 // each so many have a VirtualService and a DestinationRule
	docsPerFile = 500
	// churning services have a file each, and are changed one after another.
	churning = 100
)

func serviceName(i int) string      { return fmt.Sprintf("svc-%d", i) }
func serviceNamespace(i int) string { return fmt.Sprintf("ns-%d", i%namespaces) }

func serviceHost(i int) string {
	return serviceName(i) + "." + serviceNamespace(i) + ".svc.cluster.local"
}

// address is base + n.
func address(base string, n int) netip.Addr {
	b := netip.MustParseAddr(base).As4()
	v := (uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])) + uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// endpointAddress is the address of endpoint j of service i.
func endpointAddress(i, j int) netip.Addr { return address("10.0.0.1", i*endpoints+j) }

// serviceEntry writes a ServiceEntry with the given endpoints.
func serviceEntry(name, namespace string, vip netip.Addr, eps []string, tcp bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: %s\n  namespace: %s\nspec:\n"+
		"  hosts: [\"%s.%s.svc.cluster.local\"]\n  addresses: [\"%s\"]\n  ports:\n"+
		"  - {number: 80, name: http, protocol: HTTP, targetPort: 8080}\n", name, namespace, name, namespace, vip)
	if tcp {
		b.WriteString("  - {number: 9000, name: tcp, protocol: TCP, targetPort: 9000}\n")
	}
	b.WriteString("  resolution: STATIC\n  location: MESH_INTERNAL\n  endpoints:\n")
	for j, e := range eps {
		fmt.Fprintf(&b, "  - {address: %s, labels: {app: %s, version: v%d, security.istio.io/tlsMode: istio}, serviceAccount: %s, locality: region1/zone%d}\n",
			e, name, j%2+1, name, j%3)
	}
	return b.String()
}

func virtualService(i int) string {
	h := serviceHost(i)
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs-%d, namespace: %s}
spec:
  hosts: [%s]
  http:
  - match: [{headers: {end-user: {exact: tester}}}]
    route: [{destination: {host: %s, subset: v2}}]
  - timeout: 5s
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: 5xx}
    route:
    - {destination: {host: %s, subset: v1}, weight: 90}
    - {destination: {host: %s, subset: v2}, weight: 10}
`, i, serviceNamespace(i), h, h, h, h)
}

func destinationRule(i int) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: dr-%d, namespace: %s}
spec:
  host: %s
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 100}, http: {http2MaxRequests: 1000}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 10s, baseEjectionTime: 30s}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
`, i, serviceNamespace(i), serviceHost(i))
}

func authorizationPolicy(k int) string {
	return fmt.Sprintf(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: ns-%d}
spec:
  action: ALLOW
  rules:
  - from: [{source: {namespaces: [ns-%d, ns-%d]}}]
    to: [{operation: {methods: [GET, POST], paths: ["/api/*", /healthz]}}]
`, k, k, (k+1)%namespaces)
}

const strictPeers = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
`

func sidecar(k int) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: ns-%d}\n"+
		"spec: {egress: [{hosts: [\"./*\", \"istio-system/*\", \"ns-0/*\"]}]}\n", k)
}

// The two objects that the measured changes are made to, and their files.
const (
	changeHost    = "svc-change.ns-0.svc.cluster.local"
	changeService = "zz-change-se.yaml"
	changeRoute   = "zz-change-vs.yaml"
)

// changedService is the service whose last endpoint moves: to marker.
func changedService(marker string) string {
	var eps []string
	for j := range endpoints - 1 {
		eps = append(eps, fmt.Sprintf("10.250.0.%d", j+1))
	}
	return serviceEntry("svc-change", "ns-0", netip.MustParseAddr("172.19.0.1"), append(eps, marker), false)
}

// changedRoute sets a header to marker.
func changedRoute(marker string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs-change, namespace: ns-0}
spec:
  hosts: [%s]
  http:
  - headers: {request: {set: {x-marker: "%s"}}}
    route: [{destination: {host: %s}}]
`, changeHost, marker, changeHost)
}

// churnFile and churnService are the file and content of a service that
// changes all the time.
func churnFile(k int) string { return fmt.Sprintf("zy-churn-%02d.yaml", k) }

// churnNamespace is where the service is.
func churnNamespace(s scenario, k int) string {
	if s.churnForAll {
		return "ns-0" // which all Sidecars let in
	}
	return fmt.Sprintf("ns-%d", k%namespaces)
}

func churnHost(s scenario, k int) string {
	return fmt.Sprintf("churn-%d.%s.svc.cluster.local", k, churnNamespace(s, k))
}

func churnService(s scenario, k int, marker string) string {
	return serviceEntry(fmt.Sprintf("churn-%d", k), churnNamespace(s, k), address("172.19.1.1", k),
		[]string{fmt.Sprintf("10.251.0.%d", k+1), marker}, false)
}

// writeMesh writes the configuration of the scenario's mesh below dir.
func writeMesh(dir string, s scenario) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	for name, docs := range meshFiles(s) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(docs, "---\n")), 0o644); err != nil {
			return fmt.Errorf("mesh: %w", err)
		}
	}
	return nil
}

// meshFiles are the documents of each file.
func meshFiles(s scenario) map[string][]string {
	files := map[string][]string{}
	add := func(name, doc string) { files[name] = append(files[name], doc) }
	for i := range s.services {
		eps := make([]string, endpoints)
		for j := range eps {
			eps[j] = endpointAddress(i, j).String()
		}
		add(fmt.Sprintf("se-%03d.yaml", i/docsPerFile),
			serviceEntry(serviceName(i), serviceNamespace(i), address("172.20.0.1", i), eps, i%tcpEvery == 0))
		if i%rulesEvery == 0 {
			add("vs.yaml", virtualService(i))
			add("dr.yaml", destinationRule(i))
		}
	}
	for k := range namespaces {
		add("authz.yaml", authorizationPolicy(k))
		if s.scoped {
			add("sidecar.yaml", sidecar(k))
		}
	}
	add("authz.yaml", strictPeers)
	add(changeService, changedService("10.250.99.77"))
	add(changeRoute, changedRoute("mk-0-mk"))
	if s.churn > 0 {
		for k := range churning {
			add(churnFile(k), churnService(s, k, churnAddress(1<<16-1)))
		}
	}
	return files
}
