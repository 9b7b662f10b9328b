package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// floorFlag makes this program the floor.
const floorFlag = "be-floor"

// floorConfig is what peers/floor.json is.
type floorConfig struct {
	Dir         string
	Plain, MTLS string
}

// serveFloor is the least that a Go program can do with mutual TLS: it accepts, has crypto/tls make the handshake, answers
// the first request by itself and closes. There is no upstream, and nothing that a proxy has to do.
func serveFloor(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c floorConfig
	if err := json.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(c.Dir, "server.pem"), filepath.Join(c.Dir, "server.key"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(c.Dir, "ca.pem"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	plain, err := net.Listen("tcp", c.Plain) // only to say that it is ready
	if err != nil {
		return err
	}
	defer plain.Close()
	l, err := net.Listen("tcp", c.MTLS)
	if err != nil {
		return err
	}
	defer l.Close()
	config := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2", "http/1.1"}}
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go answerOnce(tls.Server(nc, config))
	}
}

func answerOnce(c *tls.Conn) {
	defer c.Close()
	if skipHead(bufio.NewReaderSize(c, 1024)) == nil {
		c.Write(backendAnswer) //nolint:errcheck // the client misses it
	}
}
