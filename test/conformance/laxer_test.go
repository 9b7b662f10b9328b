package conformance

import "strings"

// laxer says why we accept what Envoy or nginx rejects.
var laxer = map[string]string{
	"TE after tab":           "RFC 9110 section 5.6.3: a tab is white space before a value like any other; what is forwarded has a single space.",
	"unknown method":         "RFC 9110 section 9.1: methods are open-ended. The name is checked to be a token, and passed on.",
	":method with fragment":  "RFC 9110 section 5.6.2: a number sign is a byte of tokens, of which methods are made.",
	"Host empty":             "RFC 9112 section 3.2: a target without an authority is sent with an empty Host.",
	"host equals :authority": "RFC 9113 section 8.3.1: a host that says the same is no error. One name is forwarded.",
}

// laxerGroups do so for all cases that begin alike.
var laxerGroups = map[string]string{
	"trailer": "nginx 1.22 takes no request trailers over HTTP/2 at all, and gRPC may send them. We drop fields that could " +
		"change how the message is framed, routed or authorized (RFC 9110 section 6.5.1), and those after a body of known length.",
}

func laxerReason(name string) string {
	for prefix, reason := range laxerGroups {
		if strings.HasPrefix(name, prefix) {
			return reason
		}
	}
	return laxer[name]
}
