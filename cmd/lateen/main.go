// Command lateen is the whole mesh in one binary: control plane, proxy, the
// programs' runner and the user's commands.
//
// Who calls it: people, service managers, and itself (the stub inside a
// workload's namespace). Goroutines: those of the role it runs; it exits when
// the role has ended.
//
// May import: app, cli, capture.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"lateen.dev/lateen/app"
	"lateen.dev/lateen/capture"
	"lateen.dev/lateen/cli"
)

func main() {
	if capture.IsStub(os.Args) {
		os.Exit(capture.StubMain(os.Args))
	}
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := app.ReadEnvironment()
	root := cli.NewRoot(cli.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Colour: env.Colour, Dir: env.Dir, Build: app.Build()})
	root.AddCommand(controlCommand(env), runCommand(), proxyCommand(), demoCommand(), sampleCommand(), sidecarProcessCommand())
	err := root.ExecuteContext(ctx)
	var exit *app.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	}
	fmt.Fprintln(os.Stderr, "lateen:", err)
	return 1
}
