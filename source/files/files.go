package files

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
)

// Options say what a Source reads.
type Options struct {
	// Root is the directory. It must exist when Run begins.
	Root string
	// Name is the source's name, and Origin.Source of its objects; "file" when empty.
	Name string
	// Revision is where counting begins, for an owner that remembers it.
	Revision uint64
	// Remembered, if set, tells what a file held when it was last good. It is
	// asked about files that are broken when they are first seen, so that a
	// restart serves what was served before.
	Remembered func(path string) []*config.Object
	// Changed, if set, hears of every batch after the sink, in Run's goroutine.
	// via is "file" for changes found on disk, otherwise what Edit was given.
	Changed func(b source.Batch, via string)
}

// Source follows a directory tree of configuration. Make one with New.
type Source struct {
	o     Options
	edits chan edit
	done  chan struct{} // closed when Run has returned

	mu       sync.Mutex // guards what follows; held for short, never across I/O
	tree     *Tree
	revision uint64
	disk     config.Problems // about the directory itself
}

// New makes a Source. It does nothing until Run.
func New(o Options) *Source {
	if o.Name == "" {
		o.Name = "file"
	}
	s := &Source{o: o, edits: make(chan edit), done: make(chan struct{}), tree: NewTree(o.Name), revision: o.Revision}
	s.tree.remembered = o.Remembered
	return s
}

// Name implements source.Source.
func (s *Source) Name() string { return s.o.Name }

// Problems implements source.Source.
func (s *Source) Problems() config.Problems {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(s.disk[:len(s.disk):len(s.disk)], s.tree.Problems()...)
}

// Objects are the live objects, sorted by key, and their revision.
func (s *Source) Objects() ([]*config.Object, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree.Objects(), s.revision
}

// Count is how many objects are live, and their revision.
func (s *Source) Count() (objects int, revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree.Count(), s.revision
}

// Object is the live object of a key, nil if there is none.
func (s *Source) Object(key config.Key) *config.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree.Object(key)
}

// Revision is that of what is live.
func (s *Source) Revision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

// ErrStopped means that the source isn't running any more.
var ErrStopped = errors.New("the configuration source has stopped")

type edit struct {
	via    string
	change func(*Tree) ([]Content, error)
	answer chan editAnswer
}

type editAnswer struct {
	revision uint64
	err      error
}

// Edit changes files as one step with making their objects live. change runs in
// Run's goroutine, where nothing else changes the tree; it looks at the Tree
// without altering it, writes to the disk and returns what it wrote, also if it
// fails halfway. Edit waits for Run to be running, and returns the revision
// that has the change.
func (s *Source) Edit(ctx context.Context, via string, change func(*Tree) ([]Content, error)) (uint64, error) {
	e := edit{via: via, change: change, answer: make(chan editAnswer, 1)}
	select {
	case s.edits <- e:
	case <-ctx.Done():
		return 0, fmt.Errorf("change configuration: %w", ctx.Err())
	case <-s.done:
		return 0, ErrStopped
	}
	select {
	case a := <-e.answer:
		return a.revision, a.err
	case <-s.done:
		return 0, ErrStopped
	}
}

// take makes contents live and tells the sink.
func (s *Source) take(sink source.Sink, contents []Content, via string, initial bool) {
	s.mu.Lock()
	changes := s.tree.Update(contents)
	if len(changes) > 0 {
		s.revision++
	}
	b := source.Batch{Initial: initial, Revision: s.revision, Changes: changes}
	s.mu.Unlock()
	if len(changes) == 0 && !initial {
		return
	}
	sink.Apply(b)
	if s.o.Changed != nil {
		s.o.Changed(b, via)
	}
}

func (s *Source) setDisk(ps config.Problems) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk = ps
}
