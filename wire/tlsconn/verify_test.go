package tlsconn

import (
	"crypto/x509"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestVerifierRemembersOnlyWhatIsStillTrue(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	trust := ca.trust()
	v := NewVerifier(func() *Trust { return trust }, 0)
	leaf := ca.leaf(idA, "", time.Hour).Leaf
	chain := []*x509.Certificate{leaf}
	now := time.Now()
	verify := func(at time.Time, usage x509.ExtKeyUsage, host string) error { return v.Verify(chain, usage, host, at) }

	for range 2 { // the second time from memory
		if err := verify(now, x509.ExtKeyUsageClientAuth, ""); err != nil {
			t.Fatal(err)
		}
	}
	if len(v.young) != 1 {
		t.Errorf("%d chains are remembered", len(v.young))
	}
	if err := verify(now.Add(2*time.Hour), x509.ExtKeyUsageClientAuth, ""); err == nil {
		t.Error("an expired certificate passes")
	}
	if err := verify(now, x509.ExtKeyUsageCodeSigning, ""); err == nil {
		t.Error("another usage passes")
	}
	if err := verify(now, x509.ExtKeyUsageClientAuth, "a.example"); err == nil {
		t.Error("a host name that isn't there passes")
	}
	trust = other.trust()
	trust.Version = 2
	if err := verify(now, x509.ExtKeyUsageClientAuth, ""); err == nil {
		t.Error("a chain to roots that are trusted no more passes")
	}
}

func TestVerifierIsBounded(t *testing.T) {
	ca := newAuthority(t)
	v := NewVerifier(ca.trust, 4)
	var first []*x509.Certificate
	for i := range 20 {
		chain := []*x509.Certificate{ca.leaf(idA, "", time.Hour).Leaf}
		if i == 0 {
			first = chain
		}
		for _, c := range [][]*x509.Certificate{chain, first} {
			if err := v.Verify(c, x509.ExtKeyUsageClientAuth, "", time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(v.young) + len(v.old); n > 4 {
			t.Fatalf("%d chains are remembered", n)
		}
	}
}

func TestTrustDomains(t *testing.T) {
	home, far, public := newAuthority(t), newAuthority(t), newAuthority(t)
	trust := home.trust()
	trust.Domains["far.example"] = far.pool()
	trust.Roots = public.pool()
	v := NewVerifier(func() *Trust { return trust }, 0)
	for _, tt := range []struct {
		ca *authority
		id string
		ok bool
	}{
		{home, "spiffe://cluster.local/a", true},
		{far, "spiffe://far.example/a", true},
		{far, "spiffe://cluster.local/a", false}, // far's CA can't speak for home
		{home, "spiffe://far.example/a", false},
		{public, "", true},
		{home, "", false},
		{public, "spiffe://unknown.example/a", true},
	} {
		leaf := tt.ca.leaf(tt.id, "a.example", time.Hour).Leaf
		err := v.Verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageServerAuth, "", time.Now())
		if (err == nil) != tt.ok {
			t.Errorf("%q: %v", tt.id, err)
		}
	}
	trust = &Trust{Version: 9, Domains: trust.Domains}
	leaf := public.leaf("spiffe://unknown.example/a", "", time.Hour).Leaf
	if err := v.Verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageServerAuth, "", time.Now()); !errors.Is(err, ErrUntrustedDomain) {
		t.Errorf("without common roots: %v", err)
	}
}

func TestNames(t *testing.T) {
	p := &Peer{URIs: []string{idA}, DNSNames: []string{"a.example"}}
	for _, tt := range []struct {
		n  Names
		ok bool
	}{
		{Names{}, true},
		{Names{Exact: []string{"x", idA}}, true},
		{Names{Exact: []string{"a.example"}}, true},
		{Names{Exact: []string{idB}}, false},
		{Names{Prefix: []string{"spiffe://cluster.local/ns/default/"}}, true},
		{Names{Suffix: []string{"/sa/b"}}, false},
	} {
		if err := tt.n.Allow(p); (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrNotAllowed) {
			t.Errorf("%+v: %v", tt.n, err)
		}
	}
}

func TestTicketKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := NewTickets(time.Hour)
		first, g, err := k.current(time.Now())
		if err != nil || len(first) != 1 {
			t.Fatal(len(first), err)
		}
		if _, again, _ := k.current(time.Now()); again != g {
			t.Error("a new generation at once")
		}
		for i := range 5 {
			time.Sleep(time.Hour)
			keys, _, err := k.current(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			kept := false
			for _, key := range keys {
				kept = kept || key == first[0]
			}
			if len(keys) != min(i+2, ticketKeysKept) || kept != (i < ticketKeysKept-1) {
				t.Errorf("after %d rotations: %d keys, the first one kept: %v", i+1, len(keys), kept)
			}
		}
	})
}
