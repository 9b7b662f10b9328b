package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"lateen.dev/lateen/source"
	"lateen.dev/lateen/source/kept"
)

// keepEvery is how often at most it is saved what a source says.
const keepEvery = 2 * time.Second

// keptFile is where it is kept what a source said.
func (s *sources) keptFile(id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:16])+".json")
}

// keep has it saved what a source says, and begins with what was saved before: the
// source need not be there for a start. done saves the last of it.
func (s *sources) keep(ctx context.Context, r *runningSource, sink source.Sink) (_ source.Sink, done func()) {
	path := s.keptFile(r.id)
	switch before, err := kept.Load(path, r.id); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		s.log.Error("what a source said before is not used", "source", r.name, "error", err)
	default:
		s.log.Warn("starting with what the source said before; it has to be heard from yet", "source", r.name, "saved", before.Saved, "objects", len(before.Objects))
		b := source.Batch{Initial: true}
		for _, o := range before.Objects {
			b.Changes = append(b.Changes, source.Put(o))
		}
		sink.Apply(b)
		s.note(func() { r.stale, r.objects = before.Saved, len(before.Objects) })
	}
	k := kept.NewKeeper(path, r.id, sink, s.log)
	ended := make(chan struct{})
	saving, cancel := context.WithCancel(ctx)
	go func() { // done waits for it
		defer close(ended)
		k.Run(saving, keepEvery)
	}()
	return k, func() {
		cancel()
		<-ended
	}
}
