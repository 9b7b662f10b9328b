package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestChaos is the short form of `go run ./test/bench/control -chaos 10m`: the
// control planes are built with the race detector when the test is.
func TestChaos(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "lateen")
	build := exec.CommandContext(t.Context(), "go", append(append([]string{"build"}, buildFlags...), "-o", binary, "lateen.dev/lateen/cmd/lateen")...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the control plane: %v\n%s", err, out)
	}
	err := runChaos(t.Context(), chaosOptions{
		lateen: binary, seed: 2, services: 100, clients: 40, attackers: 6,
		lasts: 12 * time.Second, bound: time.Minute, memory: 1 << 30,
	}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
}
