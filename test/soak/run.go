package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/test/traffic"
)

// options of a soak.
type options struct {
	duration time.Duration
	load     float64
}

// How much more the proxy may have at the end than after the warm-up.
const (
	moreGoroutines  = 10
	moreDescriptors = 10
	moreHeap        = 6 << 20 // bytes; what differs from one moment to the next
)

// soak runs everything, and returns what went wrong.
func soak(ctx context.Context, o options, out io.Writer) (err error) {
	w, err := newWorld()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.start(ctx); err != nil {
		return err
	}
	rates, err := w.calibrate(ctx, min(max(o.duration/20, time.Second), 5*time.Second))
	if err != nil {
		return err
	}
	// The warm-up does all that follows, so that pools and tables have the size that they need.
	if err := w.burden(ctx, rates, o.load, min(max(o.duration/10, 3*time.Second), time.Minute), nil); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	before, err := w.rest(ctx, nil)
	if err != nil {
		return err
	}
	bad := w.burden(ctx, rates, o.load, o.duration, out)
	after, err := w.rest(ctx, &before)
	if err != nil {
		return errors.Join(bad, err)
	}
	fmt.Fprintf(out, "changes of configuration: %d\nafter warm-up: %s\nat the end:    %s\n", after.Updates-before.Updates, &before, &after)
	return errors.Join(bad, grown(&before, &after))
}

func (s *sample) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %.1f MiB of heap", s.Goroutines, s.Descriptors, float64(s.Heap)/(1<<20))
}

// grown says what has grown.
func grown(before, after *sample) error {
	var err error
	if after.Error != "" {
		err = errors.New(after.Error)
	}
	if after.Goroutines > before.Goroutines+moreGoroutines {
		err = errors.Join(err, fmt.Errorf("goroutines have grown from %d to %d", before.Goroutines, after.Goroutines))
	}
	if after.Descriptors > before.Descriptors+moreDescriptors {
		err = errors.Join(err, fmt.Errorf("descriptors have grown from %d to %d", before.Descriptors, after.Descriptors))
	}
	if after.Heap > before.Heap+before.Heap/10+moreHeap {
		err = errors.Join(err, fmt.Errorf("the heap has grown from %d to %d bytes", before.Heap, after.Heap))
	}
	return err
}

// world is the proxy, its servers and its clients.
type world struct {
	layout layout
	good   []*traffic.Backend
	faulty *traffic.Backend
	served atomic.Uint64 // by the faulty one

	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Scanner
	ended chan error
}

func newWorld() (*world, error) {
	w := &world{ended: make(chan error, 1)}
	for range 3 {
		b, err := traffic.Serve(nil)
		if err != nil {
			w.close()
			return nil, err
		}
		w.good = append(w.good, b)
		w.layout.Good = append(w.layout.Good, b.HTTP)
	}
	w.layout.GoodTCP = w.good[0].TCP
	var err error
	if w.faulty, err = traffic.Serve(w.fail); err != nil {
		w.close()
		return nil, err
	}
	w.layout.Faulty = w.faulty.HTTP
	for _, p := range []*int{&w.layout.HTTP, &w.layout.TCP, &w.layout.Nobody} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.close()
			return nil, fmt.Errorf("free port: %w", err)
		}
		defer ln.Close()
		if a, ok := ln.Addr().(*net.TCPAddr); ok {
			*p = a.Port
		}
	}
	return w, nil
}

// fail is the faulty server.
func (w *world) fail(rw http.ResponseWriter, r *http.Request) bool {
	switch w.served.Add(1) % 10 {
	case 0:
		panic(http.ErrAbortHandler) // the connection, or the stream, is reset
	case 1:
		http.Error(rw, "out of order", http.StatusServiceUnavailable)
	case 2:
		select { // slow
		case <-time.After(300 * time.Millisecond):
		case <-r.Context().Done():
		}
		return false
	case 3:
		rw.Header().Set("Content-Length", "1000")
		rw.Write([]byte("not all")) //nolint:errcheck // it is cut off anyway
		if f, ok := rw.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	default:
		return false
	}
	return true
}

// start starts the proxy's process.
func (w *world) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	text, err := json.Marshal(w.layout)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	w.cmd = exec.Command(self, "-"+proxyFlag, string(text))
	w.cmd.Stderr = os.Stderr
	if w.stdin, err = w.cmd.StdinPipe(); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	w.out = bufio.NewScanner(stdout)
	if err := w.cmd.Start(); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	if s, err := w.ask(); err != nil || s.Error != "" {
		return fmt.Errorf("proxy: %w %s", err, s.Error)
	}
	return ctx.Err()
}

// close ends everything.
func (w *world) close() (err error) {
	if w.stdin != nil {
		w.stdin.Close()
		// A proxy that doesn't end is the next one's trouble, too.
		kill := time.AfterFunc(restTime, func() { w.cmd.Process.Kill() }) //nolint:errcheck // it may have ended
		defer kill.Stop()
		if werr := w.cmd.Wait(); werr != nil {
			err = fmt.Errorf("the proxy did not end in order: %w", werr)
		}
	}
	for _, b := range w.good {
		b.Close()
	}
	if w.faulty != nil {
		w.faulty.Close()
	}
	return err
}

func (w *world) tell(line string) error {
	if _, err := fmt.Fprintln(w.stdin, line); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	return nil
}

// ask takes a sample.
func (w *world) ask() (sample, error) {
	var s sample
	if err := w.tell(askSample); err != nil {
		return s, err
	}
	if !w.out.Scan() {
		return s, fmt.Errorf("the proxy's process has ended: %w", errors.Join(w.out.Err(), io.EOF))
	}
	if err := json.Unmarshal(w.out.Bytes(), &s); err != nil {
		return s, fmt.Errorf("proxy: %w", err)
	}
	return s, nil
}

