package http1

import "testing"

func TestSmoke(t *testing.T) {
	var h Head
	b := []byte("GET /x?y=1 HTTP/1.1\r\nHost: a.b:80\r\nConnection: keep-alive, Foo\r\nFoo: bar\r\nAccept:  */* \r\nContent-Length: 3\r\n\r\nabc")
	n, err := ParseRequest(&h, b, nil)
	if err != nil || n != len(b)-3 {
		t.Fatal(n, err)
	}
	got := string(AppendEnd(AppendRequest(nil, &h)))
	want := "GET /x?y=1 HTTP/1.1\r\nhost: a.b:80\r\nAccept: */*\r\ncontent-length: 3\r\n\r\n"
	if got != want {
		t.Fatalf("%q", got)
	}
}
