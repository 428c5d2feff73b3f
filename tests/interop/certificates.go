package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// writeCertificates writes an authority (ca.pem), and a certificate with its key (cert.pem, key.pem) for both ends.
func writeCertificates(folder string) error {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	authority := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "interop authority"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	if err := writeSigned(folder, "ca.pem", authority, authority, &authorityKey.PublicKey, authorityKey); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if err := writeSigned(folder, "cert.pem", leaf, authority, &key.PublicKey, authorityKey); err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(folder, "key.pem", "PRIVATE KEY", der)
}

func writeSigned(folder, name string, cert, by *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, by, public, key)
	if err != nil {
		return err
	}
	return writePEM(folder, name, "CERTIFICATE", der)
}

func writePEM(folder, name, kind string, der []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(filepath.Join(folder, name), text, 0o600)
}

func loadPair(folder string) (tls.Certificate, *x509.CertPool, error) {
	roots := x509.NewCertPool()
	authority, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots.AppendCertsFromPEM(authority)
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
	return pair, roots, err
}

func clientTLS(folder string) (*tls.Config, error) {
	pair, roots, err := loadPair(folder)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}, err
}

func serverTLS(folder string) (*tls.Config, error) {
	pair, roots, err := loadPair(folder)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert}, err
}
