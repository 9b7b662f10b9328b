package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/source/api"
)

// result is what one scenario measured.
type result struct {
	Name     string   `json:"name"`
	scenario scenario // not in the file: Name says it
	// Ready is from the start of the process until it served.
	Ready    time.Duration `json:"ready"`
	ReadyCPU time.Duration `json:"readyCPU"`
	// BytesPerClient is the size of all responses until full.
	BytesPerClient int64         `json:"bytesPerClient"`
	Full           time.Duration `json:"full"`
	FullCPU        time.Duration `json:"fullCPU"`
	PeakRSS        int64         `json:"peakRSS"`
	// Changes by kind ("endpoint", "route") and way ("files", "api").
	Changes map[string]*changeResult `json:"changes"`
	Churn   *churnResult             `json:"churn,omitempty"`
}

// changeResult is the median over repeated changes.
type changeResult struct {
	Latency time.Duration `json:"latency"`
	Worst   time.Duration `json:"worst"`
	CPU     time.Duration `json:"cpu"`
	Bytes   int64         `json:"bytesPerClient"`
}

// bench is one scenario under way.
type bench struct {
	options
	s       scenario
	config  string
	control *process
	clients []*client
	watch   *watch
	catalog *catalog
	api     *api.Client
	result  *result
	marker  int
}

// measure runs a scenario from its files to the check of what clients hold.
func measure(ctx context.Context, o options, s scenario) (*result, error) {
	dir, err := os.MkdirTemp("", "lateen-control-")
	if err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, s: s, config: filepath.Join(dir, "config"), watch: &watch{}, catalog: newCatalog(),
		api: api.NewClient(filepath.Join(dir, cli.SocketName)), result: &result{Name: s.name(), scenario: s, Changes: map[string]*changeResult{}}}
	defer b.api.Close()
	b.catalog.putOff = true
	if err := b.prepare(); err != nil {
		return nil, err
	}
	if b.control, err = startControl(ctx, o.lateen, dir); err != nil {
		return nil, err
	}
	defer b.control.stop()
	b.result.Ready, b.result.ReadyCPU = b.control.ready, b.control.cpu()
	following, cancel := context.WithCancelCause(ctx)
	var g errgroup.Group
	err = b.steps(following, func(c *client) {
		g.Go(func() error {
			if err := c.run(following, b.control.target()); err != nil {
				cancel(err) // nobody waits for a client that has gone
			}
			return nil
		})
	})
	cancel(context.Canceled)
	return b.result, errors.Join(err, g.Wait())
}

// prepare writes the mesh and works out how much each client shall have.
func (b *bench) prepare() error {
	if err := writeMesh(b.config, b.s); err != nil {
		return err
	}
	ref, err := newReference(b.config, b.catalog)
	if err != nil {
		return err
	}
	for i := range b.s.clients {
		c := b.s.newClient(i, b.catalog, b.watch)
		if c.want, err = ref.counts(c); err != nil {
			return err
		}
		b.clients = append(b.clients, c)
	}
	if err := ref.expectAll(b.clients); err != nil {
		return err
	}
	runtime.GC() // of the reference, which would fall into what is measured
	return nil
}

// steps are what is measured. follow starts a client.
func (b *bench) steps(ctx context.Context, follow func(*client)) error {
	if err := b.connect(ctx, follow); err != nil {
		return err
	}
	for _, kind := range strings.FieldsFunc(b.kinds, func(r rune) bool { return r == ',' }) {
		b.pause(kind)
		for _, way := range []string{"files", "api"} {
			r, err := b.change(ctx, kind, way)
			if err != nil {
				return fmt.Errorf("%s change through %s: %w", kind, way, err)
			}
			b.result.Changes[kind+" "+way] = r
		}
	}
	if b.s.churn > 0 {
		b.pause("churn")
		if err := b.runChurn(ctx); err != nil {
			return err
		}
	}
	b.result.PeakRSS = b.control.memory("VmHWM")
	ref, err := newReference(b.config, b.catalog)
	if err != nil {
		return err
	}
	return errors.Join(b.catalog.finish(), ref.checkAll(b.clients))
}

