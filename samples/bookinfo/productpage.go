package bookinfo

import (
	"bytes"
	"context"
	"encoding/json"
	"log"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// pagePatience is how long productpage waits for another service, and
// reviewTries how often it asks reviews.
const (
	pagePatience = 3 * time.Second
	reviewTries  = 2
)

// product is one book of the catalogue.
type product struct {
	ID              int    `json:"id"`
	Title           string `json:"title"`
	DescriptionHTML string `json:"descriptionHtml"`
}

func products() []product {
	return []product{{
		ID:    0,
		Title: "The Comedy of Errors",
		DescriptionHTML: `<b>William Shakespeare's</b> shortest play, and one of his first: two brothers, ` +
			`twins, come to the same town with two servants, twins as well, and nobody can tell who is whose. ` +
			`<a href="https://en.wikipedia.org/wiki/The_Comedy_of_Errors">More at Wikipedia</a>`,
	}}
}

type productPage struct {
	Config
	page *page
}

func newProductPage(c Config) http.Handler {
	p := &productPage{Config: c, page: newPage()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /index.html", p.index)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("Product page is healthy"))
	})
	mux.HandleFunc("GET /productpage", p.front)
	mux.HandleFunc("POST /login", p.login)
	mux.HandleFunc("GET /logout", p.logout)
	mux.HandleFunc("GET /api/v1/products", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, products())
	})
	mux.HandleFunc("GET /api/v1/products/{id}", p.api(p.details))
	mux.HandleFunc("GET /api/v1/products/{id}/reviews", p.api(p.reviews))
	mux.HandleFunc("GET /api/v1/products/{id}/ratings", p.api(p.ratings))
	return mux
}

// result is what another service had to say.
type result struct {
	Status int
	Body   json.RawMessage
	Took   time.Duration
	Tries  int
}

// header is what productpage passes on: the trace, the session, and the user
// that has signed in.
func (p *productPage) header(r *http.Request) http.Header {
	h := forward(r.Header, tracing(), session())
	if user := p.user(r); user != "" {
		h.Set("End-User", user)
	}
	return h
}

func (p *productPage) details(r *http.Request, id string) result {
	return p.ask(r, 1, "http://"+p.Details+"/details/"+id, "Sorry, product details are currently unavailable for this book.")
}

func (p *productPage) reviews(r *http.Request, id string) result {
	return p.ask(r, reviewTries, "http://"+p.Reviews+"/reviews/"+id, "Sorry, product reviews are currently unavailable for this book.")
}

func (p *productPage) ratings(r *http.Request, id string) result {
	return p.ask(r, 1, "http://"+p.Ratings+"/ratings/"+id, "Sorry, product ratings are currently unavailable for this book.")
}

// ask tries a few times, and gives the apology with the last status (500 when
// there was no answer at all).
func (p *productPage) ask(r *http.Request, tries int, target, apology string) (res result) {
	began := time.Now()
	for res.Tries = 1; ; res.Tries++ {
		ctx, cancel := context.WithTimeout(r.Context(), pagePatience)
		status, err := call(ctx, p.Client, target, p.header(r), &res.Body)
		cancel()
		res.Took = time.Since(began)
		if err == nil {
			res.Status = status
			return res
		}
		log.Printf("try %d: %v", res.Tries, err)
		if res.Tries >= tries || r.Context().Err() != nil {
			res.Status = status
			break
		}
	}
	if res.Status == 0 || res.Status == http.StatusOK {
		res.Status = http.StatusInternalServerError
	}
	res.Body, _ = json.Marshal(failure{apology}) // a string always marshals
	return res
}

// api serves another service's answer as our own.
func (p *productPage) api(ask func(*http.Request, string) result) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		res := ask(r, strconv.Itoa(id))
		writeJSON(w, res.Status, res.Body)
	}
}

func (p *productPage) index(w http.ResponseWriter, r *http.Request) {
	p.render(w, "index", view{User: p.user(r), Product: products()[0], Pod: p.Pod})
}

func (p *productPage) front(w http.ResponseWriter, r *http.Request) {
	v := view{User: p.user(r), Product: products()[0], Pod: p.Pod}
	v.takeDetails(p.details(r, "0"))
	v.takeReviews(p.reviews(r, "0"))
	p.render(w, "product", v)
}

func (p *productPage) render(w http.ResponseWriter, name string, v view) {
	var b bytes.Buffer
	if err := p.page.execute(&b, name, v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = b.WriteTo(w)
}

func (p *productPage) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	user := r.PostFormValue("username")
	if len(user) > maxUser {
		http.Error(w, "this user name is too long", http.StatusBadRequest)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: seal(p.SessionKey, user), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	back(w, r)
}

func (p *productPage) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1})
	back(w, r)
}

// back leads to where the user came from, if that was a page of ours: only its
// path counts, so nobody can be led elsewhere.
func back(w http.ResponseWriter, r *http.Request) {
	target := "/productpage"
	if ref, err := url.Parse(r.Referer()); err == nil && ref.Path == "/" {
		target = "/"
	}
	http.Redirect(w, r, target, http.StatusFound)
}

func (p *productPage) user(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	return unseal(p.SessionKey, c.Value)
}
