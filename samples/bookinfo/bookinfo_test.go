package bookinfo

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client makes connections of its own, which end with the test.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// start runs a service and returns its address.
func start(t *testing.T, name string, c Config) string {
	t.Helper()
	if c.Client == nil {
		c.Client = client(t)
	}
	s, err := New(name, c)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func get(t *testing.T, c *http.Client, url string) (int, string, http.Header) {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

// sameJSON compares JSON texts by meaning, and the order of the outermost keys.
func sameJSON(t *testing.T, what, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Errorf("%s: %v in %q", what, err, got)
		return
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestDetails(t *testing.T) {
	at := start(t, "details", Config{})
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/details/7": {200, `{"id":7,"author":"William Shakespeare","year":1595,"type":"paperback","pages":200,
			"publisher":"PublisherA","language":"English","ISBN-10":"1234567890","ISBN-13":"123-1234567890"}`},
		"/details/x": {400, `{"error":"please provide numeric product id"}`},
		"/health":    {200, `{"status":"Details is healthy"}`},
	} {
		status, body, h := get(t, client(t), "http://"+at+path)
		if status != want.status || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", path, status, h.Get("Content-Type"))
		}
		sameJSON(t, path, body, want.body)
	}
}

func TestRatings(t *testing.T) {
	at := start(t, "ratings", Config{Version: "v1"})
	c := client(t)
	_, body, _ := get(t, c, "http://"+at+"/ratings/0")
	sameJSON(t, "at first", body, `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)
	for _, post := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/ratings/0", `{"Reviewer1":1,"Reviewer2":2}`, 200, `{"id":0,"ratings":{"Reviewer1":1,"Reviewer2":2}}`},
		{"/ratings/x", `{}`, 400, `{"error":"please provide numeric product ID"}`},
		{"/ratings/0", `{`, 400, `{"error":"please provide valid ratings JSON"}`},
	} {
		res, err := c.Post("http://"+at+post.path, "application/json", strings.NewReader(post.body))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != post.status {
			t.Errorf("%s: %d", post.path, res.StatusCode)
		}
		sameJSON(t, post.path, string(b), post.want)
	}
	_, body, _ = get(t, c, "http://"+at+"/ratings/0")
	sameJSON(t, "afterwards", body, `{"id":0,"ratings":{"Reviewer1":1,"Reviewer2":2}}`)
}

func TestRatingsStoreIsBounded(t *testing.T) {
	s := &ratingsStore{books: map[int]bookRatings{}}
	for i := range maxRatedBooks {
		if !s.keep(bookRatings{ID: i}) {
			t.Fatalf("book %d refused", i)
		}
	}
	if s.keep(bookRatings{ID: maxRatedBooks}) || !s.keep(bookRatings{ID: 3}) {
		t.Error("the limit is for new books alone")
	}
}

func TestRatingsThatMisbehave(t *testing.T) {
	c := client(t)
	for version, want := range map[string][]int{"v-faulty": {200, 503, 200, 503}, "v-unhealthy": {500, 500}} {
		at := start(t, "ratings", Config{Version: version})
		for i, status := range want {
			if got, _, _ := get(t, c, "http://"+at+"/ratings/0"); got != status {
				t.Errorf("%s, request %d: %d, want %d", version, i, got, status)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		h := newRatings(Config{Version: "v-delayed"})
		for _, want := range []time.Duration{0, slowRating, 0} {
			began := time.Now()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/ratings/0", nil))
			if took := time.Since(began); took != want || w.Code != 200 {
				t.Errorf("%d after %v, want %v", w.Code, took, want)
			}
		}
	})
}

func TestZeroStarsAreStars(t *testing.T) {
	ratings := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, 200, bookRatings{Ratings: map[string]int{"Reviewer1": 0, "Reviewer2": 3}})
	}))
	defer ratings.Close()
	reviews := start(t, "reviews", Config{StarColor: "black", Ratings: ratings.Listener.Addr().String()})
	if _, body, _ := get(t, client(t), "http://"+reviews+"/reviews/0"); !strings.Contains(body, `"rating":{"stars":0,"color":"black"}`) {
		t.Error(body)
	}
	page := start(t, "productpage", Config{Details: "127.0.0.1:1", Reviews: reviews})
	if _, body, _ := get(t, client(t), "http://"+page+"/productpage"); !strings.Contains(body, "0 of 5 stars, black") {
		t.Error(body)
	}
}

