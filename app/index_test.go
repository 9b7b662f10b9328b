package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// An index is text for tools and has links for browsers; the address that the control plane prints has one.
func TestIndex(t *testing.T) {
	pages := startDebugged(t).pages()
	for path, want := range map[string]string{"/": `<a href="/debug/">`, "/debug/": `<a href="/debug/syncz?pretty">`} {
		q := httptest.NewRequest(http.MethodGet, path, nil)
		q.RemoteAddr = "127.0.0.1:1"
		q.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9")
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, q)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		q.Header.Del("Accept")
		w = httptest.NewRecorder()
		pages.ServeHTTP(w, q)
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "<") || !strings.Contains(w.Body.String(), "debug") {
			t.Errorf("%s as text: %d %s", path, w.Code, w.Body)
		}
	}
}
