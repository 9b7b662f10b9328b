// Command lateen-proxy is the data plane alone: a proxy that runs an ordinary
// Envoy bootstrap file, for sidecar and gateway images and for comparisons.
//
//	lateen-proxy -c bootstrap.yaml [-l level] [--socket-path PATH]
//
// Who calls it: people and service managers. Goroutines: those of the proxy;
// it exits when all have ended.
//
// May import: app/dataplane, telemetry.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"lateen.dev/lateen/app/dataplane"
	"lateen.dev/lateen/telemetry"
)

// version is set by the linker (see Makefile).
var version = "dev"

func main() {
	err := run(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lateen-proxy:", err)
		os.Exit(1)
	}
}

func run(args []string, log io.Writer) error {
	flags := flag.NewFlagSet("lateen-proxy", flag.ContinueOnError)
	flags.SetOutput(log)
	file := flags.String("c", "", "the bootstrap file, YAML or JSON (as envoy -c)")
	level := flags.String("l", "info", "log level: trace, debug, info, warning, error or off")
	var drain dataplane.DrainTimes
	flags.DurationVar(&drain.Limit, "termination-drain-duration", 5*time.Second,
		"how long connections may take to end after SIGTERM; for half of it new ones are accepted, unless there is none")
	flags.DurationVar(&drain.Minimum, "minimum-drain-duration", 0, "how long to accept at least after SIGTERM, even without any connection")
	drainTime := flags.Int("drain-time-s", 45, "seconds for which a listener goes on accepting after POST /drain_listeners?graceful,\n"+
		"and for which idle connections stay when another process has taken over")
	var restart dataplane.RestartFlags
	flags.StringVar(&restart.SocketPath, "socket-path", "", "the unix socket at which a new process takes over from this one (hot restart)")
	flags.StringVar(&restart.SocketMode, "socket-mode", "600", "its permissions, octal; other users are turned away in any case")
	flags.IntVar(&restart.BaseID, "base-id", 0, "a number that is added to --socket-path, to tell proxies of one machine apart")
	flags.IntVar(&restart.Epoch, "restart-epoch", -1, "0 for the first process, 1 and more for one that takes over; -1 for whichever it is")
	flags.BoolVar(&restart.SkipNoParent, "skip-hot-restart-on-no-parent", false, "start afresh if there is nothing to take over from")
	flags.BoolVar(&restart.Disable, "disable-hot-restart", false, "ignore --socket-path")
	flags.IntVar(&restart.ParentShutdownSeconds, "parent-shutdown-time-s", 60,
		"seconds after which this process ends when another one has taken over, with the connections that are left")
	printVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *printVersion {
		fmt.Fprintln(log, version)
		return nil
	}
	if *file == "" || flags.NArg() > 0 {
		return errors.New("name a bootstrap file: lateen-proxy -c bootstrap.yaml")
	}
	l, err := telemetry.ParseLevel(*level)
	if err != nil {
		return fmt.Errorf("-l: %w", err)
	}
	restartOptions, err := restart.Options()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	scopes := telemetry.NewScopes(log, false, l)
	return dataplane.RunBootstrap(ctx, dataplane.BootstrapOptions{File: *file, Version: version, Scopes: scopes,
		Drain: drain, DrainTime: time.Duration(*drainTime) * time.Second, Restart: restartOptions})
}
