package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"lateen.dev/lateen/config"
)

// scanner knows how the tree looked on disk when it was last read.
type scanner struct {
	root  string
	files map[string]stamp // by path
	dirs  map[string]stamp
	// plain says that there were no symbolic links in the tree, so that what
	// happens to a path concerns that path alone.
	plain bool
}

// stamp tells versions of a file apart without reading it.
type stamp struct {
	inode   uint64
	size    int64
	changed time.Time
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), changed: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	if info.IsDir() {
		s = stamp{inode: s.inode}
	}
	return s
}

// finding is what a scan found on disk.
type finding struct {
	contents []Content // files that changed since the last scan, and files gone
	stamps   map[string]stamp
	dirs     map[string]stamp
	strays   []string // symbolic links that lead out of the tree
	links    int      // all symbolic links
	// partial says that nothing but files that were told to be dirty was looked
	// at: what isn't in stamps isn't gone, and dirs and strays say nothing.
	partial bool
}

// scan looks at the whole tree and reads the files that changed; those in dirty
// are read in any case, because a stamp can be too coarse to show a change. It
// doesn't change the scanner: accept does.
func (s *scanner) scan(dirty map[string]bool) (finding, error) {
	f := finding{stamps: map[string]stamp{}, dirs: map[string]stamp{}}
	real, err := filepath.EvalSymlinks(s.root)
	if err != nil {
		return f, fmt.Errorf("configuration directory: %w", err)
	}
	if err := s.walk(s.root, real, &f, map[uint64]bool{}); err != nil {
		return f, fmt.Errorf("configuration directory: %w", err)
	}
	for path, now := range f.stamps {
		if s.files[path] == now && !dirty[path] {
			continue
		}
		data, err := read(path)
		if errors.Is(err, fs.ErrNotExist) {
			delete(f.stamps, path)
			continue
		}
		f.contents = append(f.contents, Content{Path: path, Data: data, Err: err})
	}
	for path := range s.files {
		if _, there := f.stamps[path]; !there {
			f.contents = append(f.contents, Content{Path: path, Gone: true})
		}
	}
	return f, nil
}

// scanFiles does what scan does in a tree in which nothing but the dirty files
// can have changed: the cost doesn't depend on how large the tree is. ok is
// false when more than files' contents may have changed, and a scan is needed.
func (s *scanner) scanFiles(dirty map[string]bool) (f finding, ok bool) {
	if !s.plain {
		return f, false
	}
	f = finding{stamps: map[string]stamp{}, partial: true}
	for path := range dirty {
		if _, inside := s.dirs[filepath.Dir(path)]; !inside {
			return f, false
		}
		if ignored(filepath.Base(path)) {
			continue
		}
		info, err := os.Lstat(path)
		gone := errors.Is(err, fs.ErrNotExist)
		_, dir := s.dirs[path]
		_, file := s.files[path]
		switch {
		case dir, !gone && (err != nil || !info.Mode().IsRegular()):
			return f, false
		case gone && file:
			f.contents = append(f.contents, Content{Path: path, Gone: true})
		case gone, !readable(path): // what an editor needed meanwhile
		default:
			data, err := read(path)
			if errors.Is(err, fs.ErrNotExist) {
				return f, false // its going will be told, too
			}
			f.stamps[path] = stampOf(info)
			f.contents = append(f.contents, Content{Path: path, Data: data, Err: err})
		}
	}
	return f, true
}

// accept remembers a content as taken over.
func (s *scanner) accept(path string, f finding) {
	if now, there := f.stamps[path]; there {
		s.files[path] = now
		return
	}
	delete(s.files, path)
}

// walk lists a directory. above holds the directories that it lies in, so that
// a symbolic link to one of them doesn't lead in circles.
func (s *scanner) walk(dir, realRoot string, f *finding, above map[uint64]bool) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	self := stampOf(info)
	if above[self.inode] {
		return nil
	}
	above[self.inode] = true
	defer delete(above, self.inode)
	f.dirs[dir] = self
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ignored(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			f.links++
			if !s.leadsInside(path, realRoot) {
				f.strays = append(f.strays, path)
				continue
			}
			info, err = os.Stat(path)
		}
		switch {
		case err != nil: // gone meanwhile
		case info.IsDir():
			if err := s.walk(path, realRoot, f, above); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		case info.Mode().IsRegular() && readable(e.Name()):
			f.stamps[path] = stampOf(info)
		}
	}
	return nil
}

func (s *scanner) leadsInside(link, realRoot string) bool {
	target, err := filepath.EvalSymlinks(link)
	if err != nil {
		return true // dangling, so it is as good as not there
	}
	return strings.HasPrefix(target, realRoot+string(filepath.Separator)) || target == realRoot
}

// ignored: hidden files, and what editors leave beside a file.
func ignored(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || strings.HasSuffix(name, "~")
}

func readable(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// read reads a file, but no more of one that is too large anyway than shows it.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, config.MaxFileBytes+1))
	return data, errors.Join(err, f.Close())
}
