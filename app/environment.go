package app

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/term"
)

// Environment is all that the process reads from its environment.
type Environment struct {
	// Dir is the control plane's directory: LATEEN_DIR, or lateen below
	// XDG_STATE_HOME or ~/.local/state, or below the temporary directory for
	// users without a home.
	Dir string
	// Colour says that standard output is a terminal, and NO_COLOR is not set.
	Colour bool
	// HTTP10 has proxies accept HTTP/1.0: Istio's PILOT_HTTP10.
	HTTP10 bool
}

// ReadEnvironment reads the environment, once, at the start.
func ReadEnvironment() Environment {
	return Environment{
		Dir:    defaultDir(),
		HTTP10: truth(os.Getenv("PILOT_HTTP10")),
		Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(os.Stdout.Fd())),
	}
}

// truth reads a switch as Istio does: what is no boolean is false.
func truth(text string) bool {
	on, err := strconv.ParseBool(text)
	return err == nil && on
}

func defaultDir() string {
	if dir := os.Getenv("LATEEN_DIR"); dir != "" {
		return dir
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "lateen")
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		if info, err := os.Stat(home); err == nil && info.IsDir() {
			return filepath.Join(home, ".local", "state", "lateen")
		}
	}
	return filepath.Join(os.TempDir(), "lateen-"+strconv.Itoa(os.Getuid()))
}
