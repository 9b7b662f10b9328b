package app

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker (see Makefile).
var version = "dev"

// BuildInfo says what this binary is.
type BuildInfo struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	GoVersion string `json:"golang_version"`
	Platform  string `json:"platform"`
	Modified  bool   `json:"modified,omitempty"`
}

// Build returns what the linker and the Go toolchain recorded.
func Build() BuildInfo {
	b := BuildInfo{Version: version, Revision: "unknown", GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String is one line for people.
func (b BuildInfo) String() string {
	return fmt.Sprintf("%s (%s, %s, %s)", b.Version, b.Revision, b.GoVersion, b.Platform)
}
