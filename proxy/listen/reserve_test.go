package listen

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"lateen.dev/lateen/proxy/plan"
)

func bindingListener(name string, at netip.AddrPort) *plan.Listener {
	return &plan.Listener{Name: name, BindToPort: true, Addresses: []plan.Address{{IP: at}}}
}

func TestReserve(t *testing.T) {
	s := New(Options{Serve: func(*Accepted) {}, Logger: slog.New(slog.DiscardHandler)})
	defer s.Shutdown(t.Context())
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := busy.Addr().(*net.TCPAddr).AddrPort()
	if err := s.Reserve(bindingListener("a", taken)); err == nil {
		t.Error("a port that is taken was reserved")
	}
	busy.Close()
	if err := s.Reserve(bindingListener("a", taken)); err != nil {
		t.Fatal(err)
	}
	if err := s.Reserve(bindingListener("a", taken)); err != nil {
		t.Errorf("the same once more: %v", err)
	}
	if c, err := net.Dial("tcp", taken.String()); err != nil {
		t.Errorf("clients do not wait: %v", err)
	} else {
		c.Close()
	}
	l := bindingListener("a", taken)
	if rejected := s.Activate(plan.New(plan.NewNames(), plan.Parts{Version: 1, Listeners: []*plan.Listener{l}})); len(rejected) != 0 {
		t.Errorf("activating what was reserved: %v", rejected)
	}
	s.Unreserve("a") // it is in force: nothing happens
	if c, err := net.Dial("tcp", taken.String()); err != nil {
		t.Errorf("the listener is gone: %v", err)
	} else {
		c.Close()
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := other.Addr().(*net.TCPAddr).AddrPort()
	other.Close()
	if err := s.Reserve(bindingListener("b", at)); err != nil {
		t.Fatal(err)
	}
	s.Unreserve("b")
	again, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatalf("the port was not given back: %v", err)
	}
	again.Close()
}
