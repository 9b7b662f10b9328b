package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/config"
)

// Of one proxy it is shown what it lacks, and what it runs with otherwise than it
// shall.
func TestProxyStatusOfOne(t *testing.T) {
	c, dir := newControl(t)
	c.answer("GET "+PathProxies, 200, sampleProxies())
	c.answer("GET "+PathProxies+"/{name}/difference", 200, DifferenceResponse{Total: 3, Differences: []Difference{
		{Type: "RDS", Name: "9080", State: DifferenceRefused, Reason: "route 9080: bad regex", Wanted: "v2", Has: "v1",
			WantedContent: json.RawMessage(`{"name":"9080","virtual_hosts":[{"name":"b"}]}`), HasContent: json.RawMessage(`{"name":"9080","virtual_hosts":[{"name":"a"}]}`)},
		{Type: "SDS", Name: "default", State: DifferenceSent, Wanted: "v2"},
	}})
	c.answer("GET "+PathProxies+"/{name}/wanted", 200, []byte(`{"configs":[{"dynamic_active_clusters":[{"cluster":{"name":"same","type":"EDS","@type":"x"}},
		{"cluster":{"name":"other","type":"EDS"}},{"cluster":{"name":"missing"}}]},
		{"dynamic_route_configs":[{"route_config":{"name":"80","vhds":{},"virtual_hosts":[{"name":"a"},{"name":"b"}]}},{"route_config":{"name":"unused"}}]}]}`))
	c.answer("GET "+PathProxies+"/{name}/admin/config_dump", 200, []byte(`{"configs":[{"static_clusters":[{"cluster":{"name":"own"}}],"dynamic_active_clusters":[
		{"cluster":{"type":"EDS","name":"same"}},{"cluster":{"name":"other","type":"STATIC"}}]},
		{"dynamic_route_configs":[{"route_config":{"name":"80","vhds":{},"virtual_hosts":[{"name":"b"}]}}]}]}`))
	out, err := run(t, dir, "proxy-status", "product")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"It lacks 3 of what it shall have", "RDS 9080: refused\n  route 9080: bad regex", "--- has v1", "+++ wanted v2",
		"-      \"name\": \"a\"", "+      \"name\": \"b\"", "SDS default: sent, not answered\n  has none, wanted v2", "and 1 more",
		"It runs with something else", "CDS missing", "CDS other", "-  \"type\": \"STATIC\""} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	for _, unwanted := range []string{"CDS same", "CDS own", "RDS 80", "RDS unused"} {
		if strings.Contains(out, unwanted) {
			t.Errorf("it has %q:\n%s", unwanted, out)
		}
	}
	out, err = run(t, dir, "proxy-status", "product", "-o", "json")
	var report proxyReport
	if err != nil || json.Unmarshal([]byte(out), &report) != nil || report.Name != "productpage-v1.default" || len(report.Live) != 2 || !report.Compared {
		t.Errorf("%v\n%s", err, out)
	}
	// Whose admin address is not known is not asked.
	c.answer("GET "+PathProxies+"/reviews-v1.default/difference", 200, DifferenceResponse{})
	if out, err = run(t, dir, "ps", "reviews-v1"); err != nil || !strings.Contains(out, "acknowledged everything") || strings.Contains(out, "It runs") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestWhoHas(t *testing.T) {
	c, dir := newControl(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c.answer("GET "+PathWhoHas, 200, WhoHasResponse{Object: config.Ref{Kind: "VirtualService", Namespace: "prod", Name: "reviews"}, Changed: &at,
		Proxies: []Holder{{Proxy: "a.prod", Needs: true, Since: &at}, {Proxy: "b.prod", Needs: true}, {Proxy: "c.prod", Since: &at},
			{Proxy: "d.prod", Needs: true, Refused: []string{"RDS 9080"}, Reason: "bad regex"}}})
	out, err := run(t, dir, "who-has", "vs", "reviews", "-n", "prod")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"VirtualService prod/reviews, as it is since 2026-01-02T03:04:05Z", "a.prod yes HAS IT 2026-01-02T03:04:05Z",
		"b.prod yes WAITING -", "d.prod yes REFUSED -", "d.prod refused RDS 9080:", "bad regex", "1 other proxies don't need it"} {
		if !strings.Contains(squeeze(out), squeeze(want)) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	if last := c.seen[len(c.seen)-1]; !strings.Contains(last, "resource=VirtualService%2Fprod%2Freviews") {
		t.Errorf("asked %s", last)
	}
	if out, err = run(t, dir, "who-has", "vs/reviews", "--all"); err != nil || !strings.Contains(squeeze(out), squeeze("c.prod no HAS IT")) {
		t.Errorf("%v\n%s", err, out)
	}
	for _, args := range [][]string{{"who-has", "vs"}, {"who-has", "nothing", "x"}} {
		if _, err := run(t, dir, args...); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestWorkloadConfigure(t *testing.T) {
	c, dir := newControl(t)
	c.answer("POST "+PathCredentials, 200, CredentialsResponse{Token: "secret", Root: "PEM\n"})
	files := filepath.Join(dir, "files")
	out, err := run(t, dir, "workload", "configure", "door", "-n", "edge", "-o", files)
	if err != nil || !strings.Contains(out, "edge/door") {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string]string{tokenFile: "secret\n", rootFile: "PEM\n"} {
		b, err := os.ReadFile(filepath.Join(files, name))
		if err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if info, err := os.Stat(filepath.Join(files, tokenFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's permissions: %v, %v", info.Mode(), err)
	}
}
