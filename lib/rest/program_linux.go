package rest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// releaseProgram takes the program's own code and constants out of the process's memory. They stay in the system's page
// cache, from where those that are used come back, some microseconds each; a start touches much that is never needed
// again.
func releaseProgram() error {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("program: %w", err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("program: %w", err)
	}
	defer f.Close()
	list, err := unchanged(f, path)
	if err != nil {
		return fmt.Errorf("program: %w", err)
	}
	for _, m := range list {
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, syscall.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("program: %w", os.NewSyscallError("madvise", errno))
		}
	}
	return nil
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// unchanged finds the mappings of a file that can't be written to, and that hold nothing but what is in the file: pages
// with changes (relocations, a debugger's breakpoints) would be lost. The list is in the form of proc_pid_smaps(5).
func unchanged(smaps io.Reader, path string) ([]mapping, error) {
	var list []mapping
	open := false // the lines are about the last of list
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		line := lines.Text()
		var m mapping
		var mode, offset, device, inode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %s", &m.start, &m.end, &mode, &offset, &device, &inode); n == 6 {
			if open = strings.HasSuffix(line, " "+path) && strings.HasPrefix(mode, "r-") && strings.HasSuffix(mode, "p"); open {
				list = append(list, m)
			}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		if open && name == "Anonymous" && strings.TrimSpace(value) != "0 kB" {
			list, open = list[:len(list)-1], false
		}
	}
	return list, lines.Err()
}
