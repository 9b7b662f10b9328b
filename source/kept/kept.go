package kept

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/lib/atomicfile"
	"lateen.dev/lateen/source"
)

// State is what a source held at a moment.
type State struct {
	// ID is what the reader knows the source by: a file of another one is not read.
	ID       string
	Revision uint64
	Saved    time.Time
	Objects  []*config.Object
}

// maxFileBytes is how large a file may be: a hundred thousand objects.
const maxFileBytes = 1 << 30

// file is a State on disk.
type file struct {
	ID       string    `json:"id"`
	Revision uint64    `json:"revision"`
	Saved    time.Time `json:"saved"`
	Objects  []object  `json:"objects"`
}

type object struct {
	// Source and Position are its origin's.
	Source   string          `json:"source"`
	Position config.Position `json:"position"`
	Body     json.RawMessage `json:"body"`
}

// Save writes a state where only its owner may read it. It is whole or not there.
func Save(path string, s State) error {
	f := file{ID: s.ID, Revision: s.Revision, Saved: s.Saved, Objects: make([]object, 0, len(s.Objects))}
	for _, o := range s.Objects {
		body, err := json.Marshal(o)
		if err != nil {
			return fmt.Errorf("keep %s: %w", o.Key, err)
		}
		f.Objects = append(f.Objects, object{Source: o.Origin.Source, Position: o.Origin.Position, Body: body})
	}
	b, err := json.Marshal(&f)
	if err != nil {
		return fmt.Errorf("keep %s: %w", s.ID, err)
	}
	if err := atomicfile.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep %s: %w", s.ID, err)
	}
	return atomicfile.Write(path, b, 0o600)
}

// Load reads what was saved of the source. Objects that this version doesn't read
// any more are left out.
func Load(path, id string) (State, error) {
	info, err := os.Stat(path)
	if err != nil {
		return State{}, err
	}
	if info.Size() > maxFileBytes {
		return State{}, fmt.Errorf("%s has %d bytes, %d are read", path, info.Size(), maxFileBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return State{}, err
	}
	return decode(b, path, id)
}

func decode(b []byte, path, id string) (State, error) {
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return State{}, fmt.Errorf("%s: %w", path, err)
	}
	if f.ID != id {
		return State{}, fmt.Errorf("%s is of another source, %s", path, f.ID)
	}
	s := State{ID: f.ID, Revision: f.Revision, Saved: f.Saved}
	for _, one := range f.Objects {
		for _, o := range config.Decode(one.Body, config.DecodeOptions{File: path, Source: one.Source}).Objects() {
			o.Origin = config.Origin{Source: one.Source, Position: one.Position}
			s.Objects = append(s.Objects, o)
		}
	}
	return s, nil
}

// Keeper is a Sink that passes on what a source says, and saves it.
type Keeper struct {
	id, path string
	next     source.Sink
	log      *slog.Logger

	mu       sync.Mutex // guards what follows
	objects  map[config.Key]*config.Object
	revision uint64
	whole    bool
	dirty    chan struct{} // has an element when something is to be saved
}

// NewKeeper keeps what it hands to the next sink in a file.
func NewKeeper(path, id string, next source.Sink, log *slog.Logger) *Keeper {
	return &Keeper{id: id, path: path, next: next, log: log, objects: map[config.Key]*config.Object{}, dirty: make(chan struct{}, 1)}
}

// Apply implements source.Sink.
func (k *Keeper) Apply(b source.Batch) {
	k.next.Apply(b)
	k.mu.Lock()
	defer k.mu.Unlock()
	if b.Initial {
		clear(k.objects)
		k.whole = true
	}
	for _, c := range b.Changes {
		if c.Object == nil {
			delete(k.objects, c.Key)
		} else {
			k.objects[c.Key] = c.Object
		}
	}
	k.revision = b.Revision
	select {
	case k.dirty <- struct{}{}:
	default:
	}
}

// Run saves what changed, not more often than every so often, until ctx ends.
func (k *Keeper) Run(ctx context.Context, every time.Duration) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-k.dirty:
			rest := time.NewTimer(every)
			select {
			case <-ctx.Done():
			case <-rest.C:
			}
			rest.Stop()
			k.save()
		}
	}
	select {
	case <-k.dirty:
		k.save()
	default:
	}
}

func (k *Keeper) save() {
	k.mu.Lock()
	s := State{ID: k.id, Revision: k.revision, Saved: time.Now(), Objects: make([]*config.Object, 0, len(k.objects))}
	whole := k.whole
	for _, o := range k.objects {
		s.Objects = append(s.Objects, o)
	}
	k.mu.Unlock()
	if !whole {
		return
	}
	slices.SortFunc(s.Objects, func(a, b *config.Object) int { return a.Compare(b.Key) })
	if err := Save(k.path, s); err != nil {
		k.log.Error("what a source said is not kept; a restart waits for it", "source", k.id, "error", err)
	}
}

// Forget removes what was kept of a source.
func Forget(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget %s: %w", path, err)
	}
	return nil
}
