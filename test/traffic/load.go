package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Kind is what a load speaks.
type Kind string

// The kinds of load.
const (
	HTTP1      Kind = "HTTP/1.1"           // connections are kept as long as the proxy allows
	HTTP1Fresh Kind = "HTTP/1.1 fresh"     // a connection for each request
	HTTP2      Kind = "HTTP/2"             // streams on shared connections, prior knowledge
	TCP        Kind = "TCP"                // a connection for each exchange
	TCPLong    Kind = "TCP long-lived"     // one connection per worker, kept until it ends
	Upload     Kind = "HTTP/1.1 slow body" // the body takes its time
	HTTP2Long  Kind = "HTTP/2 long-lived"  // one stream per worker, kept until it ends: each piece sent comes back
)

// Options of a load.
type Options struct {
	Kind Kind
	// Dial opens a connection to the proxy.
	Dial func(ctx context.Context) (net.Conn, error)
	// Path of HTTP requests; /echo by default.
	Path string
	// Host of HTTP requests; echo by default.
	Host    string
	Workers int
	// Pause is how long a worker waits between exchanges.
	Pause time.Duration
	// Explain says that a failure is not the proxy's: it counts as explained. May be nil.
	Explain func(error) bool
}

// exchangeTime bounds one exchange.
const exchangeTime = 20 * time.Second

// maxReasons bounds how many different failures are kept.
const maxReasons = 20

// Load is a load that runs. Make it with Start, end it with Stop.
type Load struct {
	o         Options
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	done      atomic.Int64
	explained atomic.Int64

	mu      sync.Mutex // guards what follows
	failed  int64
	reasons map[string]int
	took    []time.Duration // of exchanges that succeeded
}

// exchanger makes one exchange after the other.
type exchanger interface {
	exchange(ctx context.Context) error
	close()
}

// Start begins to send.
func Start(o Options) *Load {
	o.Path, o.Host = cmp.Or(o.Path, "/echo"), cmp.Or(o.Host, "echo")
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{o: o, cancel: cancel, reasons: map[string]int{}}
	shared := newClient2(o)
	for range o.Workers {
		l.wg.Go(func() { l.work(ctx, l.worker(shared)) })
	}
	return l
}

func (l *Load) worker(shared *client2) exchanger {
	switch l.o.Kind {
	case HTTP2:
		return shared
	case HTTP2Long:
		return &longStream{c: shared}
	case TCP, TCPLong:
		return &echoes{o: l.o}
	default:
		return &client1{o: l.o}
	}
}

func (l *Load) work(ctx context.Context, e exchanger) {
	defer e.close()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		pause.Reset(l.o.Pause)
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTime)
		began := time.Now()
		err := e.exchange(one)
		cancel()
		l.count(err, time.Since(began))
	}
}

func (l *Load) count(err error, took time.Duration) {
	l.done.Add(1)
	if err != nil && l.o.Explain != nil && l.o.Explain(err) {
		l.explained.Add(1)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		if len(l.took) < maxTimes {
			l.took = append(l.took, took)
		}
		return
	}
	l.failed++
	text := reason(err)
	if _, known := l.reasons[text]; known || len(l.reasons) < maxReasons {
		l.reasons[text]++
	}
}

// maxTimes bounds how many durations are kept.
const maxTimes = 1 << 20

// reason is an error without what differs from one connection to the next.
func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Sprintf("%s: %v", op.Op, op.Err)
	}
	return err.Error()
}

// Done is how many exchanges have ended, one way or the other; Explained how many failed with an excuse.
func (l *Load) Done() int64 { return l.done.Load() }

// Explained is how many exchanges failed with an excuse.
func (l *Load) Explained() int64 { return l.explained.Load() }

// Quantile is the time that the share q of the exchanges that succeeded stayed under.
func (l *Load) Quantile(q float64) time.Duration {
	l.mu.Lock()
	took := slices.Clone(l.took)
	l.mu.Unlock()
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[min(len(took)-1, int(q*float64(len(took))))]
}

// Failed is how many failed without an excuse, and why.
func (l *Load) Failed() (int64, map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed, maps.Clone(l.reasons)
}

// More waits until n exchanges more have ended.
func (l *Load) More(ctx context.Context, n int64) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for want := l.Done() + n; l.Done() < want; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: only %d of %d exchanges more: %w", l.o.Kind, n-(want-l.Done()), n, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Stop lets the exchanges that are under way end, and closes the connections.
func (l *Load) Stop() {
	l.cancel()
	l.wg.Wait()
}

// Kind is what the load speaks.
func (l *Load) Kind() Kind { return l.o.Kind }
