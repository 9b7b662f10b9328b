package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"lateen.dev/lateen/test/e2e/line"
)

// command and answer are the lines that are exchanged.
type (
	command = line.Command
	answer  = line.Answer
)

// driver is `peer drive`.
type driver struct {
	mu    sync.Mutex // guards out and loads
	out   *json.Encoder
	loads map[int]*load
}

// callTimeout bounds one operation.
const callTimeout = 15 * time.Second

func drive(in io.Reader, out io.Writer) error {
	d := &driver{out: json.NewEncoder(out), loads: map[int]*load{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return err
		}
		go d.run(c)
	}
	return lines.Err()
}

func (d *driver) run(c command) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	var a answer
	var err error
	switch c.Op {
	case "http":
		a, err = request(ctx, c)
	case "raw":
		a, err = raw(ctx, c)
	case "grpc":
		a, err = call(ctx, c)
	case "lookup":
		a, err = lookup(ctx, c)
	case "start":
		l := startLoad(c)
		d.mu.Lock()
		d.loads[c.ID] = l
		d.mu.Unlock()
	case "seen", "stop":
		d.mu.Lock()
		l := d.loads[c.Load]
		d.mu.Unlock()
		if c.Op == "stop" {
			l.stop()
		}
		a = l.seen()
	default:
		err = fmt.Errorf("there is no op %q", c.Op)
	}
	if a.ID = c.ID; err != nil {
		a.Err = err.Error()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.out.Encode(a) // nobody listens: the process is about to end
}

// plain hides the length of a reader, so that it is sent in chunks.
type plain struct{ io.Reader }

func newRequest(ctx context.Context, c command) (*http.Request, error) {
	var body io.Reader
	switch {
	case c.Size > 0:
		body = strings.NewReader(strings.Repeat("0123456789abcdef", c.Size/16))
	case c.Send != "":
		body = strings.NewReader(c.Send)
	}
	if c.Chunked {
		body = plain{body}
	}
	method := c.Method
	if method == "" {
		method = http.MethodGet
	}
	q, err := http.NewRequestWithContext(ctx, method, c.URL, body)
	if err != nil {
		return nil, err
	}
	for name, value := range c.Headers {
		if name == "Host" {
			q.Host = value
		}
		q.Header.Set(name, value)
	}
	return q, nil
}

func request(ctx context.Context, c command) (answer, error) {
	q, err := newRequest(ctx, c)
	if err != nil {
		return answer{}, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ExpectContinueTimeout = callTimeout // without an interim answer the body isn't sent
	defer t.CloseIdleConnections()
	r, err := t.RoundTrip(q)
	if err != nil {
		return answer{}, err
	}
	defer r.Body.Close()
	return readAnswer(r)
}

func readAnswer(r *http.Response) (answer, error) {
	a := answer{Status: r.StatusCode, Proto: r.Proto, Headers: r.Header}
	body, err := io.ReadAll(r.Body)
	sum := fnv.New64a()
	sum.Write(body)
	a.Length, a.Sum = len(body), sum.Sum64()
	a.Body = string(body[:min(len(body), 8<<10)])
	return a, err
}

// raw sends text over TCP and reads until it has as many bytes as Size says,
// or the end.
func raw(ctx context.Context, c command) (answer, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.Host)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, c.Send); err != nil {
		return answer{}, err
	}
	var b []byte
	if c.Size > 0 {
		b = make([]byte, c.Size)
		n, rerr := io.ReadFull(conn, b)
		b, err = b[:n], rerr
	} else {
		b, err = io.ReadAll(conn)
	}
	return answer{Body: string(b), Length: len(b)}, err
}

func call(ctx context.Context, c command) (answer, error) {
	cc, err := grpc.NewClient(c.Host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return answer{}, err
	}
	defer cc.Close()
	client := healthpb.NewHealthClient(cc)
	one, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: c.Send}, grpc.WaitForReady(true))
	if err != nil {
		return answer{}, fmt.Errorf("unary: %w", err)
	}
	stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: c.Send})
	if err != nil {
		return answer{}, fmt.Errorf("stream: %w", err)
	}
	first, err := stream.Recv()
	if err != nil {
		return answer{}, fmt.Errorf("stream's first message: %w", err)
	}
	_, err = client.Check(ctx, &healthpb.HealthCheckRequest{Service: "no such service"})
	return answer{Body: one.GetStatus().String() + " " + first.GetStatus().String() + " " + fmt.Sprint(err)}, nil
}

func lookup(ctx context.Context, c command) (answer, error) {
	addrs, err := (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, c.Network, c.Host)
	var a answer
	for _, addr := range addrs {
		a.Addrs = append(a.Addrs, addr.Unmap().String())
	}
	var missing *net.DNSError
	a.NoName = errors.As(err, &missing) && missing.IsNotFound
	return a, err
}

// hostOf is the address of a URL.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	return u.Host
}
