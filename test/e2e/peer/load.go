package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// load sends until it is stopped, and counts.
type load struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards all below
	total  int
	failed int
	errors []string
	hits   map[string]int
}

// pace is the time between two requests of one worker: enough to keep a
// connection busy, and the machine free for what is tested.
const pace = 5 * time.Millisecond

// startLoad starts the load of a command. Kinds: "" requests over kept
// connections, "fresh" a connection for each, "h2" over HTTP/2, "bytes" an
// exchange over TCP with a connection for each, "one" all over one connection
// that must stay, "tcp" and "ws" one stream that must stay.
func startLoad(c command) *load {
	l := &load{hits: map[string]int{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives = c.Kind == "fresh"
	t.MaxIdleConnsPerHost = max(c.Workers, 1)
	if c.Kind == "h2" {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	for range max(c.Workers, 1) {
		switch c.Kind {
		case "bytes":
			l.worker(func(ctx context.Context) (string, error) {
				s := &stream{c: c}
				defer s.close()
				return s.exchange(ctx)
			})
		case "", "fresh", "h2":
			l.worker(func(ctx context.Context) (string, error) { return get(ctx, t, c) })
		default:
			s := &stream{c: c}
			l.worker(s.exchange)
		}
	}
	return l
}

func (l *load) worker(once func(context.Context) (string, error)) {
	l.wg.Go(func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-l.ctx.Done():
				return
			case <-tick.C:
			}
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			who, err := once(ctx)
			cancel()
			l.count(who, err)
		}
	})
}

func (l *load) count(who string, err error) {
	const most = 10
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if who != "" {
		l.hits[who]++
	}
	if err != nil {
		l.failed++
		if len(l.errors) < most {
			l.errors = append(l.errors, time.Now().Format("05.000 ")+err.Error())
		}
	}
}

// stop ends the load after the requests that are under way.
func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

func (l *load) seen() answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := answer{Total: l.total, Failed: l.failed, Errors: append([]string(nil), l.errors...), Hits: map[string]int{}}
	for who, n := range l.hits {
		a.Hits[who] = n
	}
	return a
}

// get sends a request; any answer but 200 is a failure.
func get(ctx context.Context, t *http.Transport, c command) (string, error) {
	q, err := newRequest(ctx, c)
	if err != nil {
		return "", err
	}
	r, err := t.RoundTrip(q)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	if r.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s (%s)", r.Status, strings.TrimSpace(string(b)), r.Header.Get("Server"))
	}
	who, _, _ := strings.Cut(string(b), " ")
	return who, nil
}

// stream is one connection that must stay for as long as the load runs.
type stream struct {
	c    command
	conn net.Conn
	in   *bufio.Reader
	lost error
}

func (s *stream) exchange(ctx context.Context) (string, error) {
	if s.lost != nil {
		return "", s.lost
	}
	if s.conn == nil {
		if err := s.open(ctx); err != nil {
			s.lost = fmt.Errorf("open: %w", err)
			return "", s.lost
		}
	}
	deadline, _ := ctx.Deadline()
	_ = s.conn.SetDeadline(deadline)
	who, err := s.once()
	if err != nil {
		s.lost = fmt.Errorf("%s: %w", s.c.Kind, err)
		s.conn.Close()
	}
	return who, s.lost
}

func (s *stream) close() {
	if s.conn != nil {
		s.conn.Close()
	}
}

func (s *stream) open(ctx context.Context) error {
	var d net.Dialer
	host := s.c.Host
	if host == "" {
		host = hostOf(s.c.URL)
	}
	var err error
	if s.conn, err = d.DialContext(ctx, "tcp", host); err != nil {
		return err
	}
	s.in = bufio.NewReader(s.conn)
	if s.c.Kind != "ws" {
		return nil
	}
	q, err := http.NewRequest(http.MethodGet, s.c.URL, nil)
	if err != nil {
		return err
	}
	q.Header.Set("Connection", "Upgrade")
	q.Header.Set("Upgrade", "websocket")
	if err := q.Write(s.conn); err != nil {
		return err
	}
	r, err := http.ReadResponse(s.in, q)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(r.Status)
	}
	return nil
}

func (s *stream) once() (string, error) {
	if s.c.Kind != "one" {
		const text = "are you there?\n"
		if _, err := io.WriteString(s.conn, text); err != nil {
			return "", err
		}
		line, err := s.in.ReadString('\n')
		if err == nil && line != text {
			err = fmt.Errorf("got %q", line)
		}
		return "", err
	}
	q, err := http.NewRequest(http.MethodGet, s.c.URL, nil)
	if err != nil {
		return "", err
	}
	if err := q.Write(s.conn); err != nil {
		return "", err
	}
	r, err := http.ReadResponse(s.in, q)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r.Body)
	if err == nil && (r.StatusCode != http.StatusOK || r.Close) {
		err = fmt.Errorf("%s, closing: %t", r.Status, r.Close)
	}
	who, _, _ := strings.Cut(string(b), " ")
	return who, err
}
