package identity_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/ca/catest"
	"lateen.dev/lateen/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var reviews = identity.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "reviews"}

func TestParseID(t *testing.T) {
	if id, err := identity.ParseID("spiffe://cluster.local/ns/default/sa/reviews"); err != nil || id != reviews {
		t.Errorf("%+v, %v", id, err)
	}
	for _, bad := range []string{
		"", "reviews", "spiffe://", "spiffe://cluster.local", "spiffe://cluster.local/ns/default",
		"spiffe://cluster.local/ns/default/sa/", "spiffe://cluster.local/ns//sa/reviews", "spiffe://cluster.local/ns/default/sa/a/b",
		"spiffe://cluster.local/sa/default/ns/reviews", "https://cluster.local/ns/default/sa/reviews",
		"spiffe://cluster.local/ns/../sa/reviews", "spiffe://cluster.local/ns/a/sa/b?x=y", "spiffe://user@cluster.local/ns/a/sa/b",
		"spiffe://cluster.local/ns/default/sa/" + strings.Repeat("x", 3000),
	} {
		if id, err := identity.ParseID(bad); !errors.Is(err, identity.ErrID) {
			t.Errorf("ParseID(%.60q) = %+v, %v", bad, id, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("spiffe://cluster.local/ns/default/sa/reviews")
	f.Add("spiffe://a/ns/%2e/sa/..")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := identity.ParseID(s)
		if err != nil {
			return
		}
		again, err := identity.ParseID(id.String())
		if err != nil || again != id || id.URL().String() != id.String() {
			t.Errorf("%q gives %+v, which gives %+v, %v", s, id, again, err)
		}
	})
}

func FuzzParseCertificates(f *testing.F) {
	a := newAuthority(f, ca.Options{})
	f.Add(a.RootPEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := identity.ParseCertificates(data)
		if err != nil {
			return
		}
		again, err := identity.ParseCertificates(identity.EncodeCertificates(certs))
		if err != nil || len(again) != len(certs) {
			t.Errorf("%d certificates become %d, %v", len(certs), len(again), err)
		}
	})
}

func newAuthority(t testing.TB, o ca.Options) *ca.Authority {
	t.Helper()
	a, err := ca.Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issue makes material for an id.
func issue(t *testing.T, a *ca.Authority, id identity.ID, ttl time.Duration) *identity.Material {
	t.Helper()
	m, err := catest.Issue(a, id, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBundleVerifiesWithTheDomainsOwnRoots(t *testing.T) {
	ours := newAuthority(t, ca.Options{})
	theirs := newAuthority(t, ca.Options{TrustDomain: "other.example"})
	both := identity.NewBundle(map[string][]*x509.Certificate{
		"cluster.local": ours.Bundle().Roots("cluster.local"),
		"other.example": theirs.Bundle().Roots("other.example"),
	})
	now := time.Now()
	m := issue(t, ours, reviews, time.Hour)
	if id, err := both.Verify(m.Chain, now, x509.ExtKeyUsageServerAuth); err != nil || id != reviews {
		t.Errorf("own certificate: %v, %v", id, err)
	}
	// The other domain's authority signs our name.
	impostor := newAuthority(t, ca.Options{})
	mixed := identity.NewBundle(map[string][]*x509.Certificate{
		"cluster.local": ours.Bundle().Roots("cluster.local"),
		"other.example": impostor.Bundle().Roots("cluster.local"),
	})
	for name, err := range map[string]error{
		"root of another domain": verify(mixed, issue(t, impostor, reviews, time.Hour).Chain, now),
		"unknown domain":         verify(theirs.Bundle(), m.Chain, now),
		"expired":                verify(both, m.Chain, now.Add(2*time.Hour)),
		"not yet valid":          verify(both, m.Chain, now.Add(-2*time.Hour)),
		"no certificate":         verify(both, nil, now),
		"root itself":            verify(both, ours.Bundle().Roots("cluster.local"), now),
		"nil bundle":             verify(nil, m.Chain, now),
	} {
		if !errors.Is(err, identity.ErrUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if both.Version() == ours.Bundle().Version() || len(both.All()) != 2 {
		t.Error("bundles of different content have the same version, or roots are missing")
	}
}

func verify(b *identity.Bundle, chain []*x509.Certificate, now time.Time) error {
	_, err := b.Verify(chain, now, x509.ExtKeyUsageClientAuth)
	return err
}

func TestMaterialSurvivesTheDisk(t *testing.T) {
	a := newAuthority(t, ca.Options{})
	m := issue(t, a, reviews, time.Hour)
	path := filepath.Join(t.TempDir(), "identity.pem")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	got, err := identity.LoadMaterial(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != m.ID || !got.Leaf().Equal(m.Leaf()) || got.Bundle.Version() != m.Bundle.Version() {
		t.Errorf("loaded %+v", got)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := issue(t, a, reviews, time.Hour)
	if err := other.Save(path); err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The key of one with the certificate of the other.
	const end = "-----END PRIVATE KEY-----\n"
	_, rest, _ := bytes.Cut(second, []byte(end))
	key, _, _ := bytes.Cut(data, []byte(end))
	if err := os.WriteFile(path, append(append(key, end...), rest...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.LoadMaterial(path); err == nil {
		t.Error("a key that does not belong to its certificate was loaded")
	}
}

func TestHolder(t *testing.T) {
	a := newAuthority(t, ca.Options{})
	h := identity.NewHolder()
	if _, err := h.GetCertificate(nil); !errors.Is(err, identity.ErrNoCertificate) {
		t.Errorf("empty holder: %v", err)
	}
	if c, err := h.GetClientCertificate(nil); err != nil || len(c.Certificate) != 0 {
		t.Errorf("empty holder presents %v, %v", c, err)
	}
	changed, stop := h.Watch()
	first := issue(t, a, reviews, time.Hour)
	h.Set(first)
	<-changed
	if c, err := h.GetCertificate(nil); err != nil || c != first.TLS {
		t.Errorf("%v, %v", c, err)
	}
	h.SetBundle(first.Bundle)
	select {
	case <-changed:
		t.Error("told of a bundle that did not change")
	default:
	}
	other := newAuthority(t, ca.Options{}).Bundle()
	h.SetBundle(other)
	<-changed
	if h.Bundle() != other || h.Current().Key != first.Key {
		t.Error("SetBundle changed more, or less, than the bundle")
	}
	stop()
	h.Set(first)
	select {
	case <-changed:
		t.Error("told after stop")
	default:
	}
	if m, err := h.Wait(t.Context()); err != nil || m != first {
		t.Errorf("%v, %v", m, err)
	}
}
