package hcm

import (
	"strconv"

	"lateen.dev/lateen/proxy/exchange"
	"lateen.dev/lateen/proxy/filter/cors"
	"lateen.dev/lateen/proxy/filter/grpcweb"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
)

// reply is a response that the proxy makes itself.
type reply struct {
	status      int
	flags       telemetry.ResponseFlags
	details     string
	body        string
	bytes       []byte // instead of body
	contentType string
	location    []byte
	grpcStatus  int  // for gRPC requests; 0 derives it from status
	overloaded  bool // adds x-envoy-overloaded
	preflight   bool // adds the answer to a CORS preflight
	allow       bool
}

var (
	textPlain    = []byte("text/plain")
	textGRPC     = []byte("application/grpc")
	textTrue     = []byte("true")
	nameGRPCMsg  = header.NewName("grpc-message")
	nameLocation = header.NewName("location")
)

// reply answers the request.
func (s *stream) reply(r reply) {
	s.rec.Flags |= r.flags
	s.rec.CodeDetails = r.details
	if s.answered {
		s.down.Reset()
		return
	}
	if r.bytes == nil {
		r.bytes = []byte(r.body)
	}
	h := &s.resp
	h.Reset()
	h.Status = r.status
	s.rec.ResponseCode = uint16(r.status)
	if r.location != nil {
		h.AddName(nameLocation, r.location)
	}
	if s.decision.Headers != nil {
		// Whoever answers, the route's mutations apply; those of local_reply_config come after them.
		s.mutate(&h.List, s.decision.Headers.Response)
	}
	s.localReply(&r)
	h.Status = int(s.rec.ResponseCode)
	if s.grpc {
		s.grpcReply(h, &r)
	} else if len(r.bytes) > 0 {
		ct := []byte(r.contentType)
		if len(ct) == 0 {
			ct = textPlain
		}
		h.AddKnown(header.ContentType, ct)
	}
	if r.overloaded {
		h.AddKnown(header.XEnvoyOverloaded, textTrue)
	}
	if r.preflight {
		cors.PreflightHeaders(&h.List, s.corsRule, cors.Verdict{Preflight: true, Allowed: r.allow}, cors.Origin(&s.head))
	}
	s.send(h, r.bytes)
}

// send sends a local response with its body.
func (s *stream) send(h *http1.Head, body []byte) {
	h.ContentLength = int64(len(body))
	h.Framing = http1.FramingLength
	if len(body) == 0 || s.req.Method == http1.MethodHead {
		h.Framing, body = http1.FramingNone, nil
	}
	s.finalHeaders(h, false)
	s.answered = true
	s.announceClose()
	if err := s.down.Respond(h, exchange.Piece{Data: body, End: true}); err != nil {
		s.gone.Store(true)
		return
	}
	s.bodyOut = int64(len(body))
	s.router.complete = true
	s.respFields.List = &h.List
	s.rec.Response = &s.respFields
}

// grpcReply turns a reply into the trailers-only response that gRPC clients understand.
func (s *stream) grpcReply(h *http1.Head, r *reply) {
	status := r.grpcStatus
	if status == 0 && h.Status != 200 {
		status = grpcweb.StatusOf(h.Status)
	}
	h.Status = 200
	s.rec.ResponseCode, s.rec.GRPCStatus = 200, int16(status)
	h.AddKnown(header.ContentType, textGRPC)
	h.AddKnown(header.GRPCStatus, strconv.AppendInt(nil, int64(status), 10))
	if len(r.bytes) > 0 {
		h.AddName(nameGRPCMsg, grpcweb.PercentEncode(r.bytes))
		r.bytes = nil
	}
}

// localReply applies the manager's local_reply_config.
func (s *stream) localReply(r *reply) {
	for i := range s.m.cfg.Replies {
		lr := &s.m.cfg.Replies[i]
		if !lr.Filter.Log(&s.rec, &s.head, s.input.Random) {
			continue
		}
		if lr.Status != 0 {
			s.rec.ResponseCode = lr.Status
		}
		if lr.Body != nil {
			r.bytes = lr.Body.Append(nil, &s.rec)
		}
		if lr.ContentType != "" {
			r.contentType = lr.ContentType
		}
		s.mutate(&s.resp.List, lr.Headers)
		return
	}
}
