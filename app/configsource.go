package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/config/mesh"
	"lateen.dev/lateen/identity"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/files"
	"lateen.dev/lateen/source/mcp"
	"lateen.dev/lateen/xds"
)

// configSources makes sources of MeshConfig.configSources.
type configSources struct {
	log *slog.Logger
	// self is the control plane's own identity, for ISTIO_MUTUAL.
	self *ownIdentity
	// fixed are the sources that flags name; they come last.
	fixed []wantedSource
}

// wanted reads what a MeshConfig asks for. What can't be read is none: the
// object was refused then, and the one before is live.
func (c *configSources) wanted(o *config.Object) []wantedSource {
	if o == nil {
		return nil
	}
	m, err := mesh.Apply(mesh.Default(), config.As[*config.MeshConfigSpec](o))
	if err != nil {
		c.log.Error("MeshConfig can't be read", "error", err)
		return nil
	}
	var list []wantedSource
	for i, cs := range m.GetConfigSources() {
		text, err := protojson.Marshal(cs)
		if err != nil {
			c.log.Error("a configSource can't be read", "address", cs.GetAddress(), "error", err)
			continue
		}
		list = append(list, wantedSource{id: fmt.Sprintf("%03d %s", i, text), name: cs.GetAddress(),
			away: strings.HasPrefix(cs.GetAddress(), "xds:"), open: func() (source.Source, error) { return c.open(cs) }})
	}
	return list
}

// open makes the source of one entry.
func (c *configSources) open(cs *meshconfig.ConfigSource) (source.Source, error) {
	u, err := url.Parse(cs.GetAddress())
	if err != nil {
		return nil, fmt.Errorf("%w: the address: %w", errUnusable, err)
	}
	switch u.Scheme {
	case "fs":
		if u.Path == "" || u.Host != "" {
			return nil, fmt.Errorf("%w: write fs:///PATH, with an absolute path, instead of %s", errUnusable, cs.GetAddress())
		}
		return files.New(files.Options{Root: u.Path, Name: cs.GetAddress()}), nil
	case "xds":
		if _, _, err := net.SplitHostPort(u.Host); err != nil {
			return nil, fmt.Errorf("%w: write xds://HOST:PORT instead of %s", errUnusable, cs.GetAddress())
		}
		creds, err := c.credentials(cs.GetTlsSettings(), u.Hostname())
		if err != nil {
			return nil, err
		}
		return mcp.NewClient(mcp.ClientOptions{Name: cs.GetAddress(), Target: "dns:///" + u.Host, Node: nodeFor(cs.GetTlsSettings()), Log: c.log,
			DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(creds)}}), nil
	case "k8s":
		return nil, fmt.Errorf("%w: this control plane doesn't read from Kubernetes", errUnusable)
	}
	return nil, fmt.Errorf("%w: %s is none of xds://, fs:// and k8s://", errUnusable, cs.GetAddress())
}

// nodeFor says who asks. The namespace is that of the certificate, which is held
// against it.
func nodeFor(s *networking.ClientTLSSettings) xds.Node {
	namespace := controlNamespace
	if pair, err := tls.LoadX509KeyPair(s.GetClientCertificate(), s.GetPrivateKey()); err == nil && pair.Leaf != nil {
		if id, err := identity.FromCertificate(pair.Leaf); err == nil {
			namespace = id.Namespace
		}
	}
	n := xds.Node{Type: xds.SidecarNode, Workload: "lateen-control." + namespace, Domain: namespace + ".svc.cluster.local",
		IPs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, UserAgent: "lateen " + version, Metadata: xds.Metadata{Namespace: namespace}}
	n.SetMeta(metaLateen, version)
	return n
}

// credentials are those of tlsSettings; plain text when there are none, as in
// istiod.
func (c *configSources) credentials(s *networking.ClientTLSSettings, host string) (credentials.TransportCredentials, error) {
	if s == nil || s.GetMode() == networking.ClientTLSSettings_DISABLE {
		return insecure.NewCredentials(), nil
	}
	if s.GetCredentialName() != "" || s.GetCaCrl() != "" {
		return nil, fmt.Errorf("%w: tlsSettings with credentialName or caCrl; name files instead", errUnusable)
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: firstOf(s.GetSni(), host), NextProtos: []string{"h2"}}
	if s.GetMode() == networking.ClientTLSSettings_ISTIO_MUTUAL {
		t.GetClientCertificate, t.RootCAs = c.self.certificate, c.self.roots()
		t.ServerName = firstOf(s.GetSni(), istiodName)
		return credentials.NewTLS(t), nil
	}
	if s.GetMode() == networking.ClientTLSSettings_MUTUAL {
		// Read anew for each connection, so that files may be replaced.
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(s.GetClientCertificate(), s.GetPrivateKey())
			return &cert, err
		}
		if _, err := tls.LoadX509KeyPair(s.GetClientCertificate(), s.GetPrivateKey()); err != nil {
			return nil, fmt.Errorf("tlsSettings: client certificate: %w", err)
		}
	}
	if file := s.GetCaCertificates(); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("tlsSettings: caCertificates: %w", err)
		}
		if t.RootCAs = x509.NewCertPool(); !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tlsSettings: caCertificates: %s has no certificate", file)
		}
	}
	verifyNames(t, s)
	return credentials.NewTLS(t), nil
}

// istiodName is the name that every control plane's certificate carries.
const istiodName = "istiod.istio-system.svc"

// verifyNames applies insecureSkipVerify and subjectAltNames, which replace the
// check of the host's name.
func verifyNames(t *tls.Config, s *networking.ClientTLSSettings) {
	if s.GetInsecureSkipVerify().GetValue() {
		t.InsecureSkipVerify = true
		return
	}
	if len(s.GetSubjectAltNames()) == 0 {
		return
	}
	roots := t.RootCAs
	t.InsecureSkipVerify = true // the chain is verified below, and other names than the host's
	t.VerifyConnection = func(state tls.ConnectionState) error {
		leaf := state.PeerCertificates[0]
		intermediates := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			intermediates.AddCert(c)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates}); err != nil {
			return err
		}
		names := slices.Clone(leaf.DNSNames)
		for _, u := range leaf.URIs {
			names = append(names, u.String())
		}
		for _, a := range leaf.IPAddresses {
			names = append(names, a.String())
		}
		if !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(s.GetSubjectAltNames(), n) }) {
			return errors.New("the server's certificate has none of subjectAltNames")
		}
		return nil
	}
}
