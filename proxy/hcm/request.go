package hcm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"net/url"

	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/route"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/header"
	"lateen.dev/lateen/wire/http1"
)

// prepare checks the request and settles where it comes from, as Envoy's connection manager does before routing.
func (s *stream) prepare() bool {
	h, cfg := s.req, s.m.cfg
	if h.Authority == nil && h.Method != http1.MethodConnect {
		if cfg.HTTP1.DefaultHostHTTP10 == "" {
			return s.refuse(400, "missing_host_header")
		}
		h.Authority = []byte(cfg.HTTP1.DefaultHostHTTP10)
	}
	if cfg.SchemeOverwrite != "" {
		s.head.scheme = cfg.SchemeOverwrite
	}
	if h.Upgrade && header.EqualFold(h.Get(header.Upgrade), "h2c") {
		// HTTP/2 without TLS is spoken with prior knowledge only (RFC 9113 section 3.1); the request is served as it is.
		h.Upgrade = false
		h.Remove(header.HTTP2Settings)
	}
	s.rec.Method, s.rec.Path, s.rec.Authority = h.MethodName, h.Path, h.Authority
	s.rec.Request = &s.head
	if s.m.engine.Overload.RefuseRequests() {
		s.stat.rqOverload.Add(1)
		s.reply(reply{status: 503, flags: telemetry.FlagOverloadManager, details: "overload", body: "envoy overloaded"})
		return false
	}
	if !s.normalize() {
		return false
	}
	s.stripDot()
	s.stripPort()
	s.origin()
	s.requestID()
	if cfg.Identity.XFCC != plan.XFCCAlwaysForwardOnly {
		s.clientCert()
	}
	s.rec.Scheme = s.head.Scheme()
	if s.m.inbound {
		h.Remove(header.XEnvoyDecoratorOperation)
	}
	if len(s.m.via) > 0 {
		h.AddKnown(header.Via, s.m.via)
	}
	return true
}

var textConnect = []byte("connect")

func (s *stream) refuse(status int, details string) bool {
	s.reply(reply{status: status, flags: telemetry.FlagDownstreamProtocolError, details: details})
	return false
}

// upgradeOK refuses an upgrade, or CONNECT, that neither the route nor the manager allows.
func (s *stream) upgradeOK() bool {
	h := s.req
	if h.Upgrade && !s.upgradeAllowed(h.Get(header.Upgrade)) ||
		h.Method == http1.MethodConnect && s.decision.Outcome == route.Forward && !s.upgradeAllowed(textConnect) {
		s.reply(reply{status: 403, details: "upgrade_failed"})
		return false
	}
	return true
}

// upgradeAllowed asks the route first, then the manager.
func (s *stream) upgradeAllowed(protocol []byte) bool {
	if a := s.decision.Action; a != nil {
		if u := upgradeOf(a.Upgrades, protocol); u != nil {
			return u.Enabled
		}
	}
	u := upgradeOf(s.m.cfg.Upgrades, protocol)
	return u != nil && u.Enabled
}

func upgradeOf(list []plan.Upgrade, protocol []byte) *plan.Upgrade {
	for i := range list {
		if header.EqualFold(protocol, list[i].Type) {
			return &list[i]
		}
	}
	return nil
}

// normalize brings the path into the form that routes are matched with.
func (s *stream) normalize() bool {
	p := s.req.Path
	cfg := &s.m.cfg.Path
	if !cfg.Normalize && !cfg.MergeSlashes && cfg.EscapedSlashes == plan.KeepUnchanged || s.req.Form == http1.AsteriskForm {
		return true
	}
	out, verdict := normalizePath(s.arena, p, cfg)
	switch verdict {
	case pathRejected:
		return s.refuse(400, "path_normalization_failed")
	case pathRedirect:
		s.reply(reply{status: 307, details: "path_normalization_redirect", location: append([]byte(nil), out[len(s.arena):]...)})
		return false
	case pathChanged:
		s.req.Path = out[len(s.arena):]
		s.arena = out
		s.rec.Path = s.req.Path
	}
	return true
}

