package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// chaosOptions say what a chaos run does.
type chaosOptions struct {
	lateen            string
	seed              uint64
	services, clients int
	lasts             time.Duration
	// bound is how long a change may take to a client that is left in peace,
	// and how long all may take to be up to date at the end.
	bound time.Duration
	// memory is what each control plane may use at most, in bytes.
	memory int64
	// attackers is how many malicious clients there are at any time.
	attackers int
}

// The size of a chaos run, unless a larger one is asked for.
const (
	chaosServices = 200
	chaosClients  = 60
)

// replicaCount is how many control planes serve one configuration.
const replicaCount = 2

// chaos is a run under way: replicas on one configuration directory that are
// killed in turn, a configuration that changes all the time, clients of all
// kinds, and malicious ones.
type chaos struct {
	o        chaosOptions
	out      io.Writer
	s        scenario
	config   string
	replicas []*replica
	clients  []*resident
	catalog  *catalog
	watch    *watch
	edits    *edits
	attacks  attacks

	latencies latencies
}

// latencies are how long marks took to clients.
type latencies struct {
	mu   sync.Mutex
	took []time.Duration
}

// replica is one control plane.
type replica struct {
	mu      sync.Mutex // guards process while it is replaced
	process *process
	kills   int
	peak    int64
}

// runChaos runs it and reports. It fails when a well-behaved client waited too
// long for a change, or ends with anything stale, missing or left over.
func runChaos(ctx context.Context, o chaosOptions, out io.Writer) error {
	dir, err := os.MkdirTemp("", "lateen-chaos-")
	if err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	defer os.RemoveAll(dir)
	c := &chaos{o: o, out: out, s: scenario{services: o.services, clients: o.clients, scoped: o.seed%2 == 1}, config: filepath.Join(dir, "config"),
		catalog: newCatalog()}
	c.watch = &watch{arrived: c.arrived}
	c.edits = newEdits(c.config, c.s, o.seed)
	fmt.Fprintf(out, "chaos: %s, seed %d, %s, %d replicas, %d attackers\n", c.s.name(), o.seed, o.lasts, replicaCount, o.attackers)
	if err := writeMesh(c.config, c.s); err != nil {
		return err
	}
	if err := c.edits.makeGood(); err != nil {
		return err
	}
	if err := c.startReplicas(ctx, dir); err != nil {
		return err
	}
	defer func() {
		for _, r := range c.replicas {
			r.process.stop()
		}
	}()
	if err := c.phases(ctx); err != nil {
		return errors.Join(fmt.Errorf("chaos with seed %d: %w", o.seed, err), c.logs())
	}
	return nil
}

func (c *chaos) startReplicas(ctx context.Context, dir string) error {
	port := 21010
	for i := range replicaCount {
		var err error
		if port, err = freePorts(port + 10); err != nil {
			return err
		}
		own := filepath.Join(dir, fmt.Sprintf("replica-%d", i))
		if err := os.MkdirAll(own, 0o755); err != nil {
			return fmt.Errorf("replica %d: %w", i, err)
		}
		r := &replica{process: &process{binary: c.o.lateen, dir: own, config: c.config, port: port}}
		if err := r.process.start(ctx); err != nil {
			return err
		}
		c.replicas = append(c.replicas, r)
	}
	return nil
}

// phases are the run's parts, one after another.
func (c *chaos) phases(ctx context.Context) error {
	following, leave := context.WithCancel(ctx)
	var g errgroup.Group
	defer func() { leave(); _ = g.Wait() }()
	c.populate(following, &g)
	if err := c.settled(ctx, "first configuration"); err != nil {
		return err
	}
	if err := c.move(ctx); err != nil {
		return err
	}
	if err := c.storm(ctx); err != nil {
		return err
	}
	return c.settled(ctx, "after the storm")
}

// populate makes the clients: most speak delta, every fifth state of the world;
// some are left in peace, some come and go, some refuse what they are sent.
func (c *chaos) populate(ctx context.Context, g *errgroup.Group) {
	for i := range c.o.clients {
		s := c.s
		s.sotw, s.ours = i%5 == 4, i%3 == 1
		r := &resident{client: s.newClient(i, c.catalog, c.watch), chaos: c, random: rand.New(rand.NewPCG(c.o.seed, uint64(i)))}
		r.resumes = true
		r.client.random = rand.New(rand.NewPCG(c.o.seed, uint64(i)|1<<32))
		switch i % 4 {
		case 1:
			r.restless = true
		case 2:
			r.refuses, r.restless = true, i%8 == 2
		}
		c.clients = append(c.clients, r)
		g.Go(func() error { r.live(ctx); return nil })
	}
}

