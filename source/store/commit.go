package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"lateen.dev/lateen/lib/atomicfile"
	"lateen.dev/lateen/source/files"
)

// pendingFile, in the state directory, names the steps of a change to several
// files while they are being made, so that whoever comes after a crash can
// finish it.
const pendingFile = "pending.json"

// step puts one file in place.
type step struct {
	// Path is the file, Staged the new content beside it; empty removes the file.
	Path   string `json:"path"`
	Staged string `json:"staged,omitempty"`
	// Before is the hash of what the file held, empty if it wasn't there: a file
	// that has changed since is somebody else's.
	Before string `json:"before,omitempty"`
}

// write brings the planned contents to the disk, all of them or, if that fails,
// none, also when the process or the machine ends in between: first everything
// is written beside the files, which is when a disk may be full, then what is
// going to be moved is noted, then it is moved.
func (p *plan) write(state string) ([]files.Content, error) {
	contents := p.contents()
	steps, err := p.stage(contents)
	if err == nil && len(steps) > 1 {
		err = note(state, steps)
	}
	if err != nil {
		return nil, errors.Join(err, discard(steps))
	}
	for i, s := range steps {
		if err := s.do(); err != nil {
			return nil, errors.Join(err, p.undo(contents[:i]), discard(steps[i:]), forget(state, steps))
		}
	}
	return contents, errors.Join(flush(steps), forget(state, steps))
}

// contents are the files that are going to be different, by path.
func (p *plan) contents() []files.Content {
	var contents []files.Content
	for _, path := range slices.Sorted(maps.Keys(p.now)) {
		data, before := p.now[path], p.before[path]
		if string(data) == string(before) && (data == nil) == (before == nil) {
			continue
		}
		contents = append(contents, files.Content{Path: path, Data: data, Gone: data == nil, Dropped: p.dropped[path]})
	}
	return contents
}

// stage writes new contents beside the files. After a failure the steps are
// those that have something to discard.
func (p *plan) stage(contents []files.Content) ([]step, error) {
	var steps []step
	for _, c := range contents {
		s := step{Path: c.Path, Before: hashOf(p.before[c.Path])}
		mode := os.FileMode(0o644)
		if target, err := filepath.EvalSymlinks(s.Path); err == nil {
			s.Path = target // so that a symbolic link stays one
			if info, err := os.Stat(s.Path); err == nil {
				mode = info.Mode().Perm()
			}
		}
		if !c.Gone {
			if err := atomicfile.MkdirAll(filepath.Dir(s.Path), 0o755); err != nil {
				return steps, err
			}
			staged, err := atomicfile.Stage(s.Path, c.Data, mode)
			if err != nil {
				return steps, err
			}
			s.Staged = staged
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// do makes one step.
func (s step) do() error {
	if s.Staged == "" {
		return os.Remove(s.Path)
	}
	return os.Rename(s.Staged, s.Path)
}

// flush has the disk keep what was moved.
func flush(steps []step) error {
	dirs := map[string]bool{}
	var err error
	for _, s := range steps {
		if dir := filepath.Dir(s.Path); !dirs[dir] {
			dirs[dir] = true
			err = errors.Join(err, atomicfile.SyncDir(dir))
		}
	}
	return err
}

// undo puts back what the files held.
func (p *plan) undo(contents []files.Content) error {
	var err error
	for _, c := range contents {
		before := p.before[c.Path]
		if before == nil {
			err = errors.Join(err, os.Remove(c.Path))
			continue
		}
		mode := os.FileMode(0o644)
		if info, e := os.Stat(c.Path); e == nil {
			mode = info.Mode().Perm()
		}
		err = errors.Join(err, atomicfile.Write(c.Path, before, mode))
	}
	return err
}

// discard removes what was staged.
func discard(steps []step) error {
	var err error
	for _, s := range steps {
		if s.Staged == "" {
			continue
		}
		if e := os.Remove(s.Staged); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func note(state string, steps []step) error {
	text, err := json.Marshal(steps)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(state, pendingFile), text, 0o600)
}

// forget ends a change that was noted. If it can't, the next start finds that
// there is nothing left to do.
func forget(state string, steps []step) error {
	if len(steps) < 2 {
		return nil
	}
	return os.Remove(filepath.Join(state, pendingFile))
}

// recoverPending finishes what a process that was killed had begun, and removes what
// it left beside the files. The directories must be locked.
func recoverPending(dir, state string) error {
	path := filepath.Join(state, pendingFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return removeStaged(dir)
	case err != nil:
		return fmt.Errorf("unfinished change: %w", err)
	}
	var steps []step
	if err := json.Unmarshal(text, &steps); err != nil {
		return fmt.Errorf("unfinished change in %s: %w (remove the file to forget it)", path, err)
	}
	for _, s := range steps {
		if err := s.finish(); err != nil {
			return fmt.Errorf("unfinished change of %s: %w", s.Path, err)
		}
	}
	if err := errors.Join(flush(steps), os.Remove(path)); err != nil {
		return fmt.Errorf("unfinished change: %w", err)
	}
	return removeStaged(dir)
}

// finish makes a step that may have been made, and leaves a file alone that
// somebody has changed since.
func (s step) finish() error {
	data, err := os.ReadFile(s.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		data = nil
	} else if data == nil {
		data = []byte{}
	}
	if hashOf(data) != s.Before {
		return discard([]step{s})
	}
	if err := s.do(); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// hashOf tells contents apart; nil, no file, is "".
func hashOf(data []byte) string {
	if data == nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// removeStaged removes what no step refers to any more.
func removeStaged(dir string) error {
	// What atomicfile calls the files that it writes beside YAML.
	stagedName := regexp.MustCompile(`^\..+\.(yaml|yml|json)\.[0-9]+$`)
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // reading the configuration complains about it
		}
		if e.Type().IsRegular() && stagedName.MatchString(e.Name()) {
			return os.Remove(path)
		}
		return nil
	})
}