// stripDot removes the dot that ends an absolute name.
func (s *stream) stripDot() {
	h := s.req
	bare := plan.WithoutPort(h.Authority)
	n := len(bare)
	if !s.m.cfg.StripTrailingDot || n == 0 || bare[n-1] != '.' {
		return
	}
	if port := h.Authority[n:]; len(port) > 0 {
		h.Authority = s.keep(bare[:n-1], port)
	} else {
		h.Authority = bare[:n-1]
	}
	s.rec.Authority = h.Authority
}

func (s *stream) stripPort() {
	h := s.req
	if s.m.cfg.StripPort == plan.StripNoPort || h.Method == http1.MethodConnect {
		return
	}
	bare := plan.WithoutPort(h.Authority)
	if len(bare) == len(h.Authority) {
		return
	}
	if s.m.cfg.StripPort == plan.StripMatchingPort && !portIs(h.Authority[len(bare)+1:], s.c.local.Port()) {
		return
	}
	h.Authority = bare
	s.rec.Authority = bare
}

func portIs(digits []byte, port uint16) bool {
	n := 0
	for _, d := range digits {
		if d < '0' || d > '9' || n > 65535 {
			return false
		}
		n = n*10 + int(d-'0')
	}
	return n == int(port)
}

// origin settles the client's address and scheme, and what the request's headers may say of them.
func (s *stream) origin() {
	h, id := s.req, &s.m.cfg.Identity
	client := s.c.remote.Addr()
	if !id.UseRemoteAddress {
		client = s.forwardedFor(id.XFFTrustedHops+1, client)
		if !h.Has(header.XForwardedProto) {
			h.AddKnown(header.XForwardedProto, s.head.Scheme())
		} else {
			s.forwardedProto()
		}
		s.router.internal = internal(client, id)
	} else {
		if id.XFFTrustedHops > 0 {
			client = s.forwardedFor(id.XFFTrustedHops, client)
		}
		single := !h.Has(header.XForwardedFor)
		s.router.internal = single && internal(s.c.remote.Addr(), id)
		if !id.SkipXFFAppend && s.c.remote.IsValid() {
			s.appendForwardedFor()
		}
		if id.XFFTrustedHops == 0 || !h.Has(header.XForwardedProto) {
			h.SetKnown(header.XForwardedProto, s.head.Scheme())
		} else {
			s.forwardedProto()
		}
		s.clean()
	}
	if client != s.c.remote.Addr() {
		s.rec.DownstreamRemote = netip.AddrPortFrom(client, 0)
	}
}

// forwardedProto believes x-forwarded-proto.
func (s *stream) forwardedProto() {
	if s.m.cfg.SchemeOverwrite != "" {
		return
	}
	switch string(s.req.Get(header.XForwardedProto)) {
	case "https":
		s.head.scheme = "https"
	case "http":
		s.head.scheme = "http"
	}
}

// forwardedFor returns the n-th address from the end of x-forwarded-for, or otherwise.
func (s *stream) forwardedFor(n uint32, otherwise netip.Addr) netip.Addr {
	list := s.req.Get(header.XForwardedFor)
	if list == nil {
		return otherwise
	}
	for ; n > 0; n-- {
		i := bytes.LastIndexByte(list, ',')
		item := header.TrimSpace(list[i+1:])
		if n == 1 {
			if a, err := netip.ParseAddr(string(item)); err == nil {
				return a.Unmap()
			}
			return otherwise
		}
		if i < 0 {
			return otherwise
		}
		list = list[:i]
	}
	return otherwise
}

func (s *stream) appendForwardedFor() {
	at := len(s.arena)
	if v := s.req.Get(header.XForwardedFor); v != nil {
		s.arena = append(append(s.arena, v...), ',')
	}
	s.arena = s.c.remote.Addr().AppendTo(s.arena)
	s.req.SetKnown(header.XForwardedFor, s.arena[at:len(s.arena):len(s.arena)])
}

var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("::1/128"),
}

func internal(a netip.Addr, id *plan.RequestIdentity) bool {
	list := id.Internal
	if len(list) == 0 {
		list = private
	}
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return !a.IsValid() && id.InternalUnix
}

