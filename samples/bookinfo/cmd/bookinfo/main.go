// Command bookinfo runs one service of the Bookinfo sample:
//
//	bookinfo productpage|details|reviews|ratings [--port 9080] [--version v1]
//
// Who calls it: people. It ends on SIGTERM or SIGINT, when the requests under
// way have been answered.
//
// May import: samples/bookinfo.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"

	"lateen.dev/lateen/samples/bookinfo"
)

func main() {
	log.SetFlags(0)
	if err := bookinfo.Run(context.Background(), os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		log.Fatalf("bookinfo: %v", err)
	}
}
