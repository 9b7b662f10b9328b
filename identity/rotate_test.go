package identity_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/identity"
)

// signer is an authority without a network, which can be out of order.
type signer struct {
	a  *ca.Authority
	as identity.ID

	mu    sync.Mutex
	fail  error
	calls []time.Time
}

func (s *signer) Sign(_ context.Context, csr []byte, ttl time.Duration) (*identity.Signed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, time.Now())
	if s.fail != nil {
		return nil, s.fail
	}
	issued, err := s.a.SignRequest(csr, s.as, ttl)
	if err != nil {
		return nil, err
	}
	return &identity.Signed{Chain: issued.Chain, Roots: issued.Roots}, nil
}

func (s *signer) breaks(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *signer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// rotating runs a rotator until the returned stop is called.
func rotating(t *testing.T, cfg identity.RotatorConfig) (r *identity.Rotator, stop func()) {
	r = identity.NewRotator(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
	}
}

func TestRenewalAtFourFifthsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &signer{a: newAuthority(t, ca.Options{}), as: reviews}
		h := identity.NewHolder()
		_, stop := rotating(t, identity.RotatorConfig{ID: reviews, Holder: h, Signer: s, TTL: 10 * time.Hour, Random: func() float64 { return 0 }})
		first, err := h.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(7*time.Hour + 50*time.Minute)
		synctest.Wait()
		if h.Current() != first || s.count() != 1 {
			t.Errorf("renewed early: %d requests", s.count())
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if h.Current() == first || s.count() != 2 {
			t.Errorf("not renewed after 8 of 10 hours: %d requests", s.count())
		}
		if h.Current().Leaf().NotAfter.Before(first.Leaf().NotAfter.Add(7 * time.Hour)) {
			t.Errorf("new certificate ends at %v", h.Current().Leaf().NotAfter)
		}
		stop()
	})
}

func TestJitterMovesRenewalEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &signer{a: newAuthority(t, ca.Options{}), as: reviews}
		h := identity.NewHolder()
		_, stop := rotating(t, identity.RotatorConfig{ID: reviews, Holder: h, Signer: s, TTL: 100 * time.Hour, Jitter: 0.1, Random: func() float64 { return 0.999 }})
		time.Sleep(71 * time.Hour)
		synctest.Wait()
		if s.count() != 2 {
			t.Errorf("%d requests after 71 of 100 hours, with a jitter of nearly 10", s.count())
		}
		stop()
	})
}

func TestFailuresAreRetriedWithinTheCertificatesLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &signer{a: newAuthority(t, ca.Options{}), as: reviews, fail: errors.New("authority is away")}
		h := identity.NewHolder()
		r, stop := rotating(t, identity.RotatorConfig{ID: reviews, Holder: h, Signer: s, TTL: time.Hour})
		time.Sleep(time.Minute)
		if n := s.count(); n < 5 || n > 20 || h.Current() != nil {
			t.Errorf("%d requests in the first minute", n)
		}
		s.breaks(nil)
		first, err := h.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.breaks(errors.New("away again"))
		before := s.count()
		time.Sleep(58 * time.Minute)
		if h.Current() != first {
			t.Error("the certificate in force did not stay")
		}
		if n := s.count() - before; n < 10 {
			t.Errorf("%d attempts while the certificate nears its end", n)
		}
		s.breaks(nil)
		time.Sleep(30 * time.Second)
		second := h.Current()
		if second == first {
			t.Error("not renewed after the authority came back")
		}
		r.Renew()
		synctest.Wait()
		if h.Current() == second {
			t.Error("Renew did nothing")
		}
		stop()
	})
}

func TestCertificateForSomebodyElseIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := identity.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "ratings"}
		s := &signer{a: newAuthority(t, ca.Options{}), as: other}
		h := identity.NewHolder()
		_, stop := rotating(t, identity.RotatorConfig{ID: reviews, Holder: h, Signer: s})
		time.Sleep(time.Minute)
		if h.Current() != nil || s.count() < 2 {
			t.Errorf("has %v after %d requests", h.Current(), s.count())
		}
		stop()
	})
}

func TestPersistedCertificateServesTheNextStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "identity.pem")
		s := &signer{a: newAuthority(t, ca.Options{}), as: reviews}
		h := identity.NewHolder()
		_, stop := rotating(t, identity.RotatorConfig{ID: reviews, Holder: h, Signer: s, File: file, TTL: time.Hour})
		first, err := h.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stop()
		s.breaks(errors.New("authority is away"))
		h = identity.NewHolder()
		_, stop = rotating(t, identity.RotatorConfig{ID: reviews, Holder: h, Signer: s, File: file, TTL: time.Hour})
		m, err := h.Wait(t.Context())
		if err != nil || !m.Leaf().Equal(first.Leaf()) || s.count() != 1 {
			t.Errorf("%v, %v after %d requests", m, err, s.count())
		}
		stop()
		// After its end it is of no use.
		time.Sleep(2 * time.Hour)
		h = identity.NewHolder()
		_, stop = rotating(t, identity.RotatorConfig{ID: reviews, Holder: h, Signer: s, File: file, TTL: time.Hour})
		synctest.Wait()
		if h.Current() != nil {
			t.Error("an expired certificate was taken from the disk")
		}
		stop()
	})
}