// clean removes what only internal clients may say to an edge.
func (s *stream) clean() {
	h := s.req
	if s.router.internal {
		h.SetKnown(header.XEnvoyInternal, textTrue)
		return
	}
	h.Remove(header.XEnvoyInternal)
	h.RemoveName(originalHost)
	for _, id := range [...]header.ID{
		header.XEnvoyDecoratorOperation, header.XEnvoyDownstreamServiceCluster, header.XEnvoyDownstreamServiceNode,
		header.XEnvoyExpectedRqTimeoutMS, header.XEnvoyForceTrace, header.XEnvoyIPTags, header.XEnvoyMaxRetries,
		header.XEnvoyOriginalPath, header.XEnvoyRetriableHeaderNames, header.XEnvoyRetriableStatusCodes,
		header.XEnvoyRetryGRPCOn, header.XEnvoyRetryOn, header.XEnvoyUpstreamAltStatName,
		header.XEnvoyUpstreamRqPerTryTimeoutMS, header.XEnvoyUpstreamRqTimeoutAltResponse, header.XEnvoyUpstreamRqTimeoutMS,
	} {
		if h.Has(id) {
			h.Remove(id)
		}
	}
}

// requestID makes an x-request-id, or keeps the one that is there.
func (s *stream) requestID() {
	h, id := s.req, &s.m.cfg.Identity
	edge := id.UseRemoteAddress && !s.router.internal
	if h.Has(header.XRequestID) && (!edge || id.PreserveExternalRequestID) {
		return
	}
	if !id.GenerateRequestID {
		return
	}
	at := len(s.arena)
	s.arena = appendUUID(s.arena, rand.Uint64(), rand.Uint64())
	h.SetKnown(header.XRequestID, s.arena[at:len(s.arena):len(s.arena)])
}

// appendUUID appends a version 4 UUID made of random bits.
func appendUUID(dst []byte, hi, lo uint64) []byte {
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 1<<63
	var u [36]byte
	putHex(u[0:8], hi>>32)
	putHex(u[9:13], hi>>16)
	putHex(u[14:18], hi)
	putHex(u[19:23], lo>>48)
	putHex(u[24:36], lo)
	u[8], u[13], u[18], u[23] = '-', '-', '-', '-'
	return append(dst, u[:]...)
}

// putHex fills dst with the lowest digits of v.
func putHex(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = "0123456789abcdef"[v&15]
		v >>= 4
	}
}

// clientCert treats x-forwarded-client-cert as configured.
func (s *stream) clientCert() {
	h, mode := s.req, s.m.cfg.Identity.XFCC
	if mode == plan.XFCCSanitize || !s.c.mutual {
		if mode != plan.XFCCForwardOnly || !s.c.mutual {
			h.Remove(header.XForwardedClientCert)
		}
		return
	}
	if mode == plan.XFCCForwardOnly {
		return
	}
	value := s.c.certElement()
	old := h.Get(header.XForwardedClientCert)
	if mode == plan.XFCCAppendForward && len(old) > 0 {
		value = s.keep(old, comma, value)
	}
	h.SetKnown(header.XForwardedClientCert, value)
}

var comma = []byte(",")

// certElement describes the client's certificate; it is made once per connection.
func (c *conn) certElement() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.xfcc != nil {
		return c.xfcc
	}
	peer, set := c.acc.TLS.Peer, c.m.cfg.Identity.SetCurrent
	sum := sha256.Sum256(peer.Leaf.Raw)
	v := []byte{}
	if own := c.m.engine.ownURI(); own != "" {
		v = append(append(v, "By="...), own...)
		v = append(v, ';')
	}
	v = append(append(v, "Hash="...), hex.EncodeToString(sum[:])...)
	if set.Subject {
		v = append(append(append(v, `;Subject="`...), peer.Leaf.Subject.String()...), '"')
	}
	if set.URI {
		for _, u := range peer.URIs {
			v = append(append(v, ";URI="...), u...)
		}
	}
	if set.DNS {
		for _, n := range peer.DNSNames {
			v = append(append(v, ";DNS="...), n...)
		}
	}
	if set.Cert {
		v = append(append(append(v, `;Cert="`...), url.QueryEscape(string(pemOf(peer.Leaf)))...), '"')
	}
	c.xfcc = v
	return v
}
