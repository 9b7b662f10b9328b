package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process tree has used so far.
type usage struct {
	cpu time.Duration
	rss int64 // bytes
}

// usage sums CPU time and resident memory over the peer's process and its
// children, and the next sidecar's.
func (p *peer) usage() (usage, error) {
	var sum usage
	if p.next != nil {
		next, err := p.next.usage()
		if err != nil {
			return usage{}, err
		}
		sum = next
	}
	for _, pid := range processTree(p.cmd.Process.Pid) {
		u, err := processUsage(pid)
		if err != nil {
			return usage{}, err
		}
		sum.cpu += u.cpu
		sum.rss += u.rss
	}
	return sum, nil
}

func processTree(pid int) []int {
	tree := []int{pid}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return tree
	}
	for _, field := range strings.Fields(string(b)) {
		if child, err := strconv.Atoi(field); err == nil {
			tree = append(tree, processTree(child)...)
		}
	}
	return slices.Compact(tree)
}

// processUsage reads the process's CPU clock, which includes threads that have ended, and its resident memory; see
// clock_getcpuclockid(3) and proc_pid_statm(5). /proc/PID/stat has the same time in hundredths of a second only.
func processUsage(pid int) (usage, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &t); err != nil {
		return usage{}, fmt.Errorf("process usage: clock: %w", err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return usage{}, fmt.Errorf("process usage: %w", err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return usage{}, fmt.Errorf("process usage: /proc/%d/statm: %w", pid, err)
	}
	return usage{cpu: time.Duration(t.Nano()), rss: resident * int64(os.Getpagesize())}, nil
}

// cpuClockSched is the kernel's CPUCLOCK_SCHED: what the scheduler has given the process, to the nanosecond.
const cpuClockSched = 2
