package conformance

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "send the smuggling corpora to Envoy and nginx too, and write the tables anew")

// smuggled is one thing sent to a proxy.
type smuggled struct {
	name string
	send func(addr string) string // returns what the client was told
}

// row is one line of a table.
type row struct{ name, lateen, envoy, nginx string }

// TestSmugglingHTTP1 sends wire/http1's corpus.
func TestSmugglingHTTP1(t *testing.T) {
	text, err := os.ReadFile("../../wire/http1/testdata/requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	var cases []smuggled
	for line := range strings.Lines(string(text)) {
		name, rest := unquote(t, line)
		in, _ := unquote(t, strings.TrimSpace(rest))
		cases = append(cases, smuggled{name, func(addr string) string { return sendHTTP1(addr, in) }})
	}
	compare(t, "testdata/smuggling-http1.golden", cases)
}

// TestSmugglingHTTP2 sends what becomes another request if it is copied into HTTP/1.
func TestSmugglingHTTP2(t *testing.T) {
	var cases []smuggled
	for _, c := range injections() {
		cases = append(cases, smuggled{c.name, func(addr string) string { return sendHTTP2(addr, &c) }})
	}
	compare(t, "testdata/smuggling-http2.golden", cases)
}

func unquote(t *testing.T, s string) (first, rest string) {
	t.Helper()
	q, err := strconv.QuotedPrefix(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	first, err = strconv.Unquote(q)
	if err != nil {
		t.Fatal(err)
	}
	return first, strings.TrimPrefix(s[len(q):], " ")
}

// compare sends the cases to our proxy, holds the outcomes against the table, and the table against what the others do.
func compare(t *testing.T, file string, cases []smuggled) {
	ours := toLateen(t, cases)
	var rows []row
	if *update {
		envoy, nginx := toEnvoy(t, cases), toNginx(t, cases)
		for i, c := range cases {
			rows = append(rows, row{c.name, ours[i], envoy[i], nginx[i]})
		}
		writeTable(t, file, rows)
	}
	rows = readTable(t, file)
	if len(rows) != len(cases) {
		t.Fatalf("%s has %d cases and the corpus %d; -update writes it", file, len(rows), len(cases))
	}
	for i, r := range rows {
		if r.name != cases[i].name || verdict(r.lateen) != verdict(ours[i]) {
			t.Errorf("%s: %s, the table says\n%s: %s", cases[i].name, ours[i], r.name, r.lateen)
		}
		by := stricter(&r)
		if by != "" && laxerReason(r.name) == "" {
			t.Errorf("%s: %s; %s is stricter, and there is no reason why we are not", r.name, r.lateen, by)
		} else if by == "" && laxer[r.name] != "" {
			t.Errorf("%s: nobody is stricter; the reason that is given is stale", r.name)
		}
	}
}

// accepted says that the outcome is no rejection.
func accepted(outcome string) bool {
	return strings.HasPrefix(outcome, "200") || strings.HasPrefix(outcome, "101") || strings.HasPrefix(outcome, "100")
}

// verdict is the outcome as far as it does not depend on how fast somebody was: of a request that is rejected after its
// head, the backend may or may not have got the beginning.
func verdict(outcome string) string {
	if !accepted(outcome) {
		outcome, _, _ = strings.Cut(outcome, " forwarded")
	}
	return outcome
}

// stricter names who rejects what we accept.
func stricter(r *row) string {
	var by []string
	if accepted(r.lateen) && !accepted(r.envoy) {
		by = append(by, "envoy")
	}
	if accepted(r.lateen) && !accepted(r.nginx) {
		by = append(by, "nginx")
	}
	return strings.Join(by, ", ")
}

func writeTable(t *testing.T, file string, rows []row) {
	t.Helper()
	var b bytes.Buffer
	for _, r := range rows {
		fmt.Fprintf(&b, "%s\n\tlateen: %s\n\tenvoy:  %s\n\tnginx:  %s\n", r.name, r.lateen, r.envoy, r.nginx)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readTable(t *testing.T, file string) (rows []row) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		who, what, ok := strings.Cut(line, ":")
		what = strings.TrimSpace(what)
		switch {
		case !strings.HasPrefix(line, "\t"):
			rows = append(rows, row{name: line})
		case ok && who == "\tlateen":
			rows[len(rows)-1].lateen = what
		case ok && who == "\tenvoy":
			rows[len(rows)-1].envoy = what
		case ok && who == "\tnginx":
			rows[len(rows)-1].nginx = what
		}
	}
	return rows
}

// The same for us and for Envoy.
const smugglingHCM = `
          http_protocol_options: {accept_http_10: true}
          upgrade_configs: [{upgrade_type: websocket}]
          http2_protocol_options: {allow_connect: true}`

func toLateen(t *testing.T, cases []smuggled) []string {
	r := newRecorder(t)
	c := newConf(t, cluster{Name: "backend", Port: r.port})
	c.HCM = smugglingHCM
	c.start(t)
	return send(t, r, [2]string{local(c.Plain), local(c.Plain)}, cases, func(name string, bad error) {
		t.Errorf("%s: the backend was given what it can't read: %v", name, bad)
	})
}

func toEnvoy(t *testing.T, cases []smuggled) []string {
	r := newRecorder(t)
	c := newConf(t, cluster{Name: "backend", Port: r.port})
	c.HCM = smugglingHCM
	binary, err := filepath.Abs("../../.cache/bin/envoy")
	if err != nil {
		t.Fatal(err)
	}
	run(t, c.Plain, binary, "-c", c.write(t), "--concurrency", "1", "--disable-hot-restart", "--use-dynamic-base-id", "-l", "error")
	return send(t, r, [2]string{local(c.Plain), local(c.Plain)}, cases, func(string, error) {})
}

func toNginx(t *testing.T, cases []smuggled) []string {
	r, dir := newRecorder(t), t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	one, two := freePort(t), freePort(t)
	text := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/log; events {}
http {
  access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream backend { server 127.0.0.1:%[2]d; keepalive 8; }
  server {
    listen 127.0.0.1:%[3]d; listen 127.0.0.1:%[4]d http2;
    location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_request_buffering off; proxy_set_header Host $http_host; proxy_set_header Connection ""; }
  }
}
`, dir, r.port, one, two)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, one, "/usr/sbin/nginx", "-e", filepath.Join(dir, "log"), "-c", file)
	return send(t, r, [2]string{local(one), local(two)}, cases, func(string, error) {})
}

// run starts a process that ends with the test, and waits until it listens.
func run(t *testing.T, port int, binary string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	waitListening(t, port, ended)
}

// send plays all cases, one after the other, so that what the backend gets belongs to one of them.
func send(t *testing.T, r *recorder, addrs [2]string, cases []smuggled, complain func(name string, bad error)) []string {
	t.Helper()
	addr := addrs[0]
	if strings.HasSuffix(t.Name(), "HTTP2") {
		addr = addrs[1]
	}
	var out []string
	for _, c := range cases {
		text, bad := r.outcome(c.send(addr))
		if bad != nil {
			complain(c.name, bad)
		}
		out = append(out, text)
	}
	return out
}

const (
	answerTime = 2 * time.Second       // for an answer to begin
	quietTime  = 50 * time.Millisecond // for one more answer
)

// sendHTTP1 sends bytes and returns the statuses of the answers; "closed" if there are none but the connection is, and
// "waits" if nothing happens.
func sendHTTP1(addr, in string) string {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer nc.Close()
	if _, err := io.WriteString(nc, in); err != nil {
		return err.Error()
	}
	var told []string
	br := bufio.NewReader(nc)
	wait := answerTime
	for {
		nc.SetReadDeadline(time.Now().Add(wait))
		if _, err := br.Peek(1); err != nil {
			switch {
			case len(told) > 0:
			case os.IsTimeout(err):
				told = append(told, "waits")
			default:
				told = append(told, "closed")
			}
			return strings.Join(told, " ")
		}
		method, _, _ := strings.Cut(strings.TrimLeft(in, "\r\n"), " ")
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			return strings.Join(append(told, "garbage"), " ")
		}
		io.Copy(io.Discard, resp.Body) //nolint:errcheck // the status is what counts
		told = append(told, strconv.Itoa(resp.StatusCode))
		wait = quietTime
	}
}
