package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"lateen.dev/lateen/test/traffic"
)

// The ports that the mesh's programs serve.
const (
	webPort   = 8080
	web2Port  = 8081
	bytesPort = 7000
)

// serveMain is a program in the mesh that serves until it is asked to end. It goes on for a while after that, as programs
// do that want to lose nothing: others learn of its end only then.
func serveMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	web, err := traffic.ServeAt(fmt.Sprintf(":%d", webPort), fmt.Sprintf(":%d", bytesPort), nil)
	if err == nil {
		defer web.Close()
		var web2 *traffic.Backend
		if web2, err = traffic.ServeAt(fmt.Sprintf(":%d", web2Port), "127.0.0.1:0", nil); err == nil {
			defer web2.Close()
			<-ctx.Done()
			const patience, grace = 2500 * time.Millisecond, 3 * time.Second
			end, cancel := context.WithTimeout(context.Background(), patience+grace)
			defer cancel()
			sleep(end, patience)
			web.Drain(end)
			web2.Drain(end)
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, "soak: server in the mesh:", err)
	return 1
}

// What the program that sends in the mesh is asked for. Each is answered.
type order struct {
	Op    string // begin or end
	Rates []float64
	Share float64
}

type report struct {
	Outcomes []outcome
	Error    string
}

// driveMain is a program in the mesh that sends what it is told to.
func driveMain() int {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	var loads []*traffic.Load
	var began time.Time
	mix := driven()
	for in.Scan() {
		var o order
		var r report
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			r.Error = err.Error()
		}
		if o.Op == "begin" {
			began = time.Now()
			loads = paced(mix, o.Rates, o.Share)
		} else {
			r.Outcomes = stop(mix, loads, began)
		}
		b, err := json.Marshal(r)
		if err != nil {
			fmt.Fprintln(os.Stderr, "soak:", err)
			return 1
		}
		fmt.Println(string(b))
	}
	return 0
}

// driven are the loads in the mesh. Each connection begins with a question to the mesh's DNS.
func driven() []named {
	load := func(k traffic.Kind, host string, port, workers int) named {
		dial := func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", host, port))
		}
		return named{traffic.Options{Kind: k, Dial: dial, Workers: workers, Host: host}, "mesh, to " + host}
	}
	return []named{
		load(traffic.HTTP1, webService, webPort, 2), load(traffic.HTTP1Fresh, webService, webPort, 1), load(traffic.Upload, webService, webPort, 1),
		load(traffic.HTTP2, webService, web2Port, 2), load(traffic.TCP, webService, bytesPort, 1), load(traffic.TCPLong, webService, bytesPort, 1),
		load(traffic.HTTP1, outside, 80, 1), load(traffic.HTTP1Fresh, outside, 80, 1),
	}
}

// driver is the process of driveMain.
type driver struct{ *child }

func (d *driver) order(o order) ([]outcome, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	var r report
	if err := d.ask(string(text), &r); err != nil {
		return nil, err
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return r.Outcomes, nil
}
