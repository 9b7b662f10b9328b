// Package atomicfile replaces files so that a reader, and a machine that loses
// power, sees the old content or the new one and never a part.
//
// Called by whoever persists. Write may be called from any goroutine; the last
// one wins. The package starts none.
//
// May import: nothing.
package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write puts data at path with the given mode: written beside it, flushed to
// the disk, renamed over it, and the rename flushed too.
func Write(path string, data []byte, mode os.FileMode) error {
	staged, err := Stage(path, data, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(staged, path); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(staged))
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write %s: in place, but not flushed: %w", path, err)
	}
	return nil
}

// Stage writes data beside path, flushed to the disk, and returns the hidden
// file that is to be renamed to path. After a failure there is none.
func Stage(path string, data []byte, mode os.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// SyncDir flushes a directory: what was created in it, renamed or removed.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// MkdirAll makes a directory and those above it as os.MkdirAll does, and flushes
// the ones that had no such entry before.
func MkdirAll(dir string, mode os.FileMode) error {
	missing := dir
	for {
		if _, err := os.Stat(missing); err == nil {
			break
		}
		above := filepath.Dir(missing)
		if above == missing {
			break
		}
		missing = above
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	for made := dir; made != missing; made = filepath.Dir(made) {
		if err := SyncDir(filepath.Dir(made)); err != nil {
			return fmt.Errorf("make %s: made, but not flushed: %w", dir, err)
		}
	}
	return nil
}
