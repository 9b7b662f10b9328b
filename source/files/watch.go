package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
)

// How long Run waits before it believes what it sees on disk.
const (
	// quiet is the pause after the last event that ends a burst of them, as an
	// editor makes when it saves; a burst is cut off after burst.
	quiet = 10 * time.Millisecond
	burst = 20 * time.Millisecond
	// quietWhole is that pause if nobody may be writing any more: all that changed
	// was removed or got its name by renaming, as who saves in one step does. What
	// belongs together and is renamed file by file still goes live as one.
	quietWhole = 2 * time.Millisecond
	// vanish is how long a file must have been gone or empty. Some editors
	// remove or truncate a file and write it anew a little later.
	vanish = 50 * time.Millisecond
	// poll is the pace of looking when the system can't tell us about changes.
	poll = 500 * time.Millisecond
)

// run is the state of one Run.
type run struct {
	*Source
	sink    source.Sink
	scanner scanner
	watcher *fsnotify.Watcher // nil when the system has none to give
	watched map[string]stamp
	dirty   map[string]bool
	// writing are those of dirty that somebody may still be writing, and renamed
	// says that the last event was of a name that went by renaming.
	writing  map[string]bool
	renamed  bool
	vanished map[string]time.Time // when a file was first seen gone or empty
	initial  bool
	blind    bool // some directory isn't watched
	whole    bool // the next look is at the whole tree
}

// Run implements source.Source. It fails if the directory can't be read at the
// beginning; later failures are Problems and are tried again.
func (s *Source) Run(ctx context.Context, sink source.Sink) (err error) {
	defer close(s.done)
	r := &run{
		Source: s, sink: sink, watched: map[string]stamp{}, dirty: map[string]bool{}, writing: map[string]bool{}, vanished: map[string]time.Time{}, initial: true, whole: true,
		scanner: scanner{root: s.o.Root, files: map[string]stamp{}},
	}
	watcher, werr := fsnotify.NewWatcher()
	if werr == nil {
		r.watcher = watcher
		defer func() { err = errors.Join(err, watcher.Close()) }()
	}
	if err := r.look(); err != nil {
		return err
	}
	return r.loop(ctx)
}

// loop waits for events and edits. One timer serves every wait: wake is the
// time of the next look, zero when there is nothing to wait for.
func (r *run) loop(ctx context.Context) error {
	var events <-chan fsnotify.Event
	var failures <-chan error
	if r.watcher != nil {
		events, failures = r.watcher.Events, r.watcher.Errors
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var began time.Time
	wake := r.nextLook(time.Time{})
	for {
		timer.Stop()
		if !wake.IsZero() {
			timer.Reset(time.Until(wake))
		}
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if e.Op == fsnotify.Chmod && !readable(e.Name) {
				continue
			}
			r.note(e)
			now := time.Now()
			if began.IsZero() {
				began = now
			}
			wake = earlier(now.Add(r.pause()), began.Add(burst))
		case <-failures: // the system dropped events: look at everything
			r.whole = true
			wake = time.Now()
		case <-timer.C:
			began = time.Time{}
			err := r.look()
			wake = r.nextLook(time.Now())
			if err != nil {
				r.setDisk(config.Problems{r.unreadableRoot(err)})
				r.whole = true
				wake = time.Now().Add(poll)
			}
		case e := <-r.edits:
			contents, err := e.change(r.tree)
			r.take(r.sink, contents, e.via, false)
			e.answer <- editAnswer{r.Revision(), err}
		}
	}
}

// note takes an event in.
func (r *run) note(e fsnotify.Event) {
	r.dirty[e.Name] = true
	gone := e.Op.Has(fsnotify.Rename) || e.Op.Has(fsnotify.Remove)
	if gone {
		r.unwatch(e.Name)
	}
	// The system tells of both names of a file one right after the other; a file
	// that is made under its name is empty at first.
	if gone || r.renamed && e.Op == fsnotify.Create {
		delete(r.writing, e.Name)
	} else {
		r.writing[e.Name] = true
	}
	r.renamed = e.Op.Has(fsnotify.Rename)
}

// pause is how long nothing more must happen before what is dirty is looked at.
func (r *run) pause() time.Duration {
	if len(r.writing) > 0 {
		return quiet
	}
	return quietWhole
}

// nextLook is when to look again without any event.
func (r *run) nextLook(now time.Time) time.Time {
	if now.IsZero() {
		now = time.Now()
	}
	var next time.Time
	for _, since := range r.vanished {
		next = earlier(next, since.Add(vanish))
	}
	if r.blind {
		next = earlier(next, now.Add(poll))
	}
	return next
}