// restTime bounds how long connections may take to end when nobody uses them.
const restTime = 20 * time.Second

// rest waits until the proxy has no connections, downstream or to servers, and returns what it has then. With a sample
// to compare with it is enough to have come down to that.
func (w *world) rest(ctx context.Context, like *sample) (sample, error) {
	deadline := time.Now().Add(restTime)
	var last sample
	for same := 0; ; {
		s, err := w.ask()
		if err != nil {
			return s, err
		}
		if s.Connections == 0 && s.Goroutines == last.Goroutines && s.Descriptors == last.Descriptors {
			same++
		} else {
			same = 0
		}
		last = s
		if same >= 8 && (like == nil || grown(like, &s) == nil) || time.Now().After(deadline) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// mix are the loads of a soak. The faulty ones go to servers that fail.
func (w *world) mix() []traffic.Options {
	http, tcp := traffic.Dialer(w.layout.HTTP), traffic.Dialer(w.layout.TCP)
	return []traffic.Options{
		{Kind: traffic.HTTP1, Dial: http, Workers: 4}, {Kind: traffic.HTTP1Fresh, Dial: http, Workers: 2},
		{Kind: traffic.Upload, Dial: http, Workers: 2}, {Kind: traffic.HTTP2, Dial: http, Workers: 8},
		{Kind: traffic.TCP, Dial: tcp, Workers: 2}, {Kind: traffic.TCPLong, Dial: tcp, Workers: 2},
		{Kind: traffic.HTTP1, Dial: http, Workers: 2, Path: "/faulty", Explain: explain},
		{Kind: traffic.HTTP2, Dial: http, Workers: 2, Path: "/faulty", Explain: explain},
	}
}

// explain says which failures a faulty server explains: the proxy's own answers, and responses that are cut off. Time
// that runs out and bytes that have changed are never explained.
func explain(err error) bool {
	var status *traffic.StatusError
	if errors.As(err, &status) {
		return status.Status == 502 || status.Status == 503 || status.Status == 504
	}
	text := err.Error()
	return errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(text, "stream error") || strings.Contains(text, "unexpected EOF")
}

// calibrate finds out how many exchanges a second each load makes without pause, all of them at once.
func (w *world) calibrate(ctx context.Context, d time.Duration) ([]float64, error) {
	var loads []*traffic.Load
	for _, o := range w.mix() {
		loads = append(loads, traffic.Start(o))
	}
	began := time.Now()
	sleep(ctx, d)
	var rates []float64
	for _, l := range loads {
		rates = append(rates, max(1, float64(l.Done())/time.Since(began).Seconds()))
	}
	for _, l := range loads {
		l.Stop()
	}
	return rates, ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// burden loads the proxy while everything changes and fails.
func (w *world) burden(ctx context.Context, rates []float64, share float64, d time.Duration, out io.Writer) error {
	if err := w.tell(askChurn); err != nil {
		return err
	}
	var loads []*traffic.Load
	for i, o := range w.mix() {
		o.Pause = time.Duration(float64(o.Workers) / (rates[i] * share) * float64(time.Second))
		loads = append(loads, traffic.Start(o))
	}
	attacks, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, a := range w.attacks() {
		wg.Go(func() {
			for attacks.Err() == nil {
				a(attacks)
				sleep(attacks, 50*time.Millisecond)
			}
		})
	}
	began := time.Now()
	sleep(ctx, d)
	took := time.Since(began)
	stop()
	wg.Wait()
	err := w.tell(askCalm)
	for i, l := range loads {
		l.Stop()
		err = errors.Join(err, judge(l, w.mix()[i].Path))
		if out != nil {
			failed, _ := l.Failed()
			fmt.Fprintf(out, "%-20s %-8s %8d exchanges (%.0f/s), %d failed, %d explained by a fault, p50 %v, p99 %v\n", l.Kind(), w.mix()[i].Path,
				l.Done(), float64(l.Done())/took.Seconds(), failed, l.Explained(), l.Quantile(0.5).Round(10*time.Microsecond), l.Quantile(0.99).Round(10*time.Microsecond))
		}
	}
	return err
}

func judge(l *traffic.Load, path string) error {
	failed, why := l.Failed()
	if failed > 0 {
		return fmt.Errorf("%s %s: %d of %d exchanges failed: %v", l.Kind(), path, failed, l.Done(), why)
	}
	if l.Done() == 0 {
		return fmt.Errorf("%s %s: nothing was sent", l.Kind(), path)
	}
	return nil
}

// attacks are what clients do that the proxy could do without; each is made over and over.
func (w *world) attacks() []func(context.Context) {
	say := func(text string, wait time.Duration) func(context.Context) {
		return func(ctx context.Context) {
			nc, err := traffic.Dialer(w.layout.HTTP)(ctx)
			if err != nil {
				return
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(wait))
			if _, err := io.WriteString(nc, text); err == nil {
				io.Copy(io.Discard, nc) //nolint:errcheck // whatever it says
			}
		}
	}
	return []func(context.Context){
		say("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", 3*time.Second),                                              // a head that doesn't end
		say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf", 100*time.Millisecond),               // gone in the middle
		say("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", time.Second), // smuggling
		say("\x16\x03\x01 this is no HTTP\r\n\r\n", time.Second),
		say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+strings.Repeat("\x00", 64), time.Second), // broken HTTP/2
		say("POST /faulty HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 200*time.Millisecond),
	}
}
