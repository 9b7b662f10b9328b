package kit

import (
	"context"
	"net/http/httptrace"
)

// withContinue notes in seen that a 100 (Continue) came.
func withContinue(ctx context.Context, seen *bool) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { *seen = true }})
}
