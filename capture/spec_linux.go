package capture

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// program is what the keeper executes: a Spec with its path resolved.
type program struct {
	path string
	dir  string
	hold bool
	argv []string
	env  []string
}

func newProgram(s Spec) (program, error) {
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return program{}, errors.New("no program to start")
	}
	for _, list := range [][]string{s.Argv, s.Env, {s.Dir}} {
		for _, v := range list {
			if strings.IndexByte(v, 0) >= 0 {
				return program{}, errors.New("the program's arguments and environment can't hold a zero byte")
			}
		}
	}
	path, err := lookPath(s.Argv[0], s.Env, s.Dir)
	if err != nil {
		return program{}, &StartError{Program: s.Argv[0], Err: err}
	}
	return program{path: path, dir: s.Dir, hold: s.Hold, argv: s.Argv, env: s.Env}, nil
}

// lookPath finds a program as a shell in the program's own environment and
// directory would.
func lookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		return name, executable(inDir(name, dir))
	}
	path := ""
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	found := error(fs.ErrNotExist)
	for _, d := range filepath.SplitList(path) {
		candidate := filepath.Join(d, name)
		if d == "" || d == "." {
			candidate = "./" + name
		}
		err := executable(inDir(candidate, dir))
		if err == nil {
			return candidate, nil
		}
		// A directory that we may not search says nothing about the program.
		if _, serr := os.Stat(inDir(candidate, dir)); serr == nil && errors.Is(err, fs.ErrPermission) {
			found = err
		}
	}
	return "", found
}

// inDir is where a path leads for somebody standing in dir.
func inDir(path, dir string) string {
	if dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a directory: %w", path, fs.ErrPermission)
	}
	if unix.Access(path, unix.X_OK) != nil {
		return fmt.Errorf("%s is not executable: %w", path, fs.ErrPermission)
	}
	return nil
}

// file writes the program to an anonymous file that the stub inherits:
// arguments and environment may be larger than any message.
func (p program) file() (*os.File, error) {
	fd, err := unix.MemfdCreate("lateen-program", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "lateen-program")
	fields := []string{p.path, p.dir, strconv.FormatBool(p.hold), strconv.Itoa(len(p.argv))}
	fields = append(append(fields, p.argv...), p.env...)
	if _, err := io.WriteString(f, strings.Join(fields, "\x00")); err != nil {
		f.Close()
		return nil, fmt.Errorf("write the program's description: %w", err)
	}
	return f, nil
}

func readProgram(f *os.File) (program, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return program{}, fmt.Errorf("read the program's description: %w", err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return program{}, fmt.Errorf("read the program's description: %w", err)
	}
	fields := strings.Split(string(b), "\x00")
	if len(fields) < 4 {
		return program{}, errors.New("the program's description is too short")
	}
	argc, err := strconv.Atoi(fields[3])
	if err != nil || argc < 1 || 4+argc > len(fields) {
		return program{}, fmt.Errorf("the program's description has %q arguments", fields[3])
	}
	return program{
		path: fields[0],
		dir:  fields[1],
		hold: fields[2] == "true",
		argv: fields[4 : 4+argc],
		env:  fields[4+argc:],
	}, nil
}
