package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"lateen.dev/lateen/test/traffic"
)

// options of a soak.
type options struct {
	duration time.Duration
	load     float64
	lateen   string // the binary; "" builds one
}

// How much more a process may have at the end than after the warm-up.
const (
	moreGoroutines  = 10
	moreDescriptors = 10
	moreHeap        = 6 << 20 // bytes; what differs from one moment to the next
)

// part is one of the things that are soaked side by side. Its methods are called one after the other.
type part interface {
	start(ctx context.Context) error
	// begin starts the loads: without pause, or at a share of rates.
	begin(rates []float64, share float64) error
	// trouble makes everything change and fail, until ctx ends. d is how long that will be.
	trouble(ctx context.Context, d time.Duration) error
	// end ends the loads and says what became of them.
	end() ([]outcome, error)
	// samples takes one of each process. What heaps hold counts only where exact is true.
	samples(ctx context.Context, exact bool) ([]sample, error)
	// note says what else is worth telling at the end.
	note() string
	close() error
}

// outcome is what became of a load.
type outcome struct {
	Kind                    traffic.Kind
	Path                    string
	Took                    time.Duration
	Done, Failed, Explained int64
	Reasons                 map[string]int
	P50, P99                time.Duration
}

func (o *outcome) rate() float64 { return float64(o.Done) / o.Took.Seconds() }

func (o *outcome) String() string {
	return fmt.Sprintf("%-44s %8d exchanges (%.0f/s), %d failed, %d explained by a fault, p50 %v, p99 %v", strings.TrimSpace(string(o.Kind)+" "+o.Path), o.Done,
		o.rate(), o.Failed, o.Explained, o.P50.Round(10*time.Microsecond), o.P99.Round(10*time.Microsecond))
}

func (o *outcome) judge() error {
	if o.Failed > 0 {
		return fmt.Errorf("%s %s: %d of %d exchanges failed: %v", o.Kind, o.Path, o.Failed, o.Done, o.Reasons)
	}
	if o.Done == 0 {
		return fmt.Errorf("%s %s: nothing was sent", o.Kind, o.Path)
	}
	return nil
}

// named is a load that isn't told apart by its kind alone.
type named struct {
	traffic.Options
	what string
}

// paced starts loads at a share of rates, or without pause.
func paced(mix []named, rates []float64, share float64) []*traffic.Load {
	var loads []*traffic.Load
	for i, o := range mix {
		if rates != nil {
			o.Pause = time.Duration(float64(o.Workers) / (max(1, rates[i]) * share) * float64(time.Second))
		}
		loads = append(loads, traffic.Start(o.Options))
	}
	return loads
}

// stop ends loads, all at once.
func stop(mix []named, loads []*traffic.Load, began time.Time) []outcome {
	list := make([]outcome, len(loads))
	var wg sync.WaitGroup
	for i, l := range loads {
		wg.Go(func() {
			took := time.Since(began)
			l.Stop()
			o := outcome{Kind: l.Kind(), Path: strings.TrimSpace(mix[i].what + " " + mix[i].Path), Took: took, Done: l.Done(),
				Explained: l.Explained(), P50: l.Quantile(0.5), P99: l.Quantile(0.99)}
			o.Failed, o.Reasons = l.Failed()
			list[i] = o
		})
	}
	wg.Wait()
	return list
}

