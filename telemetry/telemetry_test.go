package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type fakeHeaders map[string]string

func (h fakeHeaders) Get(name string) ([]byte, bool) {
	v, ok := h[name]
	return []byte(v), ok
}

func sampleRecord() *Record {
	return &Record{
		Start: time.Date(2026, 11, 23, 13, 4, 5, 67_000_000, time.UTC), Duration: 12 * time.Millisecond,
		Protocol: ProtocolHTTP11, Method: []byte("GET"), Path: []byte("/new"), OriginalURI: []byte("/old?q=1"),
		Authority: []byte("reviews:9080"), ResponseCode: 503, GRPCStatus: -1, Flags: FlagNoHealthyUpstream | FlagDelayInjected,
		CodeDetails: "no_healthy_upstream", BytesSent: 19, UpstreamCluster: "outbound|9080||reviews.default.svc.cluster.local",
		UpstreamHost:     netip.MustParseAddrPort("127.64.0.3:9080"),
		DownstreamRemote: netip.MustParseAddrPort("10.0.0.9:4242"), RouteName: "default",
		Request: fakeHeaders{"user-agent": `quo"te`, "x-request-id": "abc"}, Response: fakeHeaders{},
	}
}

func TestTextFormat(t *testing.T) {
	f, err := CompileText(DefaultTextFormat, "host", false)
	if err != nil {
		t.Fatal(err)
	}
	got := string(f.Append(nil, sampleRecord()))
	want := `[2026-11-23T13:04:05.067Z] "GET /old?q=1 HTTP/1.1" 503 UH,DI no_healthy_upstream - "-" 0 19 12 - "-" "quo"te" "abc" ` +
		`"reviews:9080" "127.64.0.3:9080" outbound|9080||reviews.default.svc.cluster.local - - 10.0.0.9:4242 - default` + "\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTextFormatOperators(t *testing.T) {
	for format, want := range map[string]string{
		"100%% %HOSTNAME%":                           "100% host",
		"%REQ(USER-AGENT):3%":                        "quo",
		"%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH)%": "/old",
		"%START_TIME(%Y/%m/%dT%H:%M:%S.%3f)%":        "2026/11/23T13:04:05.067",
		"%START_TIME(%s)%":                           "1795439045",
		"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%":   "10.0.0.9",
		"%TRAILER(x)%|%GRPC_STATUS%":                 "-|-",
		"%DYNAMIC_METADATA(a:b)%":                    "-",
	} {
		f, err := CompileText(format, "host", false)
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		if got := string(f.Append(nil, sampleRecord())); got != want {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
	}
}

func TestFormatErrors(t *testing.T) {
	for _, format := range []string{"%NOPE%", "%REQ(x", "%REQ(x)", "%DURATION", "%REQ(x):y%", "%START_TIME(%Q)%"} {
		if _, err := CompileText(format, "", false); err == nil {
			t.Errorf("%s: no error", format)
		}
	}
}

func TestJSONFormat(t *testing.T) {
	f, err := CompileJSON(map[string]string{"b": "%RESPONSE_CODE%", "a": "%REQ(USER-AGENT)%", "c": "%RESP(x)%", "d": "%PROTOCOL% %DURATION%"}, "")
	if err != nil {
		t.Fatal(err)
	}
	got := string(f.Append(nil, sampleRecord()))
	if want := `{"a":"quo\"te","b":503,"c":null,"d":"HTTP/1.1 12"}` + "\n"; got != want {
		t.Errorf("got %s want %s", got, want)
	}
	if _, err := CompileJSON(DefaultJSONFormat(), ""); err != nil {
		t.Error(err)
	}
}

func TestFormatDoesNotAllocate(t *testing.T) {
	f, err := CompileText(DefaultTextFormat, "host", false)
	if err != nil {
		t.Fatal(err)
	}
	r := sampleRecord()
	r.Request, r.Response = nil, nil
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { f.Append(buf, r) }); n != 0 {
		t.Errorf("%v allocations per line", n)
	}
}