// pause waits for a key if the user asked for it before this step.
func (b *bench) pause(step string) {
	if slices.Contains(strings.Split(b.profile, ","), step) {
		fmt.Fprintf(os.Stderr, "before step %q of %s: control plane has pid %d; press Enter\n", step, b.s.name(), b.control.cmd.Process.Pid)
		var line [1]byte
		_, _ = os.Stdin.Read(line[:])
	}
}

// connect starts all clients at once and waits until the last one has
// everything.
func (b *bench) connect(ctx context.Context, follow func(*client)) error {
	b.settle(ctx) // what is left to do after the start is not the clients' doing
	b.pause("connect")
	full := b.watch.expect(b.clients, func(c *client, _ int, _ *response) bool { return c.complete() })
	waiting, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	before, began := b.control.cpu(), time.Now()
	for _, c := range b.clients {
		follow(c)
	}
	last, err := full.wait(waiting, "first configuration")
	if err != nil {
		return err
	}
	b.result.Full = last.Sub(began)
	b.settle(ctx)
	b.result.FullCPU = b.control.cpu() - before
	for _, c := range b.clients {
		b.result.BytesPerClient += c.bytes.Load()
	}
	b.result.BytesPerClient /= int64(len(b.clients))
	return nil
}

// settle waits until the server rests, so that a step is not charged for what
// came before it, and is charged for what follows from it.
func (b *bench) settle(ctx context.Context) {
	const (
		window = 100 * time.Millisecond
		rest   = 3 * time.Millisecond
	)
	for range 50 {
		before := b.control.cpu()
		select {
		case <-ctx.Done():
			return
		case <-time.After(window):
		}
		if b.control.cpu()-before < rest {
			return
		}
	}
}

// change makes the same kind of change several times, one after another.
func (b *bench) change(ctx context.Context, kind, way string) (*changeResult, error) {
	var latencies, costs []time.Duration
	var bytes int64
	for range b.changes {
		b.marker++
		marker, file, text, wanted := fmt.Sprintf("10.250.%d.%d", 100+b.marker>>8, b.marker&255), changeService, changedService, []int{assignments}
		if kind == "route" {
			marker, file, text, wanted = fmt.Sprintf("mk-%d-mk", b.marker), changeRoute, changedRoute, []int{routes, hosts}
		}
		g := b.watch.expect(b.clients, contains(marker, wanted...))
		waiting, cancel := context.WithTimeout(ctx, b.timeout)
		defer cancel()
		received, before, began := b.received(), b.control.cpu(), time.Now()
		if err := b.write(ctx, way, file, text(marker)); err != nil {
			return nil, err
		}
		last, err := g.wait(waiting, kind)
		if err != nil {
			return nil, err
		}
		latencies = append(latencies, last.Sub(began))
		b.settle(ctx)
		costs = append(costs, b.control.cpu()-before)
		bytes += b.received() - received
		if err := b.catalog.finish(); err != nil {
			return nil, err
		}
	}
	return &changeResult{Latency: percentile(latencies, 0.5), Worst: latencies[len(latencies)-1], CPU: percentile(costs, 0.5),
		Bytes: bytes / int64(b.changes*len(b.clients))}, nil
}

func (b *bench) received() (n int64) {
	for _, c := range b.clients {
		n += c.bytes.Load()
	}
	return n
}

// write changes a file, as an editor does, or applies its content.
func (b *bench) write(ctx context.Context, way, file, text string) error {
	if way == "api" {
		if _, err := b.api.Apply(ctx, api.ApplyRequest{Files: []api.File{{Name: file, Data: text}}}); err != nil {
			return fmt.Errorf("apply: %w", err)
		}
		return nil
	}
	temporary := filepath.Join(b.config, "."+file)
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		return fmt.Errorf("change: %w", err)
	}
	if err := os.Rename(temporary, filepath.Join(b.config, file)); err != nil {
		return fmt.Errorf("change: %w", err)
	}
	return nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
