package kit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// tempPrefix begins the names of the folders with proxies' files; the process that made one follows.
const tempPrefix = "lateen-kit-"

func tempDir() (string, error) {
	return os.MkdirTemp("", fmt.Sprintf("%s%d-", tempPrefix, os.Getpid()))
}

// removeLeftovers removes the folders of runs that were killed. Nothing else of a run outlives it.
func removeLeftovers() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), tempPrefix+"*"))
	if err != nil {
		return
	}
	for _, d := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(d), tempPrefix+"%d-", &pid); err != nil {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			// Another user's, perhaps.
			_ = os.RemoveAll(d)
		}
	}
}
