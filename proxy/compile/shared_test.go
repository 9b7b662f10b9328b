package compile

import (
	"runtime"
	"testing"
)

func TestWhatIsParsedIsShared(t *testing.T) {
	var s shared
	cert, key := pair(t)
	other, otherKey := pair(t)
	first, err := s.pair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.pair([]byte(cert), []byte(key)); err != nil || again != first {
		t.Errorf("the same certificate is parsed twice: %v", err)
	}
	if another, err := s.pair([]byte(other), []byte(otherKey)); err != nil || another == first {
		t.Errorf("another certificate: %v", err)
	}
	if _, err := s.pair([]byte(cert), []byte(otherKey)); err == nil {
		t.Error("another key is taken for the certificate's")
	}
	pool, certs, err := s.roots([]byte(cert))
	if err != nil || len(certs) != 1 {
		t.Fatal(certs, err)
	}
	if again, _, err := s.roots([]byte(cert)); err != nil || again != pool {
		t.Errorf("the same roots are parsed twice: %v", err)
	}
	if another, _, err := s.roots([]byte(other)); err != nil || another == pool {
		t.Errorf("other roots: %v", err)
	}
	runtime.KeepAlive(first)
}

// TestSharedKeepsNoKeys wants certificates that nobody uses to be gone.
func TestSharedKeepsNoKeys(t *testing.T) {
	var s shared
	kept, keptKey := pair(t)
	used, err := s.pair([]byte(kept), []byte(keptKey))
	if err != nil {
		t.Fatal(err)
	}
	cert, key := pair(t)
	for i := range 3 * sharedLimit {
		if _, err := s.pair([]byte(cert), append([]byte(key), make([]byte, i)...)); err != nil {
			t.Fatal(err)
		}
		if i == sharedLimit {
			runtime.GC()
		}
	}
	runtime.GC()
	alive := 0
	for _, p := range s.pairs {
		if p.Value() != nil {
			alive++
		}
	}
	if alive != 1 {
		t.Errorf("%d certificates are alive, one is in use", alive)
	}
	if again, err := s.pair([]byte(kept), []byte(keptKey)); err != nil || again != used {
		t.Errorf("what is in use is forgotten: %v", err)
	}
	runtime.KeepAlive(used)
}