func TestReviewsByVersion(t *testing.T) {
	ratings := start(t, "ratings", Config{Version: "v1"})
	for _, c := range []struct{ color, ratings, want string }{
		{"", "127.0.0.1:1", ``},
		{"black", ratings, `{"stars":5,"color":"black"} {"stars":4,"color":"black"}`},
		{"red", ratings, `{"stars":5,"color":"red"} {"stars":4,"color":"red"}`},
		{"red", "127.0.0.1:1", `{"error":"Ratings service is currently unavailable"} {"error":"Ratings service is currently unavailable"}`},
	} {
		at := start(t, "reviews", Config{StarColor: c.color, Ratings: c.ratings, Pod: "reviews-vX", Cluster: "null"})
		_, body, _ := get(t, client(t), "http://"+at+"/reviews/0")
		var got struct {
			ID, Podname, Clustername string
			Reviews                  []struct {
				Reviewer, Text string
				Rating         json.RawMessage
			}
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if got.ID != "0" || got.Podname != "reviews-vX" || got.Clustername != "null" || len(got.Reviews) != 2 {
			t.Errorf("%+v", got)
		}
		var ratings []string
		for _, r := range got.Reviews {
			if len(r.Rating) > 0 {
				ratings = append(ratings, string(r.Rating))
			}
		}
		if text := strings.Join(ratings, " "); text != c.want {
			t.Errorf("%q: ratings %s, want %s", c.color, text, c.want)
		}
	}
}

// TestPatience: v2 waits for ratings longer than productpage waits for it, v3
// does not.
func TestPatience(t *testing.T) {
	for color, want := range map[string]time.Duration{"black": blackPatience, "red": otherPatience} {
		synctest.Test(t, func(t *testing.T) {
			h := newReviews(Config{StarColor: color, Ratings: "ratings:9080", Client: silent()})
			began := time.Now()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/reviews/0", nil))
			if took := time.Since(began); took != want {
				t.Errorf("%s gives up after %v, want %v", color, took, want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		h := newProductPage(Config{Details: "details:9080", Reviews: "reviews:9080", Client: silent()})
		began := time.Now()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/products/0/reviews", nil))
		if took := time.Since(began); took != reviewTries*pagePatience {
			t.Errorf("productpage gives up after %v", took)
		}
		sameJSON(t, "answer", w.Body.String(), `{"error":"Sorry, product reviews are currently unavailable for this book."}`)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// silent is a client that never gets an answer.
func silent() *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})}
}

// recorder is a client that notes what was asked and always gets a 200 "{}".
type recorder struct {
	mu   sync.Mutex
	seen map[string]http.Header
}

func (rec *recorder) client() *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		if rec.seen == nil {
			rec.seen = map[string]http.Header{}
		}
		rec.seen[r.URL.String()] = r.Header.Clone()
		return &http.Response{StatusCode: 200, Status: "200 OK", Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	})}
}

func TestHeadersArePassedOn(t *testing.T) {
	in := http.Header{}
	for _, name := range []string{"x-request-id", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags", "b3",
		"traceparent", "tracestate", "x-ot-span-context", "user-agent", "authorization", "jwt", "end-user", "accept", "host", "x-other"} {
		in.Set(name, "value of "+name)
	}
	in.Set("Cookie", cookieName+"="+seal([]byte("key"), "jason"))
	rec := &recorder{}
	c := Config{Client: rec.client(), SessionKey: []byte("key"), Details: "details:9080", Reviews: "reviews:9080", Ratings: "ratings:9080", StarColor: "black"}

	r := httptest.NewRequest("GET", "/productpage", nil)
	r.Header = in
	newProductPage(c).ServeHTTP(httptest.NewRecorder(), r)
	r = httptest.NewRequest("GET", "/reviews/0", nil)
	r.Header = in
	newReviews(c).ServeHTTP(httptest.NewRecorder(), r)

	for _, target := range []string{"http://details:9080/details/0", "http://reviews:9080/reviews/0", "http://ratings:9080/ratings/0"} {
		got := rec.seen[target]
		want := in.Clone()
		for _, dropped := range []string{"Accept", "Host", "X-Other"} {
			want.Del(dropped)
		}
		if !strings.Contains(target, "ratings") {
			want.Set("End-User", "jason") // from the session, whatever the client claims
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", target, diff)
		}
	}
	// Nobody can be somebody without a session.
	r = httptest.NewRequest("GET", "/productpage", nil)
	r.Header.Set("End-User", "jason")
	newProductPage(c).ServeHTTP(httptest.NewRecorder(), r)
	if got := rec.seen["http://reviews:9080/reviews/0"].Get("End-User"); got != "" {
		t.Errorf("end-user %q without a session", got)
	}
}

func TestProductPage(t *testing.T) {
	ratings := start(t, "ratings", Config{Version: "v1"})
	for _, c := range []struct {
		name, color, ratings string
		want, not            []string
	}{
		{"v1", "", ratings, []string{"<title>Simple Bookstore App</title>", "reviews-v1", "Reviewer1", "not asked"}, []string{"of 5 stars", "unavailable"}},
		{"v2", "black", ratings, []string{"5 of 5 stars, black", "4 of 5 stars, black", `served black`}, []string{"stars red", "unavailable"}},
		{"v3", "red", ratings, []string{"5 of 5 stars, red", `served red`}, []string{"stars black", "unavailable"}},
		{"v2 without ratings", "black", "127.0.0.1:1", []string{"Ratings service is currently unavailable"}, []string{"of 5 stars"}},
	} {
		reviews := start(t, "reviews", Config{StarColor: c.color, Ratings: c.ratings, Pod: "reviews-" + c.name})
		page := start(t, "productpage", Config{Details: start(t, "details", Config{}), Reviews: reviews, Ratings: c.ratings, Pod: "productpage-v1"})
		status, body, _ := get(t, client(t), "http://"+page+"/productpage")
		if status != 200 {
			t.Errorf("%s: %d", c.name, status)
		}
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the page lacks %q", c.name, want)
			}
		}
		for _, not := range append(c.not, "Error fetching", "http-equiv", "<script", "ZgotmplZ") {
			if strings.Contains(body, not) {
				t.Errorf("%s: the page has %q", c.name, not)
			}
		}
	}
}

