// Package bookinfo is a bookshop of four services, for showing what a mesh can
// do: productpage asks details and reviews, and reviews asks ratings. Reviews
// has three versions: v1 has no ratings, v2 shows them as black stars, v3 as
// red ones.
//
// Names, ports, paths, JSON, forwarded headers, time limits and even the
// well-known bug (productpage waits for 3 s where reviews waits for 10) are those of
// Istio's Bookinfo, so that configuration written for that one works on this.
// The code knows nothing of the mesh: it calls http://reviews:9080.
//
// Who calls it: cmd/bookinfo, the demo, and tests.
//
// Goroutines: Serve runs until its context ends and waits for the requests
// under way. The handlers are safe for concurrent use.
//
// May import: nothing of ours.
package bookinfo
