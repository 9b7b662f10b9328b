package plan

import "testing"

func table3(t *testing.T, domains ...string) *HostTable {
	t.Helper()
	var hosts []*VirtualHost
	for _, d := range domains {
		hosts = append(hosts, &VirtualHost{Name: d, Domains: []string{d}})
	}
	ht, err := NewHostTable(hosts)
	if err != nil {
		t.Fatal(err)
	}
	return ht
}

// Envoy's order: exact, the longest suffix wildcard, the longest prefix wildcard, "*".
func TestHostPrecedence(t *testing.T) {
	ht := table3(t, "*", "www.foo.com", "*.foo.com", "*-bar.foo.com", "foo.*", "foo.b*", "Upper.Example:80")
	for authority, want := range map[string]string{
		"www.foo.com":      "www.foo.com",
		"WWW.Foo.Com":      "www.foo.com",
		"www.foo.com:80":   "*",
		"a.foo.com":        "*.foo.com",
		"baz-bar.foo.com":  "*-bar.foo.com",
		"-bar.foo.com":     "*.foo.com", // a wildcard stands for at least one character
		".foo.com":         "*",
		"foo.com":          "foo.*",
		"foo.bar":          "foo.b*",
		"foo.":             "*",
		"nothing":          "*",
		"":                 "*",
		"upper.example:80": "Upper.Example:80",
	} {
		if got := ht.Find([]byte(authority), false); got == nil || got.Name != want {
			t.Errorf("%q: got %+v, want %s", authority, got, want)
		}
	}
}

func TestHostIgnoringPort(t *testing.T) {
	ht := table3(t, "a.b", "[::1]")
	for authority, want := range map[string]string{"a.b:80": "a.b", "a.b": "a.b", "[::1]:8080": "[::1]", "[::1]": "[::1]"} {
		if got := ht.Find([]byte(authority), true); got == nil || got.Name != want {
			t.Errorf("%q: got %+v", authority, got)
		}
	}
	if got := ht.Find([]byte("x"), true); got != nil {
		t.Errorf("found %s without a virtual host for everything", got.Name)
	}
}

func TestHostConflict(t *testing.T) {
	_, err := NewHostTable([]*VirtualHost{{Name: "a", Domains: []string{"x.y"}}, {Name: "b", Domains: []string{"X.Y"}}})
	if err == nil {
		t.Error("two virtual hosts have one domain")
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	ht := table3(t, "*", "www.foo.com", "*.foo.com", "foo.*")
	for _, a := range []string{"www.foo.com", "x.FOO.com", "foo.x", "y"} {
		b := []byte(a)
		if n := testing.AllocsPerRun(100, func() { ht.Find(b, true) }); n != 0 {
			t.Errorf("%s: %v allocations", a, n)
		}
	}
}

func FuzzFindHost(f *testing.F) {
	f.Add("a.b:80", true)
	f.Fuzz(func(t *testing.T, authority string, ignorePort bool) {
		ht := table3(t, "*", "a.*", "*.b", "a.b")
		if ht.Find([]byte(authority), ignorePort) == nil {
			t.Error("the virtual host for everything was not found")
		}
	})
}
