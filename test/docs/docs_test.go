package docs

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lateen.dev/lateen/source/consul/consultest"
)

const root = "../.."

// build builds the binaries once for the test.
func build(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	cmd := exec.Command("go", "build", "-o", bin+"/", "./cmd/lateen", "./cmd/lateen-proxy")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// freePorts finds a port for the gateway, and one with +2 and +4 free too.
func freePorts(t *testing.T) (gateway, control int) {
	t.Helper()
	free := func(port int) bool {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		l.Close()
		return true
	}
	for port := 21000; port < 30000; port += 10 {
		if free(port) && free(port+2) && free(port+4) && free(port+6) {
			return port + 6, port
		}
	}
	t.Fatal("no free ports")
	return 0, 0
}

// startDemo runs the demo and returns its directory and gateway's port.
func startDemo(t *testing.T, bin string) (dir string, gateway, control int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "lateen-docs-") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	gateway, control = freePorts(t)
	cmd := exec.Command(filepath.Join(bin, "lateen"), "demo", "--dir", dir,
		"--gateway-port", fmt.Sprint(gateway), "--control-port", fmt.Sprint(control))
	ready := &waitFor{want: []byte("Ctrl-C ends everything"), seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = ready, ready
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGINT)
		started := time.Now()
		if err := <-ended; err != nil || time.Since(started) > 5*time.Second {
			t.Errorf("the demo ended %v after %v", err, time.Since(started))
		}
	})
	select {
	case <-ready.seen:
	case err := <-ended:
		ended <- nil
		t.Fatalf("the demo ended: %v\n%s", err, ready)
	case <-time.After(90 * time.Second):
		t.Fatalf("the demo is not ready\n%s", ready)
	}
	return dir, gateway, control
}

// waitFor is a writer that tells when a text has been written. It keeps what
// was written, and may be read while it is written to.
type waitFor struct {
	want []byte
	seen chan struct{}

	mu   sync.Mutex
	log  bytes.Buffer
	done bool
}

func (w *waitFor) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func (w *waitFor) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log.Write(p)
	if !w.done && bytes.Contains(w.log.Bytes(), w.want) {
		w.done = true
		close(w.seen)
	}
	return len(p), nil
}

func TestTaskPages(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs/tasks/*.md"))
	if err != nil || len(pages) < 2 {
		t.Fatalf("pages %v, %v", pages, err)
	}
	bin := build(t)
	dir, gateway, control := startDemo(t, bin)
	consul := httptest.NewServer(consultest.New())
	defer consul.Close()
	defer consul.CloseClientConnections()
	program, other := freePorts(t)
	// What the pages call by the ports that they usually have.
	place := strings.NewReplacer("127.0.0.1:8080", fmt.Sprintf("127.0.0.1:%d", gateway), "127.0.0.1:15010", fmt.Sprintf("127.0.0.1:%d", control),
		"127.0.0.1:15014", fmt.Sprintf("127.0.0.1:%d", control+4),
		"port_value: 15010", fmt.Sprint("port_value: ", control),
		"127.0.0.1:8500", consul.Listener.Addr().String(), "--control-port 16010", fmt.Sprint("--control-port ", other), "18081", fmt.Sprint(program),
		"16110", fmt.Sprint(other+100), "16115", fmt.Sprint(other+105), "16118", fmt.Sprint(other+108), "16119", fmt.Sprint(other+109))
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			blocks, err := Parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if len(blocks) == 0 && filepath.Base(page) != "README.md" {
				t.Error("the page has no commands")
			}
			work := t.TempDir()
			for _, b := range blocks {
				b.Command = place.Replace(b.Command)
				for i, want := range b.Want {
					b.Want[i] = place.Replace(want)
				}
				runBlock(t, b, work, bin, dir)
			}
		})
	}
}

func runBlock(t *testing.T, b Block, work, bin, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := os.CreateTemp(work, "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, "bash", "-eu", "-o", "pipefail", "-c", b.Command)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LATEEN_DIR="+dir)
	cmd.Stdout, cmd.Stderr = out, out // a file, so that background programs don't hold a pipe open
	err = cmd.Run()
	text, rerr := os.ReadFile(out.Name())
	if rerr != nil {
		t.Fatal(rerr)
	}
	if err != nil {
		t.Fatalf("line %d: %v\n%s\n%s", b.Line, err, b.Command, text)
	}
	for _, want := range b.Want {
		if !strings.Contains(string(text), want) {
			t.Errorf("line %d: the output lacks %q:\n%s\n%s", b.Line, want, b.Command, text)
		}
	}
}

// link is a relative link of a Markdown page.
var link = regexp.MustCompile(`\]\(([^)#:]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	if len(pages) < 5 {
		t.Fatalf("only %d pages were found", len(pages))
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			}
		}
	}
}
