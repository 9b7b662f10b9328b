// Package script runs scenarios: configuration, what is sent, and what must come of it, in one file per feature,
// testdata/FEATURE.txtar. The same file runs in several modes, from pure decisions to stock Envoys.
//
// # The file
//
// A txtar archive. Its comment is the script, one command per line; "#" begins a comment line. Its files are YAML:
// config.yaml and mesh.yaml are applied before anything starts, the others when the script says so. Words are separated by
// spaces; quotes, single or double, at the beginning of a word or after "=" or ":", keep spaces in it.
//
// A line may begin with conditions in brackets, [decide], [bytes] (any mode but decide), [lateen] and [envoy] (the
// engine of the clients), [server-lateen] and [server-envoy] (of the workloads), [netns], [memory], each of which may be
// negated with "!": the line counts only where they hold. Lines that don't count are listed in the test's log with the
// reason.
//
// # Commands
//
//	modes: without MODE[,MODE…] REASON…
//
// The script doesn't run in these modes, and the runner says why.
//
//	host NAME [namespace=NS] [service-account=SA] [labels=K=V,K=V] [proxy=sidecar|gateway|none] [locality=R/Z/S]
//	     [version=V] [listen=PORT/PROTOCOL,…] [opens=PORT]…
//	workload SERVICE [version=V] [port=9080] [protocol=http] [target=PORT] [name=NAME] [and the words of host]
//
// A host is a machine in the network, with a sidecar unless told otherwise, and a program that listens on the ports named. A gateway opens the ports that Gateways say; memory has to be told of them.
// A workload is a host called SERVICE-V (or NAME), with the labels app=SERVICE and version=V, whose program serves port 9080
// by that protocol; the Kubernetes Service SERVICE is made for it where the files don't have one. The protocols are http,
// http2, grpc, tcp, tcp-first (the server speaks first), https (the program speaks TLS itself) and auto (the Service doesn't
// say; the program speaks HTTP) or auto-tcp.
//
//	dns NAME HOST…
//
// External DNS knows the name, with these hosts' addresses.
//
//	send from=HOST METHOD URL [to=HOST:PORT] [header=NAME:VALUE]… [body=TEXT] [chunked] [expect-continue] [times=N]
//	     [parallel=N] [new-connections] [timeout=DURATION]
//
// The host's program sends a request, and again. METHOD may also be GRPC (a call of the health service), H2GET (HTTP/2 in plain
// text), WEBSOCKET (a connection on which the body is echoed), TCP (a line on a connection), and GREETING (a connection on
// which the server speaks first). Headers X-Kit-… tell the server what to do; package kit has the list.
//
//	expect WORD…
//
// What must be true of every response to the last send: status=200 version=v2 name=reviews-v2 method= path= authority= proto=
// body= (as the server saw the request), answer=TEXT (the response's body contains it), failed, chunked (the answer), request-chunked (the
// request, as the server saw it), continued, answer-bytes=N, some-status= (at least one response), same-name (one server
// answered all),
// took>=1s took<2s, request-header=NAME:VALUE (as the server saw it; * is any value), no-request-header=NAME,
// response-header=NAME:VALUE no-response-header=NAME, location= (of a redirect), tls=mutual|none, principal=spiffe://…, and, of decisions alone,
// cluster= route=FILE:LINE retries= timeout= mirror=.
//
//	expect share v1=90 v3=10 [status:503=…] [name:reviews-v1=…] [tolerance=8]
//
// The percentages of the responses that have the version, status or server.
//
//	expect seen HOST OP N [path=…]
//	expect metric HOST NAME{label="value",…} OP N
//	expect log HOST TEXT…
//	expect unlogged HOST TEXT…    no line has them all; first expect what came after
//	expect stat HOST NAME OP N
//
// What a host's program has seen since the script began; the sum of the samples of its proxy's metric with these labels among
// theirs; a line of its proxy's log that has all of the texts; a counter on a stock Envoy's page. OP is one of =, >=, <=, >.
//
//	apply FILE
//	delete KIND NAMESPACE/NAME
//	kill HOST [leave]
//
// Changes. A change is in force at every proxy before the next command. kill ends a host's program; with leave its
// WorkloadEntry goes, too.
//
// # Modes
//
// decide: nothing runs; kit's Decide tells what would become of requests. memory: our own proxies in this process, over
// socket pairs. lateen: our own proxy, in network namespaces. lateen-envoy and envoy-lateen: one of the two as the
// clients' proxy, the other as the workloads'. envoy: stock Envoys on both sides.
//
// A check that fails within a moment of a change is made again, with what was sent: an acknowledged listener takes over
// from the one before only after it has warmed up.
//
// Called by its own test. Goroutines: none but those of kit.
//
// May import: test/kit, config.
package script
