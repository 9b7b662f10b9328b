package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"lateen.dev/lateen/proxy"
	"lateen.dev/lateen/proxy/compile"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/state"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/xds"
)

// What the proxy's process is asked for, a line each. Its end of input ends it.
const (
	askSample = "sample"
	askChurn  = "churn"
	askCalm   = "calm"
	askSwap   = "swap " // with the secrets as JSON
)

// proxyMain is the proxy's process.
func proxyMain(text string) int {
	var l layout
	err := json.Unmarshal([]byte(text), &l)
	if err == nil {
		err = (&subject{layout: l}).run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak: proxy:", err)
		return 1
	}
	return 0
}

// subject is the proxy with what changes it.
type subject struct {
	layout
	engine  *proxy.Proxy
	store   *state.Store
	updates int
	swaps   int
	err     error
}

// nobody is asked for resources: they come by themselves.
type nobody struct{}

func (nobody) Subscribe(string, ...string)   {}
func (nobody) Unsubscribe(string, ...string) {}

// drainTime is how long connections of a changed listener may go on.
const drainTime = 5 * time.Second

func (s *subject) run() error {
	current := &plan.Current{}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	var err error
	s.engine, err = proxy.New(proxy.Options{Current: current, Logger: log, NodeID: "sidecar~127.0.0.1~soak.default~default.svc.cluster.local",
		InstanceName: "soak", Standard: telemetry.NewStandard(telemetry.NewRegistry(), "soak"), DrainTime: drainTime})
	if err != nil {
		return err
	}
	s.store = state.New(state.Config{Current: current, Engine: s.engine, Await: []plan.Kind{plan.KindCluster, plan.KindListener}, Log: log,
		Compiler: &compile.Compiler{Names: plan.NewNames(), Hostname: "soak", NodeID: "soak", NodeCluster: "soak", ReadFile: os.ReadFile}})
	s.store.SetSubscriber(nobody{})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.store.Run(ctx) })
	house, done := context.WithCancel(context.Background())
	var houseWG sync.WaitGroup
	houseWG.Go(func() { s.engine.Run(house) })
	s.obey(ctx)
	end, stop := context.WithTimeout(ctx, drainTime)
	defer stop()
	if serr := s.engine.Shutdown(end); serr != nil && !errors.Is(serr, context.DeadlineExceeded) {
		s.err = errors.Join(s.err, serr)
	}
	cancel()
	wg.Wait()
	done()
	houseWG.Wait()
	return s.err
}

// obey does what it is asked for until there is no more input.
func (s *subject) obey(ctx context.Context) {
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(os.Stdin)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			lines <- strings.TrimSpace(in.Text())
		}
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	churn := false
	for {
		select {
		case <-tick.C:
			if churn {
				s.change(ctx)
			}
		case line, ok := <-lines:
			switch {
			case !ok:
				return
			case line == askSample:
				if s.updates == 0 {
					s.change(ctx)
				}
				s.tell()
			case strings.HasPrefix(line, askSwap):
				s.swap(ctx, strings.TrimPrefix(line, askSwap))
			default:
				churn = line == askChurn
			}
		}
	}
}

func (s *subject) tell() {
	out := s.sample()
	b, err := json.Marshal(out)
	if err != nil {
		s.err = err
		return
	}
	fmt.Println(string(b))
}

func (s *subject) sample() sample {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	out := sample{Name: s.side(), Goroutines: runtime.NumGoroutine(), Heap: m.HeapAlloc, Connections: s.engine.Connections(), Updates: int64(s.updates)}
	if names, err := os.ReadDir("/proc/self/fd"); err == nil {
		out.Descriptors = len(names)
	}
	s.engine.Stats(func(name string, value int64) {
		switch {
		case strings.HasSuffix(name, ".ssl.handshake"):
			out.Handshakes += value
		case strings.HasSuffix(name, ".ssl.connection_error"):
			out.HandshakesFailed += value
		}
	})
	if s.err != nil {
		out.Error = s.err.Error()
	}
	return out
}

func (s *subject) side() string {
	if s.Server {
		return "the server's side"
	}
	return "the client's side"
}

// swap brings new secrets.
func (s *subject) swap(ctx context.Context, text string) {
	var now secrets
	if err := json.Unmarshal([]byte(text), &now); err != nil {
		s.err = errors.Join(s.err, fmt.Errorf("secrets: %w", err))
		return
	}
	s.swaps++
	list, err := now.updates(s.swaps)
	s.err = errors.Join(s.err, err)
	s.update(ctx, list)
}

func (s *subject) update(ctx context.Context, list []xds.Update) {
	for _, u := range list {
		for _, r := range s.store.Update(ctx, u) {
			s.err = errors.Join(s.err, fmt.Errorf("%s was refused: %w", r.Name, r.Err))
		}
	}
}

// change brings new endpoints and routes; from time to time listeners and clusters, too.
func (s *subject) change(ctx context.Context) {
	var list []xds.Update
	if s.updates%20 == 0 {
		s.Generation++
		fixed, err := s.fixed()
		s.err = errors.Join(s.err, err)
		list = append(list, fixed...)
	}
	ends, err := s.endpoints(s.updates)
	s.err = errors.Join(s.err, err)
	routes, rerr := s.routes(s.updates)
	s.err = errors.Join(s.err, rerr)
	s.update(ctx, append(append(list, ends...), routes...))
	s.updates++
}
