package validation

import (
	"net"
	"net/url"

	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
)

// configSources checks where configuration is to be read from besides.
func (c *checker) configSources(at path, list []*meshconfig.ConfigSource) {
	unique(c, at, "configSource", list, (*meshconfig.ConfigSource).GetAddress)
	for i, s := range list {
		at := at.at(i)
		u, err := url.Parse(s.GetAddress())
		switch {
		case err != nil || s.GetAddress() == "":
			c.fault(at.to("address"), "Write xds://HOST:PORT or fs:///PATH", "%q is no address", s.GetAddress())
			continue
		case u.Scheme == "xds":
			if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
				c.fault(at.to("address"), "Write xds://HOST:PORT", "%q has no host and port", s.GetAddress())
			}
		case u.Scheme == "fs":
			if u.Path == "" || u.Host != "" {
				c.fault(at.to("address"), "Write fs:///PATH", "%q has no absolute path", s.GetAddress())
			}
		case u.Scheme == "k8s":
			c.warn(at.to("address"), "Remove it, or run a control plane in the cluster", "nothing is read from Kubernetes here")
		default:
			c.fault(at.to("address"), "Write xds://HOST:PORT or fs:///PATH", "%q is of no known scheme", s.GetAddress())
		}
		c.sourceTLS(at.to("tlsSettings"), s.GetTlsSettings())
	}
}

func (c *checker) sourceTLS(at path, s *networking.ClientTLSSettings) {
	if s == nil {
		return
	}
	if s.GetCredentialName() != "" || s.GetCaCrl() != "" {
		c.fault(at, "Name files instead", "credentialName and caCrl aren't read here")
	}
	if s.GetMode() == networking.ClientTLSSettings_MUTUAL && (s.GetClientCertificate() == "" || s.GetPrivateKey() == "") {
		c.fault(at, "Name the files of clientCertificate and privateKey", "mode MUTUAL has no certificate to show")
	}
}
