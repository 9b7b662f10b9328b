// Command peer is the program that the end-to-end tests run in a mesh: `peer
// serve` answers over HTTP, TCP and gRPC, `peer drive` sends what it is told
// to on its standard input, and `peer end` ends as it is told to.
//
// Who calls it: the tests in test/e2e. Goroutines: those of its servers and
// its load; all end with the process.
//
// May import: test/e2e/line.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "peer serve|drive|end …")
		os.Exit(2)
	}
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve(os.Args[2:])
	case "drive":
		err = drive(os.Stdin, os.Stdout)
	case "end":
		err = end(os.Args[2:])
	default:
		err = fmt.Errorf("there is no %q", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(3)
	}
}

// end is a small program with something to see: `end code N` exits with N, `end
// signals` prints the signals it gets until TERM, which exits with 9, `end
// copy N` copies its input to its output and writes N bytes to standard error,
// `end status` prints what the kernel says of it, `end environment` prints
// its environment.
func end(args []string) error {
	switch args[0] {
	case "code":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		os.Exit(n)
	case "signals":
		return signals()
	case "copy":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			return err
		}
		_, err = io.WriteString(os.Stderr, strings.Repeat("e", n))
		return err
	case "status":
		b, err := os.ReadFile("/proc/self/status")
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(b)
		return err
	case "environment":
		_, err := fmt.Println(strings.Join(os.Environ(), "\n"))
		return err
	}
	return fmt.Errorf("there is no end %q", args[0])
}

func signals() error {
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGINT, syscall.SIGTERM)
	fmt.Println("waiting")
	for s := range ch {
		fmt.Println(s)
		if s == syscall.SIGTERM {
			os.Exit(9)
		}
	}
	return nil
}
