package discovery

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"lateen.dev/lateen/proxy/bootstrap"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/client"
)

// How files are followed.
const (
	// quiet is the pause after a change in a directory before its files are read: changes come in bursts.
	quiet = 10 * time.Millisecond
	// poll is how often files are read whose directory can't be watched.
	poll = time.Second
)

// files follows the files that sources name.
type files struct {
	handler client.Handler
	log     *slog.Logger
	changed chan struct{} // capacity 1; wakes run

	mu   sync.Mutex // guards wanted, and what the files want
	list []*file    // in the order in which they are read
}

// file is a file that is asked for resources of a type.
type file struct {
	source  plan.Source
	typeURL string
	// whole asks for all of it; names are asked for otherwise. Both are guarded by files.mu.
	whole bool
	names map[string]bool

	// What run has read: of the file's text, and the versions in use, by name.
	text     []byte
	failed   string // why it can't be read, as it was logged
	versions map[string]string
}

func newFiles(h client.Handler, log *slog.Logger) *files {
	return &files{handler: h, log: log, changed: make(chan struct{}, 1)}
}

// want asks for names in a file, or for all of it.
func (f *files) want(s plan.Source, typeURL string, whole bool, names ...string) {
	f.mu.Lock()
	i := slices.IndexFunc(f.list, func(x *file) bool { return x.source == s && x.typeURL == typeURL })
	if i < 0 {
		i = len(f.list)
		f.list = append(f.list, &file{source: s, typeURL: typeURL, names: map[string]bool{}, versions: map[string]string{}})
	}
	f.list[i].whole = f.list[i].whole || whole
	for _, n := range names {
		f.list[i].names[n] = true
	}
	f.mu.Unlock()
	f.wake()
}

func (f *files) unwant(s plan.Source, typeURL string, names ...string) {
	f.mu.Lock()
	for _, x := range f.list {
		if x.source == s && x.typeURL == typeURL {
			for _, n := range names {
				delete(x.names, n)
			}
		}
	}
	f.list = slices.DeleteFunc(f.list, func(x *file) bool { return !x.whole && len(x.names) == 0 })
	f.mu.Unlock()
	f.wake()
}

func (f *files) wake() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

type fileSubscriber struct {
	f *files
	s plan.Source
}

func (s fileSubscriber) Subscribe(typeURL string, names ...string) {
	s.f.want(s.s, typeURL, false, names...)
}

func (s fileSubscriber) Unsubscribe(typeURL string, names ...string) {
	s.f.unwant(s.s, typeURL, names...)
}

// run reads the files, and again whenever something changes where they are, until ctx ends.
func (f *files) run(ctx context.Context) {
	watcher, err := fsnotify.NewWatcher()
	var events <-chan fsnotify.Event
	var failures <-chan error
	if err != nil {
		f.log.Warn("files are read every second, because they can't be watched", "error", err)
	} else {
		defer watcher.Close()
		events, failures = watcher.Events, watcher.Errors
	}
	watched := map[string]bool{}
	for {
		blind := f.watch(watcher, watched)
		f.readAll(ctx)
		var again <-chan time.Time
		if blind {
			again = time.After(poll)
		}
		select {
		case <-ctx.Done():
			return
		case <-f.changed:
		case <-again:
		case err := <-failures:
			f.log.Warn("watching files", "error", err)
		case <-events:
			drain(ctx, events)
		}
	}
}

// drain waits until nothing more happens.
func drain(ctx context.Context, events <-chan fsnotify.Event) {
	for {
		select {
		case <-events:
		case <-time.After(quiet):
			return
		case <-ctx.Done():
			return
		}
	}
}

// watch has the directories of all files watched, and says whether any can't be.
func (f *files) watch(w *fsnotify.Watcher, watched map[string]bool) (blind bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.list {
		for _, dir := range []string{filepath.Dir(x.source.Path), x.source.Watched} {
			if dir == "" || watched[dir] {
				continue
			}
			if w == nil || w.Add(dir) != nil {
				blind = true
				continue
			}
			watched[dir] = true
		}
	}
	return blind
}

func (f *files) readAll(ctx context.Context) {
	f.mu.Lock()
	list := slices.Clone(f.list)
	f.mu.Unlock()
	for _, x := range list {
		if err := f.read(ctx, x); err != nil && err.Error() != x.failed {
			f.log.Warn("a file of configuration can't be used, what is there stays", "file", x.source.Path, "error", err)
			x.failed = err.Error()
		} else if err == nil {
			x.failed = ""
		}
	}
}

// read tells the handler what has changed in a file, or in what is wanted of it.
func (f *files) read(ctx context.Context, x *file) error {
	text, err := os.ReadFile(x.source.Path)
	if err != nil {
		return err
	}
	f.mu.Lock()
	asked, whole := len(x.names), x.whole
	for name := range x.versions {
		if !whole && !x.names[name] {
			delete(x.versions, name)
		}
	}
	for name := range x.names {
		if _, ok := x.versions[name]; ok {
			asked--
		}
	}
	f.mu.Unlock()
	first := x.text == nil
	if !first && bytes.Equal(text, x.text) && (whole || asked == 0) {
		return nil
	}
	resources, version, err := bootstrap.Resources(x.source.Path, x.typeURL, text)
	if err != nil {
		return err
	}
	x.text = text
	u := f.difference(x, resources)
	if u.Version = version; version == "" {
		u.Version = "file"
	}
	if len(u.Added)+len(u.Removed) == 0 && (!first || !whole) {
		return nil
	}
	var refused error
	for _, r := range f.handler.Update(ctx, u) {
		delete(x.versions, r.Name)
		refused = fmt.Errorf("refused: %w", r)
	}
	return refused
}

// difference leaves of what a file holds what is wanted and new, and notes it as told.
func (f *files) difference(x *file, resources []*xds.Resource) xds.Update {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := xds.Update{TypeURL: x.typeURL}
	seen := map[string]bool{}
	for _, r := range resources {
		if !x.whole && !x.names[r.Name] {
			continue
		}
		seen[r.Name] = true
		if x.versions[r.Name] != r.Version {
			x.versions[r.Name] = r.Version
			u.Added = append(u.Added, r)
		}
	}
	for name := range x.versions {
		// A name that is asked for and missing is not taken away, as with the state-of-the-world protocol.
		if x.whole && !seen[name] {
			delete(x.versions, name)
			u.Removed = append(u.Removed, name)
		}
	}
	return u
}