func TestStandardMetrics(t *testing.T) {
	r := NewRegistry()
	s := NewStandard(r, "1.0")
	b := s.Bind(StandardLabels{
		Reporter: ReporterSource, Source: Peer{Workload: "productpage-v1", Namespace: "default", App: "productpage"},
		Destination: Peer{Workload: "reviews-v2", CanonicalName: "reviews"},
		Service:     Service{Host: "reviews.default.svc.cluster.local", Name: "reviews", Namespace: "default"},
		Protocol:    "http", Security: "unknown",
	})
	result := &RequestResult{Code: 200, GRPCStatus: -1, Duration: 3 * time.Millisecond, RequestBytes: 300, ResponseBytes: 900}
	var wg sync.WaitGroup
	for shard := range uint32(4) {
		wg.Go(func() {
			for range 25 {
				b.Request(shard, result)
			}
		})
	}
	wg.Wait()
	if n := testing.AllocsPerRun(100, func() { b.Request(1, result) }); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/stats/prometheus", nil))
	text := w.Body.String()
	for _, want := range []string{
		`istio_requests_total{`, `source_workload="productpage-v1"`, `destination_canonical_revision="latest"`,
		`destination_service="reviews.default.svc.cluster.local"`, `response_flags="-"`, `source_principal="unknown"`,
		`istio_request_duration_milliseconds_bucket{`, `istio_build{component="proxy",tag="1.0"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %s", want)
		}
	}
	if !strings.Contains(text, `source_workload_namespace="default"} 201`) && strings.Count(text, "} 201\n") == 0 {
		t.Errorf("201 requests were counted; the text has none of that value:\n%s", text)
	}
}

func TestHistogramBuckets(t *testing.T) {
	h := NewHistogram([]float64{1, 10})
	for _, v := range []float64{0.5, 1, 5, 11} {
		h.Observe(3, v)
	}
	got := h.Value()
	if got.Buckets[1] != 2 || got.Buckets[10] != 3 || got.Count != 4 || got.Sum != 17.5 {
		t.Errorf("got %+v", got)
	}
}

func TestSinkGathersLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := NewSink(&out, nil, time.Second)
		s.Write([]byte("one\n"))
		s.Write([]byte("two\n"))
		time.Sleep(2 * time.Second) // virtual
		synctest.Wait()
		if out.String() != "one\ntwo\n" {
			t.Errorf("got %q", out.String())
		}
		s.Write([]byte("three\n"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(out.String(), "three\n") {
			t.Errorf("the last line is lost: %q", out.String())
		}
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestSinkReportsAndDrops(t *testing.T) {
	s := NewSink(brokenWriter{}, nil, time.Hour)
	line := bytes.Repeat([]byte{'x'}, maxSinkBuffer)
	s.Write(line)
	s.Write(line)
	if err := s.Close(); err == nil || s.Dropped() != 1 {
		t.Errorf("error %v, dropped %d", err, s.Dropped())
	}
}

func TestScopes(t *testing.T) {
	var out bytes.Buffer
	s := NewScopes(&out, false, slog.LevelInfo)
	l := s.Logger("xds")
	l.Debug("hidden")
	if err := s.SetLevel("xds", "debug"); err != nil {
		t.Fatal(err)
	}
	l.Debug("seen", "proxy", "a")
	if got := out.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "scope=xds proxy=a") {
		t.Errorf("got %s", got)
	}
	if err := s.SetLevel("nope", "debug"); err == nil {
		t.Error("a scope that does not exist was accepted")
	}
	if err := s.SetLevel("", "loud"); err == nil {
		t.Error("a level that does not exist was accepted")
	}
	if s.Levels()["xds"] != "debug" {
		t.Errorf("levels %v", s.Levels())
	}
}
