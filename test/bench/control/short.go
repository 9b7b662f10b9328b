package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// short limits are ratios of the server's processor time to that of the
// calibration loop, two to four times what was measured when they were written: they
// catch what grows with the mesh instead of with the change, not noise.
type shortLimit struct {
	scenario              scenario
	full, endpoint, route float64
}

func shortLimits() []shortLimit {
	return []shortLimit{
		{scenario: scenario{services: 500, clients: 50}, full: 16, endpoint: 0.4, route: 3.5},
		{scenario: scenario{services: 500, clients: 50, sotw: true}, full: 16, endpoint: 0.4, route: 3.5},
		{scenario: scenario{services: 500, clients: 50, ours: true}, full: 16, endpoint: 0.4, route: 1},
	}
}

// runShort measures small meshes and judges them.
func runShort(ctx context.Context, o options, out io.Writer) error {
	o.changes = 3
	unit := calibrate()
	fmt.Fprintf(out, "calibration loop: %s\n", unit.Round(time.Microsecond))
	var failures error
	for _, limit := range shortLimits() {
		r, err := measure(ctx, o, limit.scenario)
		if err != nil {
			return fmt.Errorf("%s: %w", limit.scenario.name(), err)
		}
		r.print(out)
		judge := func(what string, took time.Duration, limit float64) {
			ratio := float64(took) / float64(unit)
			fmt.Fprintf(out, "  %-20s %6.2f of the loop, limit %.2f\n", what, ratio, limit)
			if ratio > limit {
				failures = errors.Join(failures, fmt.Errorf("%s: %s took %.2f of the calibration loop, more than %.2f", r.Name, what, ratio, limit))
			}
		}
		judge("first configuration", r.FullCPU, limit.full)
		judge("endpoint change", r.Changes["endpoint files"].CPU, limit.endpoint)
		judge("route change", r.Changes["route files"].CPU, limit.route)
	}
	return failures
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		panic(err) // the kernel always has this clock
	}
	return time.Duration(t.Nano())
}

// calibrate is the processor time that this machine takes for a fixed piece of
// work of the kinds that the server does: hashing, copying and looking up.
func calibrate() time.Duration {
	best := time.Duration(0)
	for range 5 {
		began := processorTime()
		buffer := make([]byte, 1<<20)
		found := map[[sha256.Size]byte]int{}
		for i := range 40 {
			buffer[i] = byte(i)
			found[sha256.Sum256(buffer)]++
			copy(buffer[1<<19:], buffer[:1<<19])
		}
		for i := range 200_000 {
			key := [sha256.Size]byte{byte(i), byte(i >> 8), byte(i >> 16)}
			found[key]++
		}
		if took := processorTime() - began; best == 0 || took < best {
			best = took
		}
	}
	return best
}