// storm is the time in which everything happens at once.
func (c *chaos) storm(ctx context.Context) error {
	storming, stop := context.WithTimeout(ctx, c.o.lasts)
	defer stop()
	for _, r := range c.clients {
		r.trouble.Store(true)
		if r.refuses {
			r.refusing.Store(100)
		}
	}
	g, storming := errgroup.WithContext(storming)
	for _, part := range []func(context.Context) error{c.change, c.killReplicas, c.observe} {
		g.Go(func() error { return part(storming) })
	}
	for i := range c.o.attackers {
		g.Go(func() error {
			c.attacks.live(storming, c.target, rand.New(rand.NewPCG(c.o.seed, uint64(i)|1<<33)))
			return nil
		})
	}
	err := g.Wait()
	for _, r := range c.clients {
		r.trouble.Store(false)
		r.mend()
	}
	c.attacks.report(c.out)
	for i, r := range c.replicas {
		fmt.Fprintf(c.out, "  replica %d: killed %d times, peak %d MiB\n", i, r.kills, r.peak>>20)
		if r.peak > c.o.memory {
			err = errors.Join(err, fmt.Errorf("replica %d used %d MiB, more than %d", i, r.peak>>20, c.o.memory>>20))
		}
	}
	return errors.Join(err, c.edits.makeGood())
}

// change edits the configuration at random, and marks two objects of it whose
// way to the clients is measured.
func (c *chaos) change(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := c.edits.step(); err != nil {
			return err
		}
		pause(ctx, c.edits.rest())
	}
	fmt.Fprintf(c.out, "  %d edits, %d marks\n", c.edits.count, c.edits.marked())
	return nil
}

// killReplicas kills one replica after another, without warning, sometimes both
// at once.
func (c *chaos) killReplicas(ctx context.Context) error {
	random := rand.New(rand.NewPCG(c.o.seed, 3))
	for {
		pause(ctx, time.Duration(2+random.IntN(8))*time.Second)
		if ctx.Err() != nil {
			return nil
		}
		victims := []*replica{c.replicas[random.IntN(len(c.replicas))]}
		if random.IntN(4) == 0 {
			victims = c.replicas
		}
		for _, r := range victims {
			if !r.process.running() {
				return fmt.Errorf("the control plane at %s ended by itself", r.process.target())
			}
			r.process.kill()
			r.kills++
		}
		pause(ctx, time.Duration(random.IntN(1000))*time.Millisecond)
		for _, r := range victims {
			r.mu.Lock()
			err := r.process.start(context.WithoutCancel(ctx))
			r.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
}

// target is where to connect to: any replica.
func (c *chaos) target(random *rand.Rand) string {
	return c.replicas[random.IntN(len(c.replicas))].process.target()
}

// settled waits until every client holds what the files say, and nothing else.
func (c *chaos) settled(ctx context.Context, what string) error {
	began := time.Now()
	ref, err := newReference(c.config, c.catalog)
	if err != nil {
		return err
	}
	for {
		wrong, first := 0, error(nil)
		for _, r := range c.clients {
			if err := ref.check(r.client); err != nil {
				if wrong++; first == nil {
					first = fmt.Errorf("%s: %w", r.kind(), err)
				}
			}
		}
		switch {
		case wrong == 0:
			fmt.Fprintf(c.out, "  %s: all %d clients hold what they shall, after %s\n", what, len(c.clients), time.Since(began).Round(time.Millisecond))
			return nil
		case time.Since(began) > c.o.bound:
			return fmt.Errorf("%s: %d of %d clients are not up to date after %s; %w", what, wrong, len(c.clients), c.o.bound, first)
		}
		if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// logs are what the replicas complained about last.
func (c *chaos) logs() error {
	var all error
	for i, r := range c.replicas {
		text, err := os.ReadFile(filepath.Join(r.process.dir, "control.log"))
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		const last = 2000
		all = errors.Join(all, fmt.Errorf("replica %d: …%s", i, text[max(0, len(text)-last):]))
	}
	return all
}
