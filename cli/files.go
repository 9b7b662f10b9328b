package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lateen.dev/lateen/source/api"
)

// maxInput bounds what is read of all files together, in bytes.
const maxInput = 64 << 20

// readFiles reads what -f named: files, directories (their .yaml, .yml and
// .json files, sub-directories with recursive) and "-" for standard input.
func (r *root) readFiles(names []string, recursive bool) ([]api.File, error) {
	var files []api.File
	for _, name := range names {
		found, err := r.readInput(name, recursive)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	total := 0
	for _, f := range files {
		total += len(f.Data)
	}
	if total > maxInput {
		return nil, fmt.Errorf("the input has %d MiB; at most %d MiB are read at once", total>>20, maxInput>>20)
	}
	return files, nil
}

func (r *root) readInput(name string, recursive bool) ([]api.File, error) {
	if name == "-" {
		b, err := io.ReadAll(io.LimitReader(r.In, maxInput+1))
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return []api.File{{Name: "stdin", Data: string(b)}}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	if !info.IsDir() {
		f, err := readFile(name)
		return []api.File{f}, err
	}
	paths, err := configFiles(name, recursive)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("directory %s has no .yaml, .yml or .json files", name)
	}
	var files []api.File
	for _, p := range paths {
		f, err := readFile(p)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func readFile(name string) (api.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return api.File{}, fmt.Errorf("input: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxInput+1))
	if err != nil {
		return api.File{}, fmt.Errorf("input %s: %w", name, err)
	}
	return api.File{Name: name, Data: string(b)}, nil
}

func configFiles(dir string, recursive bool) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != dir && (!recursive || strings.HasPrefix(d.Name(), ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("input directory: %w", err)
	}
	return paths, nil
}

// errNoInput is the complaint of commands that need -f.
var errNoInput = errors.New("name a file, a directory or - for standard input with -f")
