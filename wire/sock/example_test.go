package sock_test

import (
	"bytes"
	"net"
	"testing"

	"lateen.dev/lateen/wire/sock"
	"lateen.dev/lateen/wire/sock/socktest"
)

// lineEcho answers every line by itself, and reads "more" lines in the middle of a request.
type lineEcho struct {
	c       *sock.Conn
	buf     []byte
	n       int
	detours int
}

func (s *lineEcho) Space() []byte {
	if s.buf == nil {
		s.buf = make([]byte, 64)
	}
	return s.buf[s.n:]
}

func (s *lineEcho) Serve(n int) sock.Next {
	s.n += n
	for {
		i := bytes.IndexByte(s.buf[:s.n], '\n') + 1
		if i == 0 {
			return sock.Wait
		}
		if string(s.buf[:i]) == "more\n" {
			if !s.c.CanRead() {
				s.detours++
				return sock.Detach
			}
			for s.n < i+4 {
				m, err := s.c.Read(s.buf[s.n:])
				if err != nil {
					return sock.Close
				}
				s.n += m
			}
			i += 4
		}
		if _, err := s.c.Write(s.buf[:i]); err != nil || string(s.buf[:i]) == "quit\n" {
			return sock.Close
		}
		s.n = copy(s.buf, s.buf[i:s.n])
	}
}

func (s *lineEcho) Park() {
	if s.n == 0 {
		s.buf = nil
	}
}

func (s *lineEcho) Wake(error) sock.Next { return sock.Close }

func TestServeOverTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	var s lineEcho
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		s.c = sock.New(nc)
		defer s.c.Close()
		done <- s.c.Serve(&s)
	}()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	up := sock.New(nc)
	defer up.Close()
	buf := make([]byte, 64)
	for _, w := range []string{"a\n", "bb\n"} {
		if n, err := up.WriteRead([]byte(w), socktest.Into(buf)); err != nil || string(buf[:n]) != w {
			t.Fatalf("%q, %v; want %q", buf[:n], err, w)
		}
	}
	if _, err := up.Write([]byte("more\n12")); err != nil {
		t.Fatal(err)
	}
	if n, err := up.WriteRead([]byte("34"), socktest.Into(buf)); err != nil || string(buf[:n]) != "more\n1234" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if n, err := up.WriteRead([]byte("quit\n"), socktest.Into(buf)); err != nil || string(buf[:n]) != "quit\n" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
