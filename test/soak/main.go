// Command soak keeps proxies busy for a long time while their configuration, their endpoints and their certificates change,
// servers fail and clients misbehave, and the control plane is killed, and fails if a request fails that no fault
// explains, or if memory, goroutines or descriptors grow.
//
//	go run ./test/soak -duration 30m
//
// Who calls it: people; the short form is its own test. Goroutines: those of the loads, all ended in the end. The proxies
// are processes of their own: this program once more, and `lateen run`.
//
// May import: proxy, source/api, telemetry, xds, test/traffic.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", 30*time.Minute, "how long to soak, after the warm-up")
	flag.Float64Var(&o.load, "load", 0.7, "the share of the rate that is reached without pause")
	flag.StringVar(&o.lateen, "lateen", "", "the lateen binary, instead of building it")
	r := roleFlags()
	flag.Parse()
	if code, is := r.play(); is {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := soak(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// Flags that make this program something else.
const (
	proxyFlag = "soak-proxy"
	serveFlag = "soak-serve"
	driveFlag = "soak-drive"
)

// roles are what this program may be instead of the soak.
type roles struct {
	proxy        *string
	serve, drive *bool
}

func roleFlags() roles {
	return roles{proxy: flag.String(proxyFlag, "", "be a proxy; what it is made of, as JSON"),
		serve: flag.Bool(serveFlag, false, "be a server in the mesh"), drive: flag.Bool(driveFlag, false, "be a client in the mesh")}
}

// play plays the role that was asked for, if one was.
func (r roles) play() (code int, is bool) {
	switch {
	case *r.proxy != "":
		return proxyMain(*r.proxy), true
	case *r.serve:
		return serveMain(), true
	case *r.drive:
		return driveMain(), true
	}
	return 0, false
}
