package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// maxWitnessed is how many records are kept: the last ones.
const maxWitnessed = 200

// witness reads what the mesh's proxies log of every exchange, and keeps what they say of those that failed, so that a
// failure explains itself. The log is a pipe: nobody's disk has to hold it.
type witness struct {
	path string
	pipe *os.File
	done chan struct{}

	mu   sync.Mutex // guards kept
	kept []string
}

// failed is a record, in Istio's format, of an exchange with a server error or a response flag of a failure.
var failed = regexp.MustCompile(`^\[[^]]*\] "[^"]*" (5\d\d \S+|\d+ (\S+,)?(LH|UH|UT|LR|UR|UF|UC|UO|NR|URX|DPE|UPE|NC|OM|SI)(,\S+)?) `)

func newWitness(dir string) (*witness, error) {
	w := &witness{path: filepath.Join(dir, "access.pipe"), done: make(chan struct{})}
	if err := unix.Mkfifo(w.path, 0o600); err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	var err error
	// For writing, too: so it doesn't end when no proxy has it open.
	if w.pipe, err = os.OpenFile(w.path, os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	go w.read()
	return w, nil
}

func (w *witness) read() {
	defer close(w.done)
	r := bufio.NewReaderSize(w.pipe, 256<<10)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		if !failed.Match(line) {
			continue
		}
		w.mu.Lock()
		if len(w.kept) == maxWitnessed {
			w.kept = slices.Delete(w.kept, 0, 1)
		}
		w.kept = append(w.kept, string(line))
		w.mu.Unlock()
	}
}

// records are what was kept.
func (w *witness) records() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.kept)
}

func (w *witness) close() error {
	if w == nil {
		return nil
	}
	err := w.pipe.Close()
	<-w.done
	return err
}
