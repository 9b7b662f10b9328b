package overload

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// System reads the resources of this process. Connections is how many downstream connections are open.
type System struct {
	Connections func() int64
}

// Read implements Reader.
func (s *System) Read(m Monitor) (used, limit uint64, err error) {
	switch m.Kind {
	case Heap:
		return heap(), m.Limit, nil
	case Cgroup:
		return cgroup(m.Limit)
	case Connections:
		return uint64(max(0, s.Connections())), m.Limit, nil
	case Descriptors:
		return descriptors(m.Limit)
	case Injected:
		return injected(m.File)
	}
	return 0, 0, errors.New("unknown kind of resource")
}

// heap is what the Go runtime has from the system, less what it has given back: what its memory limit counts, too.
func heap() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// descriptors counts the open files of the process.
func descriptors(limit uint64) (uint64, uint64, error) {
	if limit == 0 {
		var r unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
			return 0, 0, fmt.Errorf("limit of open files: %w", err)
		}
		limit = r.Cur
	}
	info, err := os.Stat("/proc/self/fd")
	if err != nil {
		return 0, 0, fmt.Errorf("open files: %w", err)
	}
	if n := info.Size(); n > 0 { // since Linux 6.2 the size is the number
		return uint64(n), limit, nil
	}
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, 0, fmt.Errorf("open files: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return 0, 0, fmt.Errorf("open files: %w", err)
	}
	return uint64(len(names)), limit, nil
}

const millionths = 1_000_000

func injected(file string) (uint64, uint64, error) {
	b, err := readSmall(file)
	if err != nil {
		return 0, 0, err
	}
	p, err := strconv.ParseFloat(strings.TrimSpace(b), 64)
	if err != nil || !(p >= 0 && p <= 1) {
		return 0, 0, fmt.Errorf("%s: a pressure between 0 and 1 is needed", file)
	}
	return uint64(math.Round(p * millionths)), millionths, nil
}

// The root of control groups, and a group of version 1 that has no limit says this or more.
const (
	cgroupRoot = "/sys/fs/cgroup"
	noLimitV1  = 1 << 62
)

// MemoryLimit is the limit of the control group that the process is in, or 0.
func MemoryLimit() uint64 {
	_, limit, err := cgroup(0)
	if err != nil {
		return 0
	}
	return limit
}

// cgroup is the memory in use and the limit of the process's control group, of version 2 or 1; limit, if not 0, counts
// where it is lower.
func cgroup(limit uint64) (used, most uint64, err error) {
	for _, dir := range cgroupDirs() {
		for _, names := range [][2]string{{"memory.current", "memory.max"}, {"memory.usage_in_bytes", "memory.limit_in_bytes"}} {
			if used, err = number(filepath.Join(dir, names[0])); err != nil {
				continue
			}
			if most, err = number(filepath.Join(dir, names[1])); err != nil || most >= noLimitV1 {
				most = 0
			}
			if limit > 0 && (most == 0 || limit < most) {
				most = limit
			}
			return used, most, nil
		}
	}
	return 0, 0, errors.New("no control group with memory accounting")
}

// cgroupDirs are where the process's group may be seen: by the path that the kernel says, or, in a container, at the root.
func cgroupDirs() []string {
	var dirs []string
	text, err := readSmall("/proc/self/cgroup")
	if err == nil {
		for line := range strings.Lines(text) {
			if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 {
				switch {
				case parts[1] == "":
					dirs = append(dirs, filepath.Join(cgroupRoot, filepath.Clean("/"+parts[2])))
				case parts[1] == "memory":
					dirs = append(dirs, filepath.Join(cgroupRoot, "memory", filepath.Clean("/"+parts[2])))
				}
			}
		}
	}
	return append(dirs, cgroupRoot, filepath.Join(cgroupRoot, "memory"))
}

// number reads a file with one number; "max" is none.
func number(file string) (uint64, error) {
	text, err := readSmall(file)
	if err != nil {
		return 0, err
	}
	text = strings.TrimSpace(text)
	if text == "max" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return n, nil
}

func readSmall(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return string(b), nil
}
