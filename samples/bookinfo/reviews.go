package bookinfo

import (
	"context"
	"log"
	"net/http"
	"strconv"
	"time"
)

// How long reviews waits for ratings: v2's limit is longer than productpage's
// patience, which is a bug that fault injection brings to light; v3 has it
// mended.
const (
	blackPatience = 10 * time.Second
	otherPatience = 2500 * time.Millisecond
)

// bookReviews is the answer of reviews.
type bookReviews struct {
	ID      string   `json:"id"`
	Pod     string   `json:"podname"`
	Cluster string   `json:"clustername"`
	Reviews []review `json:"reviews"`
}

type review struct {
	Reviewer string  `json:"reviewer"`
	Text     string  `json:"text"`
	Rating   *rating `json:"rating,omitempty"`
}

// rating has either stars and a colour, or an error.
type rating struct {
	Stars *int   `json:"stars,omitempty"`
	Color string `json:"color,omitempty"`
	Error string `json:"error,omitempty"`
}

type reviewsService struct {
	Config
	patience time.Duration
}

func newReviews(c Config) http.Handler {
	s := &reviewsService{Config: c, patience: otherPatience}
	if c.StarColor == "black" {
		s.patience = blackPatience
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", health("Reviews"))
	mux.HandleFunc("GET /reviews/{id}", s.serve)
	return mux
}

func (s *reviewsService) serve(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	answer := bookReviews{
		ID: strconv.Itoa(id), Pod: s.Pod, Cluster: s.Cluster,
		Reviews: []review{
			{Reviewer: "Reviewer1", Text: "Two pairs of twins, one long day of blows meant for somebody else, and not a dull minute in it. I laughed out loud on the train."},
			{Reviewer: "Reviewer2", Text: "Great fun, and over before you have counted the Dromios. Don't look here for the depth of the later plays."},
		},
	}
	if s.StarColor != "" {
		stars := s.stars(r, id)
		for i := range answer.Reviews {
			given, ok := stars[answer.Reviews[i].Reviewer]
			if ok {
				answer.Reviews[i].Rating = &rating{Stars: &given, Color: s.StarColor}
			} else {
				answer.Reviews[i].Rating = &rating{Error: "Ratings service is currently unavailable"}
			}
		}
	}
	writeJSON(w, http.StatusOK, answer)
}

// stars asks ratings; nil when it doesn't answer.
func (s *reviewsService) stars(r *http.Request, id int) map[string]int {
	ctx, cancel := context.WithTimeout(r.Context(), s.patience)
	defer cancel()
	header := forward(r.Header, tracing(), session(), []string{"End-User"})
	var book bookRatings
	if _, err := call(ctx, s.Client, "http://"+s.Ratings+"/ratings/"+strconv.Itoa(id), header, &book); err != nil {
		log.Printf("ratings: %v", err)
		return nil
	}
	return book.Ratings
}