// earlier is the earlier of two times of which the first may be unset.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// look compares the disk with what is known and makes the difference live.
func (r *run) look() error {
	dirty := r.dirty
	r.dirty = map[string]bool{}
	clear(r.writing)
	for path := range r.vanished {
		dirty[path] = true
	}
	f, ok := finding{}, false
	if !r.whole && !r.blind && r.watcher != nil {
		f, ok = r.scanner.scanFiles(dirty)
	}
	if !ok {
		var err error
		if f, err = r.lookAtAll(dirty); err != nil {
			r.dirty = dirty
			return err
		}
	}
	r.whole = false
	r.take(r.sink, r.credible(f, time.Now()), "file", r.initial)
	r.initial = false
	return nil
}

// lookAtAll scans the whole tree. Directories that are new are watched first and
// then looked at again, so that nothing written in between is missed.
func (r *run) lookAtAll(dirty map[string]bool) (finding, error) {
	f, err := r.scanner.scan(dirty)
	for tries := 0; err == nil && r.watch(f.dirs) && tries < 10; tries++ {
		f, err = r.scanner.scan(dirty)
	}
	if err != nil {
		return f, err
	}
	r.scanner.dirs, r.scanner.plain = f.dirs, f.links == 0
	r.setDisk(r.diskProblems(f))
	r.blind = len(r.watched) < len(f.dirs)
	return f, nil
}

// credible returns the contents to act on now, and leaves those aside that look
// like a file in the middle of being saved.
func (r *run) credible(f finding, now time.Time) []Content {
	var contents []Content
	seen := map[string]bool{}
	for _, c := range f.contents {
		seen[c.Path] = true
		_, known := r.scanner.files[c.Path]
		empty := c.Gone || c.Err == nil && len(bytes.TrimSpace(c.Data)) == 0
		if since, waiting := r.vanished[c.Path]; known && empty && (!waiting || now.Sub(since) < vanish) {
			if !waiting {
				r.vanished[c.Path] = now
			}
			continue
		}
		delete(r.vanished, c.Path)
		r.scanner.accept(c.Path, f)
		contents = append(contents, c)
	}
	for path := range r.vanished {
		if !seen[path] {
			delete(r.vanished, path)
		}
	}
	return contents
}

// watch follows exactly the given directories and says whether some are new.
func (r *run) watch(dirs map[string]stamp) bool {
	if r.watcher == nil {
		return false
	}
	added := false
	for dir, was := range r.watched {
		if dirs[dir] != was {
			// An error here means that the system forgot the directory already.
			_ = r.watcher.Remove(dir)
			delete(r.watched, dir)
		}
	}
	for dir, now := range dirs {
		if _, already := r.watched[dir]; already {
			continue
		}
		if err := r.watcher.Add(dir); err == nil {
			r.watched[dir] = now
			added = true
		}
	}
	return added
}

// unwatch forgets a directory that was moved or removed, and those below it. The
// system doesn't follow them any more, also if they come back as they were.
func (r *run) unwatch(gone string) {
	for dir := range r.watched {
		if dir == gone || strings.HasPrefix(dir, gone+string(filepath.Separator)) {
			_ = r.watcher.Remove(dir) // an error means that the system forgot it already
			delete(r.watched, dir)
		}
	}
}

func (r *run) diskProblems(f finding) config.Problems {
	code := config.CodeUnreadable
	var ps config.Problems
	for _, link := range f.strays {
		ps = append(ps, config.Problem{
			Severity: config.Warning, Code: code.ID, Name: code.Name, Position: config.Position{File: link},
			Message: "the symbolic link leads out of the configuration directory and isn't followed", Hint: "Copy the file, or move it here",
		})
	}
	for dir := range f.dirs {
		if _, ok := r.watched[dir]; !ok && r.watcher != nil {
			ps = append(ps, config.Problem{
				Severity: config.Warning, Code: code.ID, Name: code.Name, Position: config.Position{File: dir},
				Message: "the system refuses to watch this directory, so changes in it are seen late", Hint: "Raise fs.inotify.max_user_watches",
			})
		}
	}
	return ps
}

func (r *run) unreadableRoot(err error) config.Problem {
	code := config.CodeUnreadable
	return config.Problem{
		Severity: config.Error, Code: code.ID, Name: code.Name, Position: config.Position{File: r.o.Root},
		Message: fmt.Sprintf("%v; what was live stays live", err), Hint: "Bring the directory back",
	}
}
