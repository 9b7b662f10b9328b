package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// ID is a workload's identity, spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT.
// IDs are comparable with ==.
type ID struct {
	TrustDomain    string
	Namespace      string
	ServiceAccount string
}

// ErrID is the reason for which something is not an id.
var ErrID = errors.New("not a workload's SPIFFE id")

// maxIDBytes is the limit of the SPIFFE id specification.
const maxIDBytes = 2048

// ParseID reads spiffe://TD/ns/NS/sa/SA and accepts nothing else.
func ParseID(s string) (ID, error) {
	if len(s) > maxIDBytes {
		return ID{}, fmt.Errorf("%w: longer than %d bytes", ErrID, maxIDBytes)
	}
	id, err := spiffeid.FromString(s)
	if err != nil {
		return ID{}, fmt.Errorf("%w: %.200q: %w", ErrID, s, err)
	}
	parts := strings.Split(id.Path(), "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		return ID{}, fmt.Errorf("%w: path of %.200q is not /ns/NAMESPACE/sa/ACCOUNT", ErrID, s)
	}
	return ID{TrustDomain: id.TrustDomain().Name(), Namespace: parts[2], ServiceAccount: parts[4]}, nil
}

// NewID makes an id of its parts after checking that they can be one.
func NewID(trustDomain, namespace, serviceAccount string) (ID, error) {
	return ParseID("spiffe://" + trustDomain + "/ns/" + namespace + "/sa/" + serviceAccount)
}

// String is the id's URI; "" for the zero ID.
func (id ID) String() string {
	if id == (ID{}) {
		return ""
	}
	return "spiffe://" + id.TrustDomain + "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount
}

// URL is the id as a certificate's URI name.
func (id ID) URL() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.TrustDomain, Path: "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount}
}

// IsZero reports whether the id is none.
func (id ID) IsZero() bool { return id == ID{} }

// FromCertificate reads the id from a certificate's URI name. A certificate
// with more than one URI name is no SVID and has no id.
func FromCertificate(c *x509.Certificate) (ID, error) {
	if len(c.URIs) != 1 {
		return ID{}, fmt.Errorf("%w: certificate has %d URI names instead of one", ErrID, len(c.URIs))
	}
	return ParseID(c.URIs[0].String())
}
