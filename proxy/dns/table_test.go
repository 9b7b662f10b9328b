package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func addrs(s ...string) []netip.Addr {
	var list []netip.Addr
	for _, a := range s {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

func testTable() *Table {
	return NewTable(TableConfig{
		Hosts: []Host{
			{Name: "reviews.default.svc.cluster.local", Addrs: addrs("240.240.0.1")},
			{Name: "Ratings.Default.svc.cluster.local.", Addrs: addrs("240.240.0.2", "fd00::2")},
			{Name: "reviews.other.svc.cluster.local", Addrs: addrs("240.240.0.3")},
			{Name: "pod-0.db.default.svc.cluster.local", Addrs: addrs("10.0.0.9")},
			{Name: "api.example.com", Addrs: addrs("240.240.0.4")},
			{Name: "*.example.com", Addrs: addrs("240.240.0.5")},
			{Name: "*.deep.example.com", Addrs: addrs("240.240.0.6")},
			{Name: "six.example.net", Addrs: addrs("fd00::7")},
			{Name: "nowhere.example.net"},
			{Name: "reviews.default", Addrs: addrs("240.240.0.8")},
			{Name: "mapped.example.net", Addrs: addrs("::ffff:240.240.0.9")},
		},
		Namespace: "default",
		Domain:    "cluster.local",
		Search:    []string{"corp.example.org.", ""},
	})
}

func TestLookup(t *testing.T) {
	table := testTable()
	for name, want := range map[string]string{
		"reviews":                           "240.240.0.1",
		"REVIEWS.":                          "240.240.0.1",
		"reviews.default.svc":               "240.240.0.1",
		"reviews.default.svc.cluster.local": "240.240.0.1",
		"reviews.default":                   "240.240.0.8", // a host of that very name goes before a short name
		"reviews.other":                     "240.240.0.3",
		"reviews.other.svc":                 "240.240.0.3",
		"ratings":                           "240.240.0.2 fd00::2",
		"pod-0.db":                          "10.0.0.9",
		"api.example.com":                   "240.240.0.4",
		"x.example.com":                     "240.240.0.5",
		"y.x.example.com":                   "240.240.0.5",
		"a.deep.example.com":                "240.240.0.6",
		"deep.example.com":                  "240.240.0.5",
		"example.com":                       "",
		"nowhere.example.net":               "",
		"svc":                               "",
		"unknown":                           "",
		"":                                  "",
		".":                                 "",
		"reviews.corp.example.org":          "240.240.0.1",
		"reviews.other.corp.example.org":    "240.240.0.3",
		"ratings.default.svc.cluster.local.corp.example.org.": "240.240.0.2 fd00::2",
		"unknown.corp.example.org":                            "",
		"mapped.example.net":                                  "240.240.0.9",
	} {
		got, ok := table.Lookup(name)
		var text []string
		for _, a := range got {
			text = append(text, a.String())
		}
		if strings.Join(text, " ") != want || ok != (want != "") {
			t.Errorf("%q: %v %v, want %q", name, got, ok, want)
		}
	}
}

func TestReverseIsTheFullName(t *testing.T) {
	table := testTable()
	for addr, want := range map[string]string{
		"240.240.0.1":        "reviews.default.svc.cluster.local",
		"fd00::2":            "ratings.default.svc.cluster.local",
		"::ffff:240.240.0.9": "mapped.example.net",
		"240.240.0.5":        "", // only wildcards have it
		"192.0.2.1":          "",
	} {
		if got, _ := table.Reverse(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
}

func TestOwns(t *testing.T) {
	table := testTable()
	for name, want := range map[string]bool{
		"x.default.svc.cluster.local.": true, "svc.cluster.local": true, "SVC.Cluster.Local": true,
		"cluster.local": false, "xsvc.cluster.local": false, "example.com": false,
	} {
		if table.Owns(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
	if NewTable(TableConfig{}).Owns("svc.cluster.local") {
		t.Error("a table without a domain owns a zone")
	}
}

func TestNamesAreSorted(t *testing.T) {
	table := NewTable(TableConfig{
		Hosts:  []Host{{Name: "b.ns.svc.c.l", Addrs: addrs("10.0.0.1")}, {Name: "*.a", Addrs: addrs("10.0.0.2")}},
		Domain: "c.l", Namespace: "other",
	})
	want := []string{"*.a", "b.ns", "b.ns.svc", "b.ns.svc.c.l"}
	if diff := cmp.Diff(want, table.Names()); diff != "" {
		t.Error(diff)
	}
}

func TestParseResolvConf(t *testing.T) {
	conf := `# comment
domain old.example.com
nameserver 192.0.2.1 ; note
nameserver fe80::1%eth0
nameserver not-an-address
nameserver
options ndots:5 timeout:1
nameserver 192.0.2.3
nameserver 192.0.2.4
search One.example.com. two.example.com
options ndots:99
`
	got, err := ParseResolvConf(strings.NewReader(conf))
	if err != nil {
		t.Fatal(err)
	}
	want := Resolvers{
		Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53"), netip.MustParseAddrPort("192.0.2.3:53")},
		Search:  []string{"one.example.com", "two.example.com"},
		Ndots:   15,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	got, err = ParseResolvConf(strings.NewReader(""))
	if err != nil || len(got.Servers) != 1 || got.Servers[0].String() != "127.0.0.1:53" || got.Ndots != 1 {
		t.Errorf("of nothing: %v %v", got, err)
	}
}

func FuzzLookup(f *testing.F) {
	f.Add("reviews.corp.example.org.")
	f.Add("..")
	f.Add("*.example.com")
	table := testTable()
	f.Fuzz(func(t *testing.T, name string) {
		if got, ok := table.Lookup(name); ok && len(got) == 0 {
			t.Errorf("%q is known and has no address", name)
		}
		table.Owns(name)
		reverseAddr(name)
	})
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add("nameserver ::1\nsearch a b\noptions ndots:2")
	f.Fuzz(func(t *testing.T, conf string) {
		got, err := ParseResolvConf(strings.NewReader(conf))
		if err == nil && (len(got.Servers) == 0 || len(got.Servers) > maxServers || len(got.Search) > maxSearch || got.Ndots < 0 || got.Ndots > maxNdots) {
			t.Errorf("%+v", got)
		}
	})
}
