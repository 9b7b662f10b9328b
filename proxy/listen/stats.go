package listen

import "sync/atomic"

// Stats are Envoy's statistics of a listener.
type Stats struct {
	CxTotal, CxActive, CxDestroy, CxOverflow, CxNoChain, CxTLSError, CxFilterTimeout, CxTransportTimeout atomic.Int64
	CxOverloadReject, CxGlobalOverflow                                                                   atomic.Int64
	CxLengthMS                                                                                           atomic.Int64
	Handoffs                                                                                             atomic.Int64
}

// Each calls f with every statistic.
func (s *Stats) Each(f func(name string, value int64)) {
	f("downstream_cx_total", s.CxTotal.Load())
	f("downstream_cx_active", s.CxActive.Load())
	f("downstream_cx_destroy", s.CxDestroy.Load())
	f("downstream_cx_overflow", s.CxOverflow.Load())
	f("downstream_cx_overload_reject", s.CxOverloadReject.Load())
	f("downstream_global_cx_overflow", s.CxGlobalOverflow.Load())
	f("no_filter_chain_match", s.CxNoChain.Load())
	f("ssl.connection_error", s.CxTLSError.Load())
	f("downstream_pre_cx_timeout", s.CxFilterTimeout.Load())
	f("downstream_cx_transport_socket_connect_timeout", s.CxTransportTimeout.Load())
}
