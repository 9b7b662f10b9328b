package hcm

import (
	"errors"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/route"
	"lateen.dev/lateen/proxy/upstream"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/sock"
)

// fail answers with the last try's failure.
func (s *stream) fail(o *outcome) {
	switch {
	case s.gone.Load():
		s.rec.Flags |= telemetry.FlagDownstreamConnectionTermination
		s.rec.CodeDetails = "downstream_remote_disconnect"
		s.down.Reset()
	case o.noHost:
		s.router.cluster.Stats.Inc(s.c.acc.Shard, upstream.NoneHealthy)
		s.reply(reply{status: 503, flags: telemetry.FlagNoHealthyUpstream, details: "no_healthy_upstream", body: "no healthy upstream"})
	case o.timeout != 0:
		body := "upstream request timeout"
		if o.timeout == telemetry.FlagStreamIdleTimeout {
			body = "stream timeout"
			s.stat.rqIdleTimeout.Add(1)
		}
		s.reply(reply{status: 504, flags: o.timeout, details: o.detail, body: body})
	case o.connect != nil && o.connect.Overflow:
		s.overflow()
	case o.connect != nil:
		s.failConnect(o.connect)
	default:
		s.failReset(o)
	}
}

func (s *stream) failConnect(e *upstream.ConnectError) {
	reason := "remote connection failure"
	switch {
	case e.Timeout:
		reason = "connection timeout"
	case e.TLS:
		reason = "remote connection failure"
	}
	s.rec.UpstreamFailure = e.Error()
	body := "upstream connect error or disconnect/reset before headers. reset reason: " + reason
	if s.router.retry.Retries() > 0 {
		body = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: " + reason
	}
	if !e.Timeout {
		body += ", transport failure reason: " + failureText(e)
		reason += "|" + failureText(e)
	}
	s.reply(reply{
		status: 503, flags: telemetry.FlagUpstreamConnectionFailure, body: body,
		details: "upstream_reset_before_response_started{" + underscored(reason) + "}",
	})
}

// failureText says why there is no connection, as Envoy words it.
func failureText(e *upstream.ConnectError) string {
	switch {
	case e.TLS:
		return e.Error()
	case upstream.Refused(e.Err):
		return "delayed connect error: Connection refused"
	}
	return "delayed connect error: " + e.Error()
}

func underscored(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c == ' ' {
			b[i] = '_'
		}
	}
	return string(b)
}

func (s *stream) failReset(o *outcome) {
	reason, flag, status := "connection termination", telemetry.FlagUpstreamConnectionTermination, 503
	switch {
	case errors.Is(o.err, exchange.ErrProtocol):
		reason, flag, status = "protocol error", telemetry.FlagUpstreamProtocolError, 502
	case errors.Is(o.err, exchange.ErrRefused):
		reason, flag = "remote refused stream reset", telemetry.FlagUpstreamRemoteReset
	case errors.Is(o.err, exchange.ErrReset) && s.rec.Protocol == telemetry.ProtocolHTTP2:
		reason, flag = "remote reset", telemetry.FlagUpstreamRemoteReset
	}
	body := "upstream connect error or disconnect/reset before headers. reset reason: " + reason
	if s.router.retry.Retries() > 0 {
		body = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: " + reason
	}
	r := reply{status: status, flags: flag, body: body, details: "upstream_reset_before_response_started{" + underscored(reason) + "}"}
	if s.grpc && errors.Is(o.err, exchange.ErrReset) {
		// gRPC's servers reset a call whose time is up. The client, whose own clock may be behind, must hear the same.
		if d := route.GRPCTimeout(&s.head); d > 0 && sock.Now().Sub(s.start) >= d {
			r.grpcStatus = grpcDeadlineExceeded
		}
	}
	s.reply(r)
}

const grpcDeadlineExceeded = 4
