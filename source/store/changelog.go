package store

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source/api"
)

// Bounds of the change log on disk.
const (
	rotateAt  = 16 << 20 // a file this large is closed and a new one begun
	keepFiles = 4        // closed files that are kept
	maxLine   = 2*config.MaxDocumentBytes + 1<<20
)

const currentLog = "changes.jsonl"

// changeLog is an append-only record of every version of every object, one JSON
// object per line, flushed to the disk before append returns.
type changeLog struct {
	dir      string
	rotateAt int64

	mu   sync.Mutex // guards what follows, and is held while writing: the log has one writer
	file *os.File
	size int64
	// known is the content hash of each object by the log's account.
	known    map[config.Key]string
	revision uint64
}

// line is what a line of the log holds: an entry, or, first in a file, the
// state that the entries after it start from.
type line struct {
	*api.Entry
	Hash  string                `json:"hash,omitempty"`
	State map[config.Key]string `json:"state,omitempty"`
	At    uint64                `json:"at,omitempty"`
}

// record is an entry with the hash of its object, empty when deleted. The
// entry's body is made from the object when it is written.
type record struct {
	api.Entry
	hash   string
	object *config.Object
}

// line is what the log says of the record.
func (r *record) line() line {
	e := r.Entry
	if r.object != nil {
		if body, err := r.object.MarshalJSON(); err == nil {
			e.Body = body
		}
	}
	return line{Entry: &e, Hash: r.hash}
}

// openLog reads the log to its end. A last line that a crash cut short is
// removed; it was never reported as written.
func openLog(dir string) (*changeLog, error) {
	l := &changeLog{dir: dir, rotateAt: rotateAt, known: map[config.Key]string{}}
	f, err := os.OpenFile(filepath.Join(dir, currentLog), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("change log: %w", err)
	}
	l.file = f
	l.size, err = eachLine(f, func(ln line) bool {
		l.learn(ln)
		return true
	})
	if err == nil {
		err = f.Truncate(l.size)
	}
	if err == nil {
		_, err = f.Seek(l.size, io.SeekStart)
	}
	if err == nil && l.size == 0 {
		err = l.resume()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("change log: %w", err), f.Close())
	}
	return l, nil
}

// resume takes the state from the last closed file, for a crash between closing
// it and writing the first line of the next.
func (l *changeLog) resume() error {
	closed, err := l.closedFiles()
	if err != nil || len(closed) == 0 {
		return err
	}
	f, err := os.Open(closed[len(closed)-1])
	if err != nil {
		return err
	}
	_, err = eachLine(f, func(ln line) bool {
		l.learn(ln)
		return true
	})
	return errors.Join(err, f.Close())
}

func (l *changeLog) learn(ln line) {
	switch {
	case ln.State != nil:
		l.known, l.revision = ln.State, max(l.revision, ln.At)
	case ln.Entry == nil:
	case ln.Action == api.Deleted:
		delete(l.known, ln.Key)
		l.revision = max(l.revision, ln.Entry.Revision)
	default:
		l.known[ln.Key] = ln.Hash
		l.revision = max(l.revision, ln.Entry.Revision)
	}
}

// eachLine calls f for every whole line until it returns false, and returns
// where the last whole line ends.
func eachLine(r io.Reader, f func(line) bool) (int64, error) {
	var end int64
	in := bufio.NewReaderSize(io.Reader(r), 64<<10)
	for {
		text, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return end, nil
		}
		if err != nil {
			return end, err
		}
		var ln line
		if json.Unmarshal(text, &ln) != nil {
			// Only the end of the file can be cut short; what isn't ours
			// further up must not be truncated away.
			if _, more := in.Peek(1); errors.Is(more, io.EOF) {
				return end, nil
			}
			return end, fmt.Errorf("damaged at byte %d; move the file away to begin a new log", end)
		}
		if !f(ln) {
			return end, nil
		}
		end += int64(len(text))
	}
}

// readLine reads a line with its line feed. A line without one is as good as none.
func readLine(in *bufio.Reader) ([]byte, error) {
	var text []byte
	for {
		part, err := in.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case err == nil:
			return text, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(text) > maxLine:
			return nil, fmt.Errorf("a line longer than %d bytes", maxLine)
		}
	}
}

