package header

// ID classifies a field name. The zero ID is a name that isn't in the table below.
type ID uint8

// The names that some part of the proxy treats specially, or that are common enough for a lookup by ID to pay.
const (
	Other ID = iota
	Host
	ContentLength
	TransferEncoding
	Connection
	KeepAlive
	ProxyConnection
	Upgrade
	TE
	Trailer
	Expect
	HTTP2Settings
	Date
	Server
	ContentType
	ContentEncoding
	Accept
	AcceptEncoding
	AcceptLanguage
	UserAgent
	Referer
	Origin
	Cookie
	SetCookie
	Location
	CacheControl
	ETag
	Vary
	Range
	LastModified
	IfNoneMatch
	IfModifiedSince
	RetryAfter
	Via
	Forwarded
	Authorization
	WWWAuthenticate
	ProxyAuthorization
	ProxyAuthenticate
	XRequestID
	XClientTraceID
	XForwardedFor
	XForwardedProto
	XForwardedHost
	XForwardedPort
	XForwardedClientCert
	XRealIP
	XEnvoyAttemptCount
	XEnvoyDecoratorOperation
	XEnvoyDownstreamServiceCluster
	XEnvoyDownstreamServiceNode
	XEnvoyExpectedRqTimeoutMS
	XEnvoyExternalAddress
	XEnvoyForceTrace
	XEnvoyHedgeOnPerTryTimeout
	XEnvoyImmediateHealthCheckFail
	XEnvoyInternal
	XEnvoyIPTags
	XEnvoyIsTimeoutRetry
	XEnvoyMaxRetries
	XEnvoyOriginalPath
	XEnvoyOriginalDstHost
	XEnvoyOverloaded
	XEnvoyPeerMetadata
	XEnvoyPeerMetadataID
	XEnvoyRatelimited
	XEnvoyRetriableHeaderNames
	XEnvoyRetriableStatusCodes
	XEnvoyRetryGRPCOn
	XEnvoyRetryOn
	XEnvoyUpstreamAltStatName
	XEnvoyUpstreamRqPerTryTimeoutMS
	XEnvoyUpstreamRqTimeoutAltResponse
	XEnvoyUpstreamRqTimeoutMS
	XEnvoyUpstreamServiceTime
	XEnvoyUpstreamStreamDurationMS
	XEnvoyDegraded
	Traceparent
	Tracestate
	Baggage
	B3
	XB3TraceID
	XB3SpanID
	XB3ParentSpanID
	XB3Sampled
	XB3Flags
	XOtSpanContext
	XCloudTraceContext
	GRPCTraceBin
	GRPCStatus
	GRPCMessage
	GRPCTimeout
	GRPCEncoding
	GRPCAcceptEncoding
	GRPCStatusDetailsBin
	GRPCWeb
	AccessControlAllowOrigin
	AccessControlAllowMethods
	AccessControlAllowHeaders
	AccessControlAllowCredentials
	AccessControlExposeHeaders
	AccessControlMaxAge
	AccessControlRequestMethod
	AccessControlRequestHeaders
	AccessControlRequestPrivateNetwork
	AccessControlAllowPrivateNetwork
	AltSvc
	StrictTransportSecurity
	SecWebsocketKey
	SecWebsocketVersion

	idCount // how many IDs there are
)

