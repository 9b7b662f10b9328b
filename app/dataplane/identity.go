package dataplane

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/xds"
)

// controlPlaneName is the name that the control plane's certificate carries.
const controlPlaneName = "istiod.istio-system.svc"

// Identity makes the holder of the proxy's key and certificate, and what
// keeps it valid.
func Identity(c *Config) (*identity.Holder, *identity.Rotator, *x509.CertPool, error) {
	id, err := identity.NewID(c.TrustDomain, c.Namespace, c.ServiceAccount)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("identity: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.Root) {
		return nil, nil, nil, errors.New("identity: the control plane's root is no certificate")
	}
	holder := identity.NewHolder()
	signer := identity.NewClient(identity.ClientConfig{Target: c.Discovery, Roots: roots, ServerName: controlPlaneName, Holder: holder, Token: c.Token})
	rotator := identity.NewRotator(identity.RotatorConfig{ID: id, Holder: holder, Signer: signer, Log: c.Scopes.Logger("identity")})
	return holder, rotator, roots, nil
}

// discoveryOptions authenticate the discovery stream: by certificate as soon
// as there is one, by token until then.
func discoveryOptions(c *Config, h *identity.Holder, roots *x509.CertPool) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			RootCAs: roots, ServerName: controlPlaneName, GetClientCertificate: h.GetClientCertificate, MinVersion: tls.VersionTLS13,
		})),
		grpc.WithPerRPCCredentials(identity.PerRPC(c.Token)),
	}
}

// MetaVHDS is the node metadata by which this proxy says that it takes virtual
// hosts one by one.
const MetaVHDS = "LATEEN_VHDS"

// MetaOnDemand is the one by which it says that it can ask for what its workload
// uses, instead of being told of the whole mesh.
const MetaOnDemand = "LATEEN_ON_DEMAND"

// MetaECDS is the one by which it says that it takes filters' configurations one by
// one (ECDS), so that a changed policy needn't replace its listeners.
const MetaECDS = "LATEEN_ECDS"

// node is what the proxy says of itself.
func node(c *Config) *xds.Node {
	n := &xds.Node{
		Type: xds.SidecarNode, Workload: c.Name + "." + c.Namespace, Domain: c.Namespace + ".svc.cluster.local",
		Cluster: c.WorkloadName + "." + c.Namespace, UserAgent: "lateen " + c.Version,
		Metadata: xds.Metadata{
			Namespace: c.Namespace, ServiceAccount: c.ServiceAccount, WorkloadName: c.WorkloadName, Name: c.Name, ClusterID: c.Cluster,
			MeshID: c.MeshID, InterceptionMode: c.InterceptionMode, DNSCapture: c.DNSCapture, DNSAutoAllocate: c.DNSCapture, Labels: c.Labels, Annotations: c.Annotations,
		},
	}
	if c.Gateway {
		n.Type = xds.RouterNode
	}
	n.IPs = append(n.IPs, c.Address)
	n.SetMeta(MetaVHDS, "true")
	n.SetMeta(MetaOnDemand, "true")
	n.SetMeta(MetaECDS, "true")
	for name, value := range c.Metadata {
		n.SetMeta(name, value)
	}
	return n
}
