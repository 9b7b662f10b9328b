package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
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

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ, which Linux
// fixes at 100.
const clockTick = 10 * time.Millisecond

// processUsage reads utime, stime and rss; see proc_pid_stat(5).
func processUsage(pid int) (usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, fmt.Errorf("process usage: %w", err)
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 22 {
		return usage{}, fmt.Errorf("process usage: /proc/%d/stat is not understood", pid)
	}
	var n [3]int64
	for i, at := range [...]int{11, 12, 21} {
		if n[i], err = strconv.ParseInt(fields[at], 10, 64); err != nil {
			return usage{}, fmt.Errorf("process usage: %w", err)
		}
	}
	return usage{cpu: time.Duration(n[0]+n[1]) * clockTick, rss: n[2] * int64(os.Getpagesize())}, nil
}
