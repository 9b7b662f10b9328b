package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"lateen.dev/lateen/lib/atomicfile"
)

// load reads the saved registrations; a file that does not exist holds none.
func load(path string) ([]Registration, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("workload registrations: %w", err)
	}
	saved, err := decodeSaved(b)
	if err != nil {
		return nil, fmt.Errorf("workload registrations in %s: %w (remove the file to begin without any)", path, err)
	}
	return saved, nil
}

// decodeSaved reads what save wrote, and leaves out what can't be a registration.
func decodeSaved(b []byte) ([]Registration, error) {
	var saved []Registration
	if err := json.Unmarshal(b, &saved); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(saved, func(r Registration) bool {
		return r.check() != nil || !r.Address.Is4() || r.ID != r.Namespace+"/"+r.Name
	}), nil
}

func save(path string, all []Registration) error {
	if path == "" {
		return nil
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("workload registrations: %w", err)
	}
	if err := atomicfile.Write(path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("workload registrations: %w", err)
	}
	return nil
}