// append writes records and flushes them. After a failure the log is as before.
func (l *changeLog) append(records []record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > l.rotateAt {
		if err := l.rotate(); err != nil {
			return fmt.Errorf("change log: %w", err)
		}
	}
	written, err := l.write(records)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		_, serr := l.file.Seek(l.size, io.SeekStart)
		return errors.Join(fmt.Errorf("change log: %w", err), l.file.Truncate(l.size), serr)
	}
	l.size += written
	for _, r := range records {
		l.learn(line{Entry: &r.Entry, Hash: r.hash})
	}
	return nil
}

// writeAt is how much is collected before it is written: the first batch of a
// large mesh needn't be in memory twice.
const writeAt = 1 << 20

// write adds records to the file and returns how many bytes they are.
func (l *changeLog) write(records []record) (int64, error) {
	var written int64
	var out bytes.Buffer
	flush := func() error {
		n, err := out.WriteTo(l.file)
		written += n
		return err
	}
	enc := json.NewEncoder(&out)
	if l.size == 0 {
		if err := enc.Encode(line{State: l.known, At: l.revision}); err != nil {
			return written, err
		}
	}
	for i := range records {
		if err := enc.Encode(records[i].line()); err != nil {
			return written, err
		}
		if out.Len() >= writeAt {
			if err := flush(); err != nil {
				return written, err
			}
		}
	}
	return written, flush()
}

// rotate closes the current file under a name that sorts by revision, begins a
// new one and removes the oldest.
func (l *changeLog) rotate() error {
	name := fmt.Sprintf("changes-%020d.jsonl", l.revision)
	if err := os.Rename(filepath.Join(l.dir, currentLog), filepath.Join(l.dir, name)); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(l.dir, currentLog), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = l.file.Close()
	l.file, l.size = f, 0
	closed, cerr := l.closedFiles()
	err = errors.Join(err, cerr)
	for len(closed) > keepFiles {
		err = errors.Join(err, os.Remove(closed[0]))
		closed = closed[1:]
	}
	return err
}

func (l *changeLog) closedFiles() ([]string, error) {
	closed, err := filepath.Glob(filepath.Join(l.dir, "changes-*.jsonl"))
	slices.Sort(closed)
	return closed, err
}

// hash is what the log last said about an object's content.
func (l *changeLog) hash(key config.Key) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.known[key]
	return h, ok
}

// keys are the objects that exist by the log's account.
func (l *changeLog) keys() []config.Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(maps.Keys(l.known), config.Key.Compare)
}

func (l *changeLog) lastRevision() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revision
}

// read returns up to limit entries after a revision, and the first revision
// that the log still has.
func (l *changeLog) read(since uint64, limit int) (api.ChangesResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	paths, err := l.closedFiles()
	if err != nil {
		return api.ChangesResponse{}, fmt.Errorf("change log: %w", err)
	}
	out := api.ChangesResponse{Entries: []api.Entry{}}
	for _, path := range append(paths, filepath.Join(l.dir, currentLog)) {
		if len(out.Entries) >= limit && out.Oldest != 0 || skipped(path, since) && out.Oldest != 0 {
			continue
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			_, err = eachLine(f, func(ln line) bool {
				if ln.Entry == nil {
					return true
				}
				if out.Oldest == 0 {
					out.Oldest = ln.Entry.Revision
				}
				if ln.Entry.Revision > since && len(out.Entries) < limit {
					out.Entries = append(out.Entries, *ln.Entry)
				}
				return len(out.Entries) < limit
			})
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return out, fmt.Errorf("change log %s: %w", path, err)
		}
	}
	return out, nil
}

// held returns the last entry of each object that exists by the log's account
// and was last seen in a file.
func (l *changeLog) held(file string) ([]api.Entry, error) {
	all, err := l.read(0, math.MaxInt)
	if err != nil {
		return nil, err
	}
	last := map[config.Key]api.Entry{}
	for _, e := range all.Entries {
		last[e.Key] = e
	}
	var held []api.Entry
	for key, e := range last {
		if _, exists := l.hash(key); exists && e.File == file && e.Body != nil {
			held = append(held, e)
		}
	}
	return held, nil
}

// skipped: a closed file's name is its last revision.
func skipped(path string, since uint64) bool {
	var last uint64
	name := strings.TrimSuffix(filepath.Base(path), ".jsonl")
	_, err := fmt.Sscanf(name, "changes-%d", &last)
	return err == nil && last <= since
}

func (l *changeLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
