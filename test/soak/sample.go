package main

import (
	"errors"
	"fmt"
)

// sample is what a process has.
type sample struct {
	Name        string
	Goroutines  int
	Heap        uint64 // bytes, after garbage collection
	Descriptors int
	Connections int64 // downstream, where it is known
	Error       string

	Updates int64 // of configuration and endpoints so far
	// Handshakes with servers, and those that failed on either side, so far.
	Handshakes, HandshakesFailed int64
}

func (s *sample) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %.1f MiB of heap", s.Goroutines, s.Descriptors, float64(s.Heap)/(1<<20))
}

// aside is by how many goroutines a process at rest differs from one moment to the next: timers run in some.
const aside = 2

// steady says whether nothing goes on between two rounds of samples.
func steady(before, now []sample) bool {
	if len(before) != len(now) {
		return false
	}
	for i := range now {
		b, n := &before[i], &now[i]
		if n.Connections != 0 || max(n.Goroutines-b.Goroutines, b.Goroutines-n.Goroutines) > aside || n.Descriptors != b.Descriptors {
			return false
		}
	}
	return true
}

// allGrown says what has grown in any process.
func allGrown(before, after []sample) error {
	var err error
	for i := range after {
		err = errors.Join(err, grown(&before[i], &after[i]))
	}
	return err
}

func grown(before, after *sample) error {
	var err error
	if after.Error != "" {
		err = fmt.Errorf("%s: %s", after.Name, after.Error)
	}
	if after.Goroutines > before.Goroutines+moreGoroutines {
		err = errors.Join(err, fmt.Errorf("%s: goroutines have grown from %d to %d", after.Name, before.Goroutines, after.Goroutines))
	}
	if after.Descriptors > before.Descriptors+moreDescriptors {
		err = errors.Join(err, fmt.Errorf("%s: descriptors have grown from %d to %d", after.Name, before.Descriptors, after.Descriptors))
	}
	if after.Heap > before.Heap+before.Heap/10+moreHeap {
		err = errors.Join(err, fmt.Errorf("%s: the heap has grown from %d to %d bytes", after.Name, before.Heap, after.Heap))
	}
	return err
}
