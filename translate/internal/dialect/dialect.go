// Package dialect says what a kind of proxy understands, so that each is sent only what it accepts: filters that not
// every build has, key exchanges, and where it fetches its secrets. It is called throughout room translate. Pure; safe
// for any number of goroutines.
//
// May import: model, translate/internal/pb.
package dialect

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"lateen.dev/lateen/model"
	"lateen.dev/lateen/translate/internal/pb"
)

// Secrets that a workload's proxy has by name.
const (
	WorkloadSecret = "default"
	RootSecret     = "ROOTCA"
	// agentCluster is the cluster by which a proxy beside Istio's agent asks the agent for secrets.
	agentCluster = "sds-grpc"
)

// Dialect is a comparable description of a proxy program. Equal dialects are sent equal resources.
type Dialect struct {
	Flavor model.Flavor
	// SDSCluster names the cluster that serves secrets; empty means the aggregated stream.
	SDSCluster string
	// PostQuantum says that the build knows the key exchange X25519MLKEM768.
	PostQuantum bool
	// VHDS says that the proxy takes virtual hosts one by one instead of whole route configurations.
	VHDS bool
	// ECDS says that the proxy takes configurations of filters one by one instead of inside listeners.
	ECDS bool
}

// metaVHDS is the node metadata by which a Lateen proxy says so.
const metaVHDS = "LATEEN_VHDS"

// metaECDS is the node metadata by which a Lateen proxy says that it takes them, and by which a stock Envoy can be told not
// to be sent any ("false").
const metaECDS = "LATEEN_ECDS"

// Of returns the dialect of a proxy.
func Of(p *model.Proxy) Dialect {
	d := Dialect{Flavor: p.Flavor, SDSCluster: p.Metadata["SDS_CLUSTER"]}
	switch p.Flavor {
	case model.LateenProxy:
		d.PostQuantum = true
		d.VHDS = p.Metadata[metaVHDS] == "true"
		d.ECDS = p.Metadata[metaECDS] == "true"
	case model.IstioEnvoy:
		d.PostQuantum = atLeast(p.Version, 1, 27)
		if d.SDSCluster == "" {
			d.SDSCluster = agentCluster
		}
	case model.StockEnvoy:
		d.PostQuantum = atLeast(p.Version, 1, 35)
		// Since 1.28 network filters come so, too.
		d.ECDS = atLeast(p.Version, 1, 28) && p.Metadata[metaECDS] != "false"
	}
	return d
}

// PeerMetadata reports whether the proxy has Istio's filters: metadata exchange, statistics, and the choice of ALPN by
// protocol. Our own proxy does these by itself and takes their place in the chain as the sign that it should.
func (d Dialect) PeerMetadata() bool {
	return d.Flavor == model.IstioEnvoy || d.Flavor == model.LateenProxy
}

// Curves lists key exchanges by preference; nil leaves them to the proxy.
func (d Dialect) Curves(configured []string) []string {
	switch {
	case len(configured) > 0:
		return configured
	case d.PostQuantum:
		return []string{"X25519MLKEM768", "X25519", "P-256"}
	default:
		return nil
	}
}

// Secret is the reference to a secret that the workload's own identity consists of.
func (d Dialect) Secret(name string) *tlsv3.SdsSecretConfig {
	if d.SDSCluster == "" {
		return Credential(name)
	}
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
					EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: d.SDSCluster},
				},
			}},
		}},
		InitialFetchTimeout: pb.Duration(0),
		ResourceApiVersion:  corev3.ApiVersion_V3,
	}}
}

// Credential is the reference to a secret that the control plane serves.
func Credential(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: pb.ADS()}
}

// atLeast compares the leading numbers of a version, before which a program's name may stand; one that can't be read is
// taken for old.
func atLeast(version string, major, minor int) bool {
	version = version[strings.LastIndexByte(version, ' ')+1:]
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	gotMajor, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	gotMinor, err := strconv.Atoi(parts[1])
	if err != nil {
		return false
	}
	return gotMajor > major || gotMajor == major && gotMinor >= minor
}
