package bookinfo

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxRatingsBody = 64 << 10
	maxRatedBooks  = 1000
	// slowRating is how late every second answer of version v-delayed is.
	slowRating = 7 * time.Second
)

// bookRatings is the answer of ratings.
type bookRatings struct {
	ID      int            `json:"id"`
	Ratings map[string]int `json:"ratings"`
}

// ratingsStore keeps what was posted.
type ratingsStore struct {
	mu    sync.Mutex
	books map[int]bookRatings
}

func newRatings(c Config) http.Handler {
	s := &ratingsStore{books: map[int]bookRatings{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", health("Ratings"))
	mux.HandleFunc("GET /ratings/{id}", s.get)
	mux.HandleFunc("POST /ratings/{id}", s.post)
	return misbehave(c.Version, mux)
}

// misbehave makes the versions for trying out outlier detection and timeouts:
// v-faulty refuses every second rating, v-delayed is late with it, v-unhealthy
// isn't well at all.
func misbehave(version string, next http.Handler) http.Handler {
	var n atomic.Uint64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case version == "v-unhealthy":
			writeJSON(w, http.StatusInternalServerError, failure{"Ratings is not healthy"})
			return
		case r.URL.Path == "/health" || n.Add(1)%2 == 1:
		case version == "v-faulty":
			writeJSON(w, http.StatusServiceUnavailable, failure{"Service unavailable"})
			return
		case version == "v-delayed":
			late := time.NewTimer(slowRating)
			defer late.Stop()
			select {
			case <-late.C:
			case <-r.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func bookID(w http.ResponseWriter, r *http.Request) (int, bool) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		writeJSON(w, http.StatusBadRequest, failure{"please provide numeric product ID"})
	}
	return id, err == nil
}

func (s *ratingsStore) get(w http.ResponseWriter, r *http.Request) {
	if id, ok := bookID(w, r); ok {
		writeJSON(w, http.StatusOK, s.of(id))
	}
}

func (s *ratingsStore) of(id int) bookRatings {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.books[id]; ok {
		return b
	}
	return bookRatings{ID: id, Ratings: map[string]int{"Reviewer1": 5, "Reviewer2": 4}}
}

func (s *ratingsStore) post(w http.ResponseWriter, r *http.Request) {
	id, ok := bookID(w, r)
	if !ok {
		return
	}
	var given map[string]int
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRatingsBody)).Decode(&given); err != nil {
		writeJSON(w, http.StatusBadRequest, failure{"please provide valid ratings JSON"})
		return
	}
	book := bookRatings{ID: id, Ratings: given}
	if !s.keep(book) {
		writeJSON(w, http.StatusInsufficientStorage, failure{"too many books have ratings"})
		return
	}
	writeJSON(w, http.StatusOK, book)
}

// keep stores the ratings, which nobody changes any more. It refuses when it
// holds too many already.
func (s *ratingsStore) keep(b bookRatings) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.books[b.ID]; !known && len(s.books) >= maxRatedBooks {
		return false
	}
	s.books[b.ID] = b
	return true
}
