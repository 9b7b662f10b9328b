package plan

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// TLSParameters are common to both directions.
type TLSParameters struct {
	MinVersion uint16 // tls.VersionTLS12…
	MaxVersion uint16
	// Ciphers of TLS 1.2, crypto/tls ids; empty is the default.
	Ciphers []uint16
	// Curves in order of preference; empty is the default, X25519MLKEM768 first.
	Curves []tls.CurveID
	ALPN   []string
	// Certificates are this side's: references by SDS name, or inline ones. A server chooses among them by SNI.
	Certificates []CertificateSource
	Validation   Validation
	// Version changes with every field above.
	Version Hash
}

// CertificateSource is a certificate chain with its key: by SDS name, or given inline or by file.
type CertificateSource struct {
	SDSName string
	SDS     SecretRef
	Inline  *tls.Certificate // with Leaf set
}

// Validation is how the peer's certificate is checked.
type Validation struct {
	// SDSName and SDS refer to a secret with the trusted roots, as Inline holds them.
	SDSName string
	SDS     SecretRef
	Inline  *TrustedRoots
	// SANs: the peer's certificate must match one, when there are any. Typed ones see only names of their type.
	SANs []SANMatch
	// Hashes and SPKIs, when given: the leaf's SHA-256 must be among them.
	Hashes [][32]byte
	SPKIs  [][32]byte
	// AcceptUntrusted lets any chain pass and leaves the judgement to filters (ACCEPT_UNTRUSTED).
	AcceptUntrusted bool
}

// Empty reports whether nothing says how to check a peer.
func (v *Validation) Empty() bool {
	return v.SDSName == "" && v.Inline == nil && len(v.SANs)+len(v.Hashes)+len(v.SPKIs) == 0
}

// SANType is a kind of subject alternative name.
type SANType uint8

// The types.
const (
	SANAny SANType = iota
	SANURI
	SANDNS
	SANEmail
	SANIP
)

// SANMatch is a check of one subject alternative name.
type SANMatch struct {
	Type  SANType
	Match StringMatch
}

// MatchCertificate reports whether one of the leaf's names matches. SANDNS in exact kind honours wildcard
// certificates (*.example.com), as Envoy does.
func (m *SANMatch) MatchCertificate(leaf *x509.Certificate) bool {
	if m.Type == SANAny || m.Type == SANURI {
		for _, u := range leaf.URIs {
			if m.Match.MatchString(u.String()) {
				return true
			}
		}
	}
	if m.Type == SANAny || m.Type == SANDNS {
		for _, n := range leaf.DNSNames {
			if m.Match.MatchString(n) || m.Match.Kind == MatchExact && wildcardCovers(n, m.Match.Value) {
				return true
			}
		}
	}
	if m.Type == SANAny || m.Type == SANEmail {
		for _, n := range leaf.EmailAddresses {
			if m.Match.MatchString(n) {
				return true
			}
		}
	}
	if m.Type == SANAny || m.Type == SANIP {
		for _, ip := range leaf.IPAddresses {
			if m.Match.MatchString(ip.String()) {
				return true
			}
		}
	}
	return false
}

// wildcardCovers reports whether the certificate name *.rest covers exactly one label before rest.
func wildcardCovers(pattern, name string) bool {
	if len(pattern) < 3 || pattern[0] != '*' || pattern[1] != '.' {
		return false
	}
	for i := range name {
		if name[i] == '.' {
			return i > 0 && EqualFold([]byte(name[i:]), pattern[1:])
		}
	}
	return false
}

// DownstreamTLS is a server's TLS context.
type DownstreamTLS struct {
	TLSParameters
	RequireClientCertificate bool
	// RequireSNI refuses clients without one.
	RequireSNI bool
	// FullScan tries every certificate when none has the SNI's name.
	FullScan bool
	// DisableSessionTickets switches resumption off.
	DisableSessionTickets bool
	SessionTimeout        time.Duration

	// Runtime is the engine's: what it made of the parameters and the present secrets.
	Runtime any
}

// UpstreamTLS is a client's TLS context.
type UpstreamTLS struct {
	TLSParameters
	SNI string
	// AutoHostSNI uses the endpoint's hostname as SNI; AutoSANValidation then requires a SAN equal to the SNI.
	AutoHostSNI       bool
	AutoSANValidation bool
	MaxSessionKeys    uint32 // 0 switches resumption off

	// Runtime is the engine's.
	Runtime any
}

// Secret is what SDS gave, or a static secret.
type Secret struct {
	Name    string
	Version Hash
	// VersionInfo is the discovery response's version, and Updated when it came: for admin.
	VersionInfo string
	Updated     time.Time
	// One of these is set.
	Certificate *tls.Certificate // with Leaf set
	Roots       *TrustedRoots
	Generic     []byte

	// Runtime is the engine's.
	Runtime any
}

// TrustedRoots are the certificates that chains must end in.
type TrustedRoots struct {
	Pool  *x509.CertPool
	Certs []*x509.Certificate
	// Validation has what a validation context given by SDS says besides the roots: SANs, hashes. The context that
	// refers to the secret adds its own (combined_validation_context).
	Validation Validation
}