// soak runs everything, and returns what went wrong.
func soak(ctx context.Context, o options, out io.Writer) (err error) {
	m, err := newMesh(o)
	if err != nil {
		return err
	}
	p, err := newPair(o)
	if err != nil {
		return errors.Join(err, m.close())
	}
	r := &run{options: o, out: out, parts: []part{p, m}}
	defer func() {
		if err != nil && m.witness != nil {
			for _, record := range m.witness.records() {
				fmt.Fprint(out, "a proxy of the mesh said: ", record)
			}
		}
		for _, one := range r.parts {
			err = errors.Join(err, one.close())
		}
	}()
	for _, one := range r.parts {
		if err := one.start(ctx); err != nil {
			return err
		}
	}
	if err := r.calibrate(ctx, min(max(o.duration/20, time.Second), 5*time.Second)); err != nil {
		return err
	}
	// The warm-up does all that follows, so that pools and tables have the size that they need.
	if err := r.burden(ctx, min(max(o.duration/10, 3*time.Second), time.Minute), nil); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	before, err := r.rest(ctx, nil)
	if err != nil {
		return err
	}
	began := time.Now()
	bad := r.burden(ctx, o.duration, out)
	took := time.Since(began)
	after, err := r.rest(ctx, before)
	if err != nil {
		return errors.Join(bad, err)
	}
	fmt.Fprintf(out, "%v of load\n", took.Round(time.Second))
	for i := range after {
		fmt.Fprintf(out, "%s, after warm-up: %s\n%s, at the end:    %s\n", before[i].Name, &before[i], after[i].Name, &after[i])
	}
	for _, one := range r.parts {
		fmt.Fprintln(out, one.note())
	}
	return errors.Join(bad, allGrown(before, after))
}

// run is a soak that runs.
type run struct {
	options
	out   io.Writer
	parts []part
	rates [][]float64
}

// calibrate finds out how many exchanges a second each load makes without pause, all of them at once.
func (r *run) calibrate(ctx context.Context, d time.Duration) error {
	for _, p := range r.parts {
		if err := p.begin(nil, 0); err != nil {
			return err
		}
	}
	sleep(ctx, d)
	all, err := r.end()
	for _, list := range all {
		var rates []float64
		for _, o := range list {
			rates = append(rates, o.rate())
			err = errors.Join(err, o.judge())
		}
		r.rates = append(r.rates, rates)
	}
	if err != nil {
		return fmt.Errorf("without pause: %w", err)
	}
	return ctx.Err()
}

// end ends the loads of all parts at once.
func (r *run) end() ([][]outcome, error) {
	all, errs := make([][]outcome, len(r.parts)), make([]error, len(r.parts))
	var wg sync.WaitGroup
	for i, p := range r.parts {
		wg.Go(func() { all[i], errs[i] = p.end() })
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// burden loads everything while it changes and fails.
func (r *run) burden(ctx context.Context, d time.Duration, out io.Writer) (err error) {
	for i, p := range r.parts {
		if err := p.begin(r.rates[i], r.load); err != nil {
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	ends := make(chan error, len(r.parts))
	for _, p := range r.parts {
		go func() { ends <- p.trouble(limited, d) }()
	}
	for range r.parts {
		err = errors.Join(err, <-ends)
	}
	all, eerr := r.end()
	err = errors.Join(err, eerr)
	for _, list := range all {
		for _, o := range list {
			err = errors.Join(err, o.judge())
			if out != nil {
				fmt.Fprintln(out, &o)
			}
		}
	}
	return errors.Join(err, ctx.Err())
}

// restTime bounds how long connections may take to end when nobody uses them.
const restTime = 30 * time.Second

// rest waits until processes don't come down any more, and returns what they have then. With samples to compare with it is
// enough to have come down to those.
func (r *run) rest(ctx context.Context, like []sample) ([]sample, error) {
	deadline := time.Now().Add(restTime)
	var last []sample
	for same := 0; ; {
		list, err := r.samples(ctx, false)
		if err != nil {
			return nil, err
		}
		if steady(last, list) {
			same++
		} else {
			same = 0
		}
		last = list
		if late := time.Now().After(deadline); same >= 8 || late {
			if list, err = r.samples(ctx, true); err != nil || late || like == nil || allGrown(like, list) == nil {
				return list, err
			}
		}
		sleep(ctx, 300*time.Millisecond)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

func (r *run) samples(ctx context.Context, exact bool) ([]sample, error) {
	var list []sample
	for _, p := range r.parts {
		some, err := p.samples(ctx, exact)
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}
