package bookinfo

import "net/http"

// tracing are the headers that a service passes on so that the proxies beside it can
// join the spans of one request.
func tracing() []string {
	return []string{
		"X-Request-Id",
		"X-B3-Traceid", "X-B3-Spanid", "X-B3-Parentspanid", "X-B3-Sampled", "X-B3-Flags", "B3",
		"Traceparent", "Tracestate",
		"X-Ot-Span-Context",
		"X-Datadog-Trace-Id", "X-Datadog-Parent-Id", "X-Datadog-Sampling-Priority",
		"X-Cloud-Trace-Context",
		"Grpc-Trace-Bin",
		"Sw8",
	}
}

// session are the headers of the user and the client that productpage and
// reviews pass on.
func session() []string { return []string{"User-Agent", "Cookie", "Authorization", "Jwt"} }

// forward copies the headers of these names.
func forward(in http.Header, lists ...[]string) http.Header {
	out := http.Header{}
	for _, names := range lists {
		for _, name := range names {
			if v := in.Values(name); len(v) > 0 {
				out[name] = v
			}
		}
	}
	return out
}
