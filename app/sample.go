package app

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"lateen.dev/lateen/samples/bookinfo"
	"lateen.dev/lateen/source/store"
)

// RunSample runs a program of a sample application: `bookinfo SERVICE FLAGS…`,
// or `fetch URL`, the client that the demo's checks run inside the mesh.
func RunSample(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "fetch" {
		return runFetch(ctx, args[1:], os.Stdout)
	}
	if len(args) == 0 || args[0] != "bookinfo" {
		return fmt.Errorf("there is no sample %q; there are bookinfo and fetch", strings.Join(args, " "))
	}
	return bookinfo.Run(ctx, args[1:])
}

// initialFiles are what the demo begins with: services, a gateway, and the
// versions as subsets; all versions of reviews take turns.
func initialFiles() []string {
	return []string{"services.yaml", "networking/bookinfo-gateway.yaml", "networking/destination-rule-all.yaml"}
}

// writeSamples puts the sample's configuration into the demo's directory: all
// of it under samples/, to be applied, and what the demo begins with under
// config/.
func (d *demo) writeSamples() error {
	err := fs.WalkDir(bookinfo.Files, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return copySample(name, filepath.Join(d.Dir, "samples", path.Base(name)))
	})
	if err != nil {
		return fmt.Errorf("samples: %w", err)
	}
	for _, name := range initialFiles() {
		if err := copySample(name, filepath.Join(d.Dir, configDir, path.Base(name))); err != nil {
			return fmt.Errorf("demo configuration: %w", err)
		}
	}
	return nil
}

func copySample(name, to string) error {
	b, err := bookinfo.Files.ReadFile(name)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// lockFree fails if a control plane uses the directory.
func lockFree(dir string) error {
	state := filepath.Join(dir, stateDir)
	if _, err := os.Stat(state); err != nil {
		return nil // nobody ever did
	}
	s, err := store.Open(store.Options{Dir: filepath.Join(dir, configDir), State: state})
	if err != nil {
		return fmt.Errorf("demo directory: %w", err)
	}
	return s.Close()
}
