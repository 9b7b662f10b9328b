package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// edits changes a configuration directory at random, one file at a time.
type edits struct {
	dir    string
	s      scenario
	random *rand.Rand
	count  int
	broken map[string]bool // files that can't be parsed at the moment

	mu    sync.Mutex // guards marks
	marks []time.Time
}

func newEdits(dir string, s scenario, seed uint64) *edits {
	return &edits{dir: dir, s: s, random: rand.New(rand.NewPCG(seed, 1)), broken: map[string]bool{}}
}

// The files that edits changes: mutable services, with rules of their own.
const (
	mutable     = 24
	mutableName = "churn-%d"
)

func mutableFile(kind string, k int) string { return fmt.Sprintf("zy-%s-%02d.yaml", kind, k) }

// makeGood leaves no file broken, and all marks in place.
func (e *edits) makeGood() error {
	for name := range e.broken {
		if err := e.remove(name); err != nil {
			return err
		}
	}
	clear(e.broken)
	return e.mark()
}

// rest is the time until the next edit: mostly short, sometimes none for a
// while, so that storms and single changes both happen.
func (e *edits) rest() time.Duration {
	switch n := e.random.IntN(20); {
	case n == 0:
		return time.Duration(e.random.IntN(700)) * time.Millisecond
	case n < 8:
		return time.Duration(e.random.IntN(30)) * time.Millisecond
	}
	return time.Millisecond
}

// step makes one edit.
func (e *edits) step() error {
	e.count++
	k := e.random.IntN(mutable)
	switch n := e.random.IntN(100); {
	case n < 12:
		return e.mark()
	case n < 50:
		return e.service(k, false)
	case n < 60:
		return e.service(k, true)
	case n < 65:
		return e.remove(mutableFile("service", k))
	case n < 77:
		return e.write(mutableFile("route", k), e.route(k))
	case n < 80:
		return e.remove(mutableFile("route", k))
	case n < 87:
		return e.write(mutableFile("rule", k), e.rule(k))
	case n < 90:
		return e.remove(mutableFile("rule", k))
	case n < 94:
		name := mutableFile("broken", k%4)
		e.broken[name] = true
		return e.write(name, "kind: [VirtualService\n  this is: not YAML")
	case n < 96:
		return e.write("zy-authz.yaml", strings.Replace(authorizationPolicy(e.random.IntN(namespaces)), "name: allow", "name: churn", 1))
	case n < 97 && !e.s.scoped:
		return e.write("zy-sidecar.yaml", sidecar(e.random.IntN(namespaces)))
	case n < 98:
		return e.remove("zy-sidecar.yaml")
	}
	return e.burst()
}

// burst changes many files at once.
func (e *edits) burst() error {
	for k := range mutable {
		if err := e.service(k, e.random.IntN(3) == 0); err != nil {
			return err
		}
	}
	return e.mark()
}

func (e *edits) service(k int, ports bool) error {
	var eps []string
	for range 1 + e.random.IntN(5) {
		eps = append(eps, fmt.Sprintf("10.253.%d.%d", k, 1+e.random.IntN(250)))
	}
	return e.write(mutableFile("service", k), serviceEntry(fmt.Sprintf(mutableName, k), mutableNamespace(k), address("172.19.1.1", k), eps, ports))
}

func mutableNamespace(k int) string { return fmt.Sprintf("ns-%d", k%3) }

func mutableHost(k int) string {
	return fmt.Sprintf(mutableName+".%s.svc.cluster.local", k, mutableNamespace(k))
}

func (e *edits) route(k int) string {
	h := mutableHost(k)
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: churn-%d, namespace: %s}\nspec:\n  hosts: [%s]\n"+
		"  http:\n  - timeout: %ds\n    route:\n    - {destination: {host: %s, subset: v1}, weight: %d}\n    - {destination: {host: %s}, weight: %d}\n",
		k, mutableNamespace(k), h, 1+e.random.IntN(9), h, 40, h, 60)
}

func (e *edits) rule(k int) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: churn-%d, namespace: %s}\nspec:\n  host: %s\n"+
		"  trafficPolicy: {connectionPool: {tcp: {maxConnections: %d}}}\n  subsets:\n  - {name: v%d, labels: {version: v1}}\n",
		k, mutableNamespace(k), mutableHost(k), 1+e.random.IntN(999), 1+e.random.IntN(2))
}

// mark writes the next mark into both marked objects.
func (e *edits) mark() error {
	n := e.marked() + 1
	if err := e.write(changeService, changedService(endpointMark(n))); err != nil {
		return err
	}
	if err := e.write(changeRoute, changedRoute(routeMark(n))); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.marks = append(e.marks, time.Now())
	return nil
}

func (e *edits) marked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.marks)
}

// made is when a mark was made; marks count from 1.
func (e *edits) made(n int) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.marks[n-1]
}

func (e *edits) write(name, text string) error {
	temporary := filepath.Join(e.dir, "."+name)
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		return fmt.Errorf("edit: %w", err)
	}
	if err := os.Rename(temporary, filepath.Join(e.dir, name)); err != nil {
		return fmt.Errorf("edit: %w", err)
	}
	return nil
}

func (e *edits) remove(name string) error {
	if err := os.Remove(filepath.Join(e.dir, name)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("edit: %w", err)
	}
	return nil
}