// canonical holds each ID's name in lower case.
var canonical = [idCount]string{
	Host:                               "host",
	ContentLength:                      "content-length",
	TransferEncoding:                   "transfer-encoding",
	Connection:                         "connection",
	KeepAlive:                          "keep-alive",
	ProxyConnection:                    "proxy-connection",
	Upgrade:                            "upgrade",
	TE:                                 "te",
	Trailer:                            "trailer",
	Expect:                             "expect",
	HTTP2Settings:                      "http2-settings",
	Date:                               "date",
	Server:                             "server",
	ContentType:                        "content-type",
	ContentEncoding:                    "content-encoding",
	Accept:                             "accept",
	AcceptEncoding:                     "accept-encoding",
	AcceptLanguage:                     "accept-language",
	UserAgent:                          "user-agent",
	Referer:                            "referer",
	Origin:                             "origin",
	Cookie:                             "cookie",
	SetCookie:                          "set-cookie",
	Location:                           "location",
	CacheControl:                       "cache-control",
	ETag:                               "etag",
	Vary:                               "vary",
	Range:                              "range",
	LastModified:                       "last-modified",
	IfNoneMatch:                        "if-none-match",
	IfModifiedSince:                    "if-modified-since",
	RetryAfter:                         "retry-after",
	Via:                                "via",
	Forwarded:                          "forwarded",
	Authorization:                      "authorization",
	WWWAuthenticate:                    "www-authenticate",
	ProxyAuthorization:                 "proxy-authorization",
	ProxyAuthenticate:                  "proxy-authenticate",
	XRequestID:                         "x-request-id",
	XClientTraceID:                     "x-client-trace-id",
	XForwardedFor:                      "x-forwarded-for",
	XForwardedProto:                    "x-forwarded-proto",
	XForwardedHost:                     "x-forwarded-host",
	XForwardedPort:                     "x-forwarded-port",
	XForwardedClientCert:               "x-forwarded-client-cert",
	XRealIP:                            "x-real-ip",
	XEnvoyAttemptCount:                 "x-envoy-attempt-count",
	XEnvoyDecoratorOperation:           "x-envoy-decorator-operation",
	XEnvoyDownstreamServiceCluster:     "x-envoy-downstream-service-cluster",
	XEnvoyDownstreamServiceNode:        "x-envoy-downstream-service-node",
	XEnvoyExpectedRqTimeoutMS:          "x-envoy-expected-rq-timeout-ms",
	XEnvoyExternalAddress:              "x-envoy-external-address",
	XEnvoyForceTrace:                   "x-envoy-force-trace",
	XEnvoyHedgeOnPerTryTimeout:         "x-envoy-hedge-on-per-try-timeout",
	XEnvoyImmediateHealthCheckFail:     "x-envoy-immediate-health-check-fail",
	XEnvoyInternal:                     "x-envoy-internal",
	XEnvoyIPTags:                       "x-envoy-ip-tags",
	XEnvoyIsTimeoutRetry:               "x-envoy-is-timeout-retry",
	XEnvoyMaxRetries:                   "x-envoy-max-retries",
	XEnvoyOriginalPath:                 "x-envoy-original-path",
	XEnvoyOriginalDstHost:              "x-envoy-original-dst-host",
	XEnvoyOverloaded:                   "x-envoy-overloaded",
	XEnvoyPeerMetadata:                 "x-envoy-peer-metadata",
	XEnvoyPeerMetadataID:               "x-envoy-peer-metadata-id",
	XEnvoyRatelimited:                  "x-envoy-ratelimited",
	XEnvoyRetriableHeaderNames:         "x-envoy-retriable-header-names",
	XEnvoyRetriableStatusCodes:         "x-envoy-retriable-status-codes",
	XEnvoyRetryGRPCOn:                  "x-envoy-retry-grpc-on",
	XEnvoyRetryOn:                      "x-envoy-retry-on",
	XEnvoyUpstreamAltStatName:          "x-envoy-upstream-alt-stat-name",
	XEnvoyUpstreamRqPerTryTimeoutMS:    "x-envoy-upstream-rq-per-try-timeout-ms",
	XEnvoyUpstreamRqTimeoutAltResponse: "x-envoy-upstream-rq-timeout-alt-response",
	XEnvoyUpstreamRqTimeoutMS:          "x-envoy-upstream-rq-timeout-ms",
	XEnvoyUpstreamServiceTime:          "x-envoy-upstream-service-time",
	XEnvoyUpstreamStreamDurationMS:     "x-envoy-upstream-stream-duration-ms",
	XEnvoyDegraded:                     "x-envoy-degraded",
	Traceparent:                        "traceparent",
	Tracestate:                         "tracestate",
	Baggage:                            "baggage",
	B3:                                 "b3",
	XB3TraceID:                         "x-b3-traceid",
	XB3SpanID:                          "x-b3-spanid",
	XB3ParentSpanID:                    "x-b3-parentspanid",
	XB3Sampled:                         "x-b3-sampled",
	XB3Flags:                           "x-b3-flags",
	XOtSpanContext:                     "x-ot-span-context",
	XCloudTraceContext:                 "x-cloud-trace-context",
	GRPCTraceBin:                       "grpc-trace-bin",
	GRPCStatus:                         "grpc-status",
	GRPCMessage:                        "grpc-message",
	GRPCTimeout:                        "grpc-timeout",
	GRPCEncoding:                       "grpc-encoding",
	GRPCAcceptEncoding:                 "grpc-accept-encoding",
	GRPCStatusDetailsBin:               "grpc-status-details-bin",
	GRPCWeb:                            "grpc-web",
	AccessControlAllowOrigin:           "access-control-allow-origin",
	AccessControlAllowMethods:          "access-control-allow-methods",
	AccessControlAllowHeaders:          "access-control-allow-headers",
	AccessControlAllowCredentials:      "access-control-allow-credentials",
	AccessControlExposeHeaders:         "access-control-expose-headers",
	AccessControlMaxAge:                "access-control-max-age",
	AccessControlRequestMethod:         "access-control-request-method",
	AccessControlRequestHeaders:        "access-control-request-headers",
	AccessControlRequestPrivateNetwork: "access-control-request-private-network",
	AccessControlAllowPrivateNetwork:   "access-control-allow-private-network",
	AltSvc:                             "alt-svc",
	StrictTransportSecurity:            "strict-transport-security",
	SecWebsocketKey:                    "sec-websocket-key",
	SecWebsocketVersion:                "sec-websocket-version",
}
