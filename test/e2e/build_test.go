package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// bin holds lateen, lateen-proxy and peer, where every user can execute them.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	built := flag.String("bin", "", "a directory that lateen, lateen-proxy and peer are in, instead of building them")
	flag.Parse()
	if *built != "" {
		bin = *built
		return m.Run()
	}
	var err error
	if bin, err = os.MkdirTemp("/tmp", "le-bin-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	cmd := exec.Command("go", "build", "-o", bin+"/", "./cmd/lateen", "./cmd/lateen-proxy", "./test/e2e/peer")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	if err := os.Chmod(bin, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func lateen() string { return filepath.Join(bin, "lateen") }
func peer() string   { return filepath.Join(bin, "peer") }
