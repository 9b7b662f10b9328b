package host_test

import (
	"testing"

	"lateen.dev/lateen/config/host"
)

func TestMatchesAndSubset(t *testing.T) {
	for _, c := range []struct {
		a, b            host.Name
		matches, subset bool
	}{
		{"a.b", "a.b", true, true},
		{"a.b", "c.b", false, false},
		{"a.b", "*.b", true, true},
		{"*.b", "a.b", true, false},
		{"*.a.b", "*.b", true, true},
		{"*.b", "*.a.b", true, false},
		{"*.b", "*.c", false, false},
		{"*.b", "*", true, true},
		{"a", "*", true, true},
		{".b", "*.b", false, false},
	} {
		if got := c.a.Matches(c.b); got != c.matches {
			t.Errorf("%s matches %s: %v", c.a, c.b, got)
		}
		if got := c.b.Matches(c.a); got != c.matches {
			t.Errorf("%s matches %s: %v", c.b, c.a, got)
		}
		if got := c.a.SubsetOf(c.b); got != c.subset {
			t.Errorf("%s subset of %s: %v", c.a, c.b, got)
		}
	}
}

func TestResolve(t *testing.T) {
	for in, want := range map[string]host.Name{
		"reviews":           "reviews.ns.svc.cluster.local",
		"reviews.other":     "reviews.other",
		"*":                 "*",
		"*.example.com":     "*.example.com",
		"example.com":       "example.com",
		"2001:db8::1":       "2001:db8::1",
		"reviews.ns.svc.cl": "reviews.ns.svc.cl",
	} {
		if got := host.Resolve(in, "ns", ""); got != want {
			t.Errorf("Resolve(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestMoreSpecific(t *testing.T) {
	order := []host.Name{"a.example.com", "b.c", "*.b.example.com", "*.c", "*"}
	for i := range order {
		for j := range order {
			if got := order[i].MoreSpecific(order[j]); got != (i < j) {
				t.Errorf("%s before %s: %v", order[i], order[j], got)
			}
		}
	}
}
