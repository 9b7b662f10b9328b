package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/api"
	"lateen.dev/lateen/source/files"
)

// Options say where a Store keeps its things.
type Options struct {
	// Dir is the directory of YAML, which people may edit. It is made if missing.
	Dir string
	// State is the directory for the lock and the change log, outside of Dir. It
	// is made if missing, for its owner only.
	State string
	// Now is the clock for the change log; time.Now when nil.
	Now func() time.Time
}

// Store is a source.Source that can be written to, and api's Backend.
type Store struct {
	*files.Source
	o    Options
	lock *os.File
	log  *changeLog

	warnings warnings
	recorded chan struct{} // closed after the first batch
	recorder *recorder

	mu      sync.Mutex // guards logging
	logging error      // why the change log couldn't be written last, nil if it could
}

// Open takes the directories for this process. It fails with ErrInUse when
// another process has them. The caller closes the Store after Run has returned.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	for dir, mode := range map[string]os.FileMode{o.Dir: 0o755, o.State: 0o700} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, fmt.Errorf("configuration store: %w", err)
		}
	}
	held, err := lock(o.State)
	if err != nil {
		return nil, err
	}
	if err := recoverPending(o.Dir, o.State); err != nil {
		return nil, errors.Join(err, held.Close())
	}
	log, err := openLog(o.State)
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	s := &Store{o: o, lock: held, log: log, recorder: newRecorder(), recorded: make(chan struct{})}
	s.Source = files.New(files.Options{Root: o.Dir, Revision: log.lastRevision(), Remembered: s.remembered, Changed: s.changed})
	return s, nil
}

// Run implements source.Source. What it has made live is written down when it returns.
// It must not be called again.
func (s *Store) Run(ctx context.Context, sink source.Sink) error {
	var writing sync.WaitGroup
	writing.Go(func() { s.recorder.run(s.record) })
	defer writing.Wait()
	defer s.recorder.end()
	return s.Source.Run(ctx, sink)
}

// Edit is files.Source's, and has written the change down when it returns.
func (s *Store) Edit(ctx context.Context, via string, change func(*files.Tree) ([]files.Content, error)) (uint64, error) {
	revision, err := s.Source.Edit(ctx, via, change)
	s.recorder.wait()
	return revision, err
}

// Close gives the directories back. Run must have returned.
func (s *Store) Close() error {
	return errors.Join(s.log.close(), s.lock.Close())
}

// Problems implements source.Source.
func (s *Store) Problems() config.Problems {
	ps := s.Source.Problems()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logging != nil {
		code := config.CodeUnreadable
		ps = append(ps, config.Problem{
			Severity: config.Error, Code: code.ID, Name: code.Name, Position: config.Position{File: s.o.State},
			Message: s.logging.Error(), Hint: "Changes are live but not recorded; make room on the disk",
		})
	}
	return ps
}

// Changes reads the change log after a revision.
func (s *Store) Changes(since uint64, limit int) (api.ChangesResponse, error) {
	s.recorder.wait()
	return s.log.read(since, limit)
}

// remembered are the objects that a file held by the change log's account, in
// their last good version.
func (s *Store) remembered(path string) []*config.Object {
	s.recorder.wait()
	entries, err := s.log.held(path)
	if err != nil {
		s.mu.Lock()
		s.logging = err
		s.mu.Unlock()
		return nil
	}
	var objects []*config.Object
	for _, e := range entries {
		for _, o := range config.Decode(e.Body, config.DecodeOptions{File: path}).Objects() {
			good := *o
			good.Origin = config.Origin{Source: s.Name(), Position: config.Position{File: path}}
			objects = append(objects, &good)
		}
	}
	return objects
}

// live are the live objects.
func (s *Store) live() []*config.Object {
	objects, _ := s.Objects()
	return objects
}

func (s *Store) changed(b source.Batch, via string) {
	s.recorder.add(recorded{b, via, s.o.Now()})
}

// Recorded is closed when the change log has what the first batch brought, which
// takes a while after the batch is live.
func (s *Store) Recorded() <-chan struct{} { return s.recorded }

// record writes batches to the change log, after what they mean for warnings is known.
func (s *Store) record(batches []recorded) {
	var records []record
	known := map[config.Key]string{} // by records; "" for what is gone
	hash := func(key config.Key) (string, bool) {
		if h, ok := known[key]; ok {
			return h, h != ""
		}
		return s.log.hash(key)
	}
	for _, b := range batches {
		if b.Initial {
			defer close(s.recorded)
		}
		s.warnings.changed(b.Batch)
		news := s.newsIn(b, hash)
		for _, r := range news {
			known[r.Key] = r.hash
		}
		records = append(records, news...)
	}
	if len(records) == 0 {
		return
	}
	err := s.log.append(records)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logging = err
}

// newsIn is what a batch changes in the log. Of the first batch only what changed while no control plane was running is new.
func (s *Store) newsIn(b recorded, hash func(config.Key) (string, bool)) []record {
	var records []record
	gone := map[config.Key]bool{}
	if b.Initial {
		for _, key := range s.log.keys() {
			gone[key] = true
		}
	}
	entry := func(key config.Key, action api.Action) record {
		return record{Entry: api.Entry{Revision: b.Revision, Time: b.at.UTC(), Key: key, Action: action, Via: b.via}}
	}
	for _, c := range b.Changes {
		delete(gone, c.Key)
		before, existed := hash(c.Key)
		if c.Object == nil {
			records = append(records, entry(c.Key, api.Deleted))
			continue
		}
		now := c.Object.ResourceVersion
		if existed && now == before {
			continue // only its place changed
		}
		r := entry(c.Key, api.Created)
		if existed {
			r.Action = api.Configured
		}
		r.File, r.hash, r.object = c.Object.Origin.File, now, c.Object
		records = append(records, r)
	}
	for key := range gone {
		records = append(records, entry(key, api.Deleted))
	}
	slices.SortFunc(records, func(a, b record) int { return a.Key.Compare(b.Key) })
	return records
}

// newPath is the file for an object that has none yet.
func (s *Store) newPath(key config.Key) string {
	dir := key.Namespace
	if dir == "" {
		dir = "cluster"
	}
	return filepath.Join(s.o.Dir, dir, key.Kind.Plural()+"."+key.Name+".yaml")
}

var _ interface {
	source.Source
	Apply(context.Context, api.ApplyRequest) (api.ApplyResponse, error)
} = (*Store)(nil)
