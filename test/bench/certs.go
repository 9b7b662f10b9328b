package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// workDir is a scratch directory with a CA's, a server's and a client's files, with SPIFFE ids as in a mesh.
type workDir struct {
	path   string
	files  int // configurations written so far
	client tls.Certificate
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
	// strangers are clients that no proxy has seen; see unseen.
	strangers []tls.Certificate
}

func newWorkDir() (*workDir, error) {
	path, err := os.MkdirTemp("", "lateen-bench-")
	if err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	d := &workDir{path: path}
	if err := d.writeCertificates(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close removes it.
func (d *workDir) Close() { os.RemoveAll(d.path) }

func (d *workDir) writeCertificates() error {
	var err error
	if d.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return fmt.Errorf("CA key: %w", err)
	}
	d.ca = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"bench"}},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, d.ca, d.ca, d.caKey.Public(), d.caKey)
	if err != nil {
		return fmt.Errorf("CA certificate: %w", err)
	}
	files := map[string][]byte{"ca.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})}
	for serial, account := range []string{"server", "client"} {
		cert, key, err := issue(d.ca, d.caKey, int64(serial+2), account)
		if err != nil {
			return err
		}
		files[account+".pem"], files[account+".key"] = cert, key
		files[account+"-both.pem"] = append(append([]byte{}, cert...), key...)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(d.path, name), b, 0o600); err != nil {
			return fmt.Errorf("certificate file: %w", err)
		}
	}
	if d.client, err = tls.X509KeyPair(files["client.pem"], files["client.key"]); err != nil {
		return fmt.Errorf("client certificate: %w", err)
	}
	return nil
}

// curve is the key exchange that the load's client offers. The proxies take ML-KEM where they can.
type curve int

const (
	hybrid  curve = iota // X25519MLKEM768, with X25519 behind it
	classic              // X25519 alone
)

// clientTLS is the load's side of mutual TLS, without resumption.
func (d *workDir) clientTLS(c curve) *tls.Config {
	config := &tls.Config{Certificates: []tls.Certificate{d.client}, InsecureSkipVerify: true, // the server's certificate is not what is measured
		NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true}
	if c == classic {
		config.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	return config
}

// strangersCount is more than proxies remember: when the last one has come, the first one is forgotten.
const strangersCount = 3000

// unseen returns certificates of so many clients that each is new whenever it comes, if they come in turn.
func (d *workDir) unseen() ([]tls.Certificate, error) {
	for i := len(d.strangers); i < strangersCount; i++ {
		cert, key, err := issue(d.ca, d.caKey, int64(1000+i), fmt.Sprintf("stranger-%d", i))
		if err != nil {
			return nil, err
		}
		c, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, err)
		}
		d.strangers = append(d.strangers, c)
	}
	return d.strangers, nil
}

func issue(ca *x509.Certificate, caKey *ecdsa.PrivateKey, serial int64, account string) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("%s key: %w", account, err)
	}
	id := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/default/sa/" + account}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, URIs: []*url.URL{id},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, k.Public(), caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("%s certificate: %w", account, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, fmt.Errorf("%s key: %w", account, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