func TestProductPageWhenAllIsDown(t *testing.T) {
	page := start(t, "productpage", Config{Details: "127.0.0.1:1", Reviews: "127.0.0.1:1", Ratings: "127.0.0.1:1"})
	status, body, _ := get(t, client(t), "http://"+page+"/productpage")
	if status != 200 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"Error fetching product details!", "Sorry, product details are currently unavailable for this book.",
		"Error fetching product reviews!", "Sorry, product reviews are currently unavailable for this book."} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestAPI(t *testing.T) {
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) }))
	defer failing.Close()
	page := start(t, "productpage", Config{
		Details: start(t, "details", Config{}), Reviews: failing.Listener.Addr().String(), Ratings: start(t, "ratings", Config{}),
	})
	for path, want := range map[string]struct {
		status int
		has    string
	}{
		"/api/v1/products":           {200, `"title":"The Comedy of Errors"`},
		"/api/v1/products/0":         {200, `"ISBN-10":"1234567890"`},
		"/api/v1/products/0/ratings": {200, `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`},
		"/api/v1/products/0/reviews": {418, `{"error":"Sorry, product reviews are currently unavailable for this book."}`},
		"/api/v1/products/x":         {404, ""},
		"/health":                    {200, "Product page is healthy"},
		"/":                          {200, "/productpage"},
		"/nothing":                   {404, ""},
	} {
		status, body, _ := get(t, client(t), "http://"+page+path)
		if status != want.status || !strings.Contains(body, want.has) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestLogin(t *testing.T) {
	page := start(t, "productpage", Config{Details: "127.0.0.1:1", Reviews: "127.0.0.1:1", SessionKey: []byte("key")})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := client(t)
	c.Jar = jar
	res, err := c.PostForm("http://"+page+"/login", url.Values{"username": {"<b>jason"}, "passwd": {"any"}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.Request.URL.Path != "/productpage" {
		t.Errorf("after the login at %s", res.Request.URL)
	}
	if _, body, _ := get(t, c, "http://"+page+"/productpage"); !strings.Contains(body, "&lt;b&gt;jason</span>") || !strings.Contains(body, "Sign out") {
		t.Error("the page doesn't know the user")
	}
	if _, body, _ := get(t, c, "http://"+page+"/logout"); strings.Contains(body, "jason</span>") || !strings.Contains(body, "Sign in") {
		t.Error("the page still knows the user")
	}
}

func TestSessionCookie(t *testing.T) {
	key := []byte("key")
	good := seal(key, "jason")
	for value, want := range map[string]string{
		good:                              "jason",
		seal(key, "a\r\nb"):               "ab",
		seal([]byte("other"), "eve"):      "",
		good + "x":                        "",
		strings.Replace(good, ".", "", 1): "",
		"":                                "",
		".":                               "",
		strings.Repeat("x", 10_000):       "",
	} {
		if got := unseal(key, value); got != want {
			t.Errorf("%.40q: %q, want %q", value, got, want)
		}
	}
}

func TestLoginLeadsNowhereElse(t *testing.T) {
	h := newProductPage(Config{})
	for referer, want := range map[string]string{
		"": "/productpage", "http://evil.example/": "/", "http://evil.example/x": "/productpage", "http://shop/productpage?x=1": "/productpage", "::": "/productpage",
	} {
		r := httptest.NewRequest("GET", "/logout", nil)
		r.Header.Set("Referer", referer)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("Location"); got != want {
			t.Errorf("from %q to %q, want %q", referer, got, want)
		}
	}
}

func TestServeEndsGracefully(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered := make(chan struct{})
	finish := make(chan struct{})
	s := &Service{Name: "test", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-finish
		_, _ = w.Write([]byte("whole"))
	})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	answer := make(chan string, 1)
	c := client(t)
	go func() {
		_, body, _ := get(t, c, "http://"+l.Addr().String()+"/")
		answer <- body
	}()
	<-entered
	cancel()
	close(finish)
	if got := <-answer; got != "whole" {
		t.Errorf("the request under way got %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestUnknownService(t *testing.T) {
	if _, err := New("reveiws", Config{}); err == nil || !strings.Contains(err.Error(), "reveiws") {
		t.Error(err)
	}
}
