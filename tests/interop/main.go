// Runs grpc-go's interoperability cases and h2spec against the HTTP/2 transport.
//
//	interop PEER DEVIATIONS
//
// PEER is the Rust peer (tests/interop/peer.rs), built. DEVIATIONS lists the cases of h2spec that are expected to fail.
// Prints a line for each case, and exits with 1 if one fails.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// limit is the time that one case may take.
const limit = 30 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	// The cases of grpc-go end the process when they fail, so each runs in its own.
	switch {
	case len(args) == 4 && args[0] == "client":
		return runClient(args[1], args[2], args[3])
	case len(args) >= 4 && args[0] == "h2spec":
		return runSpec(args[1], args[2], args[3], args[4:])
	case len(args) != 2:
		return errors.New("usage: interop PEER DEVIATIONS")
	}
	suite, err := newSuite(args[0])
	if err != nil {
		return err
	}
	defer os.RemoveAll(suite.certs)
	for _, tls := range []bool{true, false} {
		if err := suite.againstRust(tls); err != nil {
			return err
		}
		if err := suite.againstGo(tls); err != nil {
			return err
		}
	}
	for _, tls := range []bool{true, false} {
		if err := suite.spec(tls, args[1]); err != nil {
			return err
		}
	}
	fmt.Printf("interop: %d passed, %d failed\n", suite.passed, suite.failed)
	if suite.failed > 0 {
		return errors.New("some cases failed")
	}
	return nil
}

type suite struct {
	peer           string
	certs          string
	passed, failed int
}

func newSuite(peer string) (*suite, error) {
	certs, err := os.MkdirTemp("", "interop-")
	if err != nil {
		return nil, err
	}
	if err := writeCertificates(certs); err != nil {
		os.RemoveAll(certs)
		return nil, err
	}
	return &suite{peer: peer, certs: certs}, nil
}

// folder names the certificates to use; "-" stands for plain text.
func (s *suite) folder(tls bool) string {
	if tls {
		return s.certs
	}
	return "-"
}

func (s *suite) report(what, name string, output []byte, err error) {
	if err == nil {
		s.passed++
		fmt.Printf("ok      %s %s\n", what, name)
		return
	}
	s.failed++
	fmt.Printf("FAILED  %s %s: %v\n", what, name, err)
	for _, line := range strings.Split(strings.TrimSpace(string(output)), "\n") {
		fmt.Printf("        %s\n", line)
	}
}

func layer(tls bool) string {
	if tls {
		return "TLS"
	}
	return "plain text"
}

// againstRust runs grpc-go's client against the Rust server.
func (s *suite) againstRust(tls bool) error {
	server, err := s.startServer(tls)
	if err != nil {
		return err
	}
	defer server.stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range caseNames {
		output, err := execute(self, "client", name, server.address, s.folder(tls))
		s.report("grpc-go's client, Rust's server, "+layer(tls)+":", name, output, err)
	}
	return nil
}

// againstGo runs the Rust client against grpc-go's server.
func (s *suite) againstGo(tls bool) error {
	address, stop, err := startGoServer(s.folder(tls))
	if err != nil {
		return err
	}
	defer stop()
	for _, name := range caseNames {
		output, err := execute(s.peer, "call", name, address, s.folder(tls))
		s.report("Rust's client, grpc-go's server, "+layer(tls)+":", name, output, err)
	}
	return nil
}

func execute(program string, args ...string) ([]byte, error) {
	return executeWithin(limit, program, args...)
}

func executeWithin(limit time.Duration, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	output, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("not finished after %v", limit)
	}
	return output, err
}

// rustServer is a running Rust peer. It serves until its standard input is closed.
type rustServer struct {
	address string
	command *exec.Cmd
	input   io.Closer
}

func (s *suite) startServer(tls bool) (*rustServer, error) {
	command := exec.Command(s.peer, "serve", s.folder(tls))
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		command.Process.Kill()
		command.Wait()
		return nil, fmt.Errorf("%s does not say where it listens: %q, %v", s.peer, line, err)
	}
	return &rustServer{address, command, input}, nil
}

func (r *rustServer) stop() {
	r.input.Close()
	kill := time.AfterFunc(limit, func() { r.command.Process.Kill() })
	defer kill.Stop()
	r.command.Wait()
}
