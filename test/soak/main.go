// Command soak keeps a proxy busy for a long time while its configuration and its endpoints change, servers fail and
// clients misbehave, and fails if a request fails that no fault explains, or if memory, goroutines or descriptors grow.
//
//	go run ./test/soak -duration 30m
//
// Who calls it: people; the short form is its own test. Goroutines: those of the loads, all ended in the end. The proxy
// is a process of its own: this program once more.
//
// May import: proxy, telemetry, xds, test/traffic.
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
	proxy := flag.String(proxyFlag, "", "be the proxy; what it is made of, as JSON")
	flag.Parse()
	if *proxy != "" {
		os.Exit(proxyMain(*proxy))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := soak(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// proxyFlag makes this program the proxy.
const proxyFlag = "soak-proxy"
