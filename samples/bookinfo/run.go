package bookinfo

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// Run runs one service by its command line, as cmd/bookinfo has it, until ctx
// ends or it gets SIGTERM or SIGINT.
func Run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("which service? bookinfo productpage|details|reviews|ratings [--port 9080] [--version v1]")
	}
	name := args[0]
	flags := flag.NewFlagSet("bookinfo "+name, flag.ContinueOnError)
	port := flags.Int("port", 9080, "port to listen on")
	host := flags.String("host", "", "address to listen on; all when empty")
	version := flags.String("version", env("SERVICE_VERSION", "v1"), "version: v1; reviews has v1, v2 and v3, ratings v-faulty, v-delayed and v-unhealthy")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is one argument too many", flags.Arg(0))
	}
	svc, err := New(name, configure(name, *version))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", net.JoinHostPort(*host, strconv.Itoa(*port)))
	if err != nil {
		return err
	}
	log.Printf("%s %s listens on %s", name, *version, l.Addr())
	return svc.Serve(ctx, l)
}

// configure reads the environment variables that Istio's Bookinfo has.
func configure(name, version string) Config {
	key := []byte(env("SESSION_KEY", ""))
	if len(key) == 0 {
		key = []byte(rand.Text())
	}
	c := Config{
		Version:    version,
		Pod:        env("POD_NAME", name+"-"+version),
		Cluster:    env("CLUSTER_NAME", "null"),
		Details:    service("details", "DETAILS"),
		Reviews:    service("reviews", "REVIEWS"),
		Ratings:    service("ratings", "RATINGS"),
		SessionKey: key,
		Client:     &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()},
	}
	if env("ENABLE_RATINGS", strconv.FormatBool(version != "v1")) == "true" {
		c.StarColor = env("STAR_COLOR", starColor(version))
	}
	return c
}

func starColor(version string) string {
	if version == "v3" {
		return "red"
	}
	return "black"
}

// service is where another service is: by default at its own name, port 9080.
func service(name, prefix string) string {
	host := env(prefix+"_HOSTNAME", name)
	if domain := env("SERVICES_DOMAIN", ""); domain != "" {
		host += "." + domain
	}
	return net.JoinHostPort(host, env(prefix+"_SERVICE_PORT", "9080"))
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
