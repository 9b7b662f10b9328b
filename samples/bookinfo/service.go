package bookinfo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Config is what a service is told. Addresses are HOST:PORT.
type Config struct {
	Version string // v1, v2, v3 …
	Pod     string // what the service calls itself in its answers
	Cluster string // the cluster's name, in answers of reviews

	Details, Reviews, Ratings string

	// StarColor is the colour of the stars of reviews; empty means that it
	// doesn't ask for ratings.
	StarColor string
	// SessionKey signs the cookie of a login. Replicas need the same.
	SessionKey []byte
	// Client makes the calls to other services.
	Client *http.Client
}

// Service is one of the four.
type Service struct {
	Name    string
	Handler http.Handler
}

// New makes the service of that name.
func New(name string, c Config) (*Service, error) {
	makers := map[string]func(Config) http.Handler{
		"productpage": newProductPage,
		"details":     newDetails,
		"reviews":     newReviews,
		"ratings":     newRatings,
	}
	maker, ok := makers[name]
	if !ok {
		return nil, fmt.Errorf("no service is called %q; there are productpage, details, reviews and ratings", name)
	}
	if c.Client == nil {
		c.Client = http.DefaultClient
	}
	return &Service{Name: name, Handler: maker(c)}, nil
}

// shutdownPatience is how long requests under way may take at the end.
const shutdownPatience = 3 * time.Second

// Serve answers on the listener until ctx ends.
func (s *Service) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s.Handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("%s: %w", s.Name, err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownPatience)
	defer cancel()
	err := srv.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	<-served
	return err
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}

// failure is how all the services report one.
type failure struct {
	Error string `json:"error"`
}

func health(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": name + " is healthy"})
	}
}

// maxAnswer bounds what a service reads of another's answer.
const maxAnswer = 1 << 20

// call asks another service and decodes its answer into v. The status is that
// of the answer, 0 when there was none.
func call(ctx context.Context, c *http.Client, url string, header http.Header, v any) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	req.Header = header
	res, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", url, err)
	}
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, fmt.Errorf("%s: %s", url, res.Status)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return 0, fmt.Errorf("%s: %w", url, err)
	}
	return res.StatusCode, nil
}
