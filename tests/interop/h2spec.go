package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// verdict is the result of one case of h2spec.
type verdict struct {
	Name, Description, Error string
	Skipped                  bool
}

// deviation is a case that is expected to fail.
type deviation struct {
	// sometimes is set if the case passes at times.
	sometimes bool
	reason    string
}

// attempts is the number of times that a case may fail before it counts as failed. The server refuses h2spec's requests,
// which are not gRPC, as soon as it has their headers. If the refusal is faster than the frame that should be found wrong,
// the stream has ended.
const attempts = 3

// spec runs h2spec against the Rust server and compares its failures with the list of deviations.
func (s *suite) spec(tls bool, deviations string) error {
	expected, err := readDeviations(deviations)
	if err != nil {
		return err
	}
	server, err := s.startServer(tls)
	if err != nil {
		return err
	}
	defer server.stop()
	verdicts, err := s.runSpecProcess(server.address, tls)
	if err != nil {
		return err
	}
	for again := 1; again < attempts; again++ {
		if err := s.repeat(verdicts, expected, server.address, tls); err != nil {
			return err
		}
	}
	s.compare(verdicts, expected, "h2spec, "+layer(tls)+":", deviations)
	return nil
}

// repeat runs the cases again that have failed and are not expected to.
func (s *suite) repeat(verdicts []verdict, expected map[string]deviation, address string, tls bool) error {
	var names []string
	for _, v := range verdicts {
		if _, listed := expected[v.Name]; v.Error != "" && !listed {
			names = append(names, v.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	repeated, err := s.runSpecProcess(address, tls, names...)
	if err != nil {
		return err
	}
	for _, again := range repeated {
		for i := range verdicts {
			if verdicts[i].Name == again.Name {
				verdicts[i].Error = again.Error
			}
		}
	}
	return nil
}

func (s *suite) compare(verdicts []verdict, expected map[string]deviation, what, deviations string) {
	skipped, deviating := 0, 0
	for _, v := range verdicts {
		known, listed := expected[v.Name]
		delete(expected, v.Name)
		switch {
		case v.Skipped:
			skipped++
		case v.Error != "" && listed:
			deviating++
			fmt.Printf("known   %s %s (%s): %s\n", what, v.Name, v.Description, known.reason)
		case v.Error != "":
			s.report(what, v.Name+" ("+v.Description+")", []byte(v.Error), fmt.Errorf("not in %s", deviations))
		case listed && !known.sometimes:
			s.report(what, v.Name, nil, fmt.Errorf("passes, but %s lists it", deviations))
		default:
			s.passed++
		}
	}
	for name := range expected {
		s.report(what, name, nil, fmt.Errorf("%s lists it, but h2spec has no such case", deviations))
	}
	fmt.Printf("%s %d cases, %d skipped by h2spec, %d known deviations\n", what, len(verdicts), skipped, deviating)
}

// runSpecProcess runs cases of h2spec, by default all, in a process: h2spec writes to the standard output, and ends the
// process if it cannot connect.
func (s *suite) runSpecProcess(address string, tls bool, names ...string) ([]verdict, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	results, err := os.CreateTemp("", "h2spec-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(results.Name())
	defer results.Close()
	args := append([]string{"h2spec", address, results.Name(), strconv.FormatBool(tls)}, names...)
	output, err := executeWithin(10*time.Minute, self, args...)
	if err != nil {
		return nil, fmt.Errorf("h2spec: %w\n%s", err, output)
	}
	var verdicts []verdict
	return verdicts, json.NewDecoder(results).Decode(&verdicts)
}

// runSpec runs cases of h2spec, by default all, and writes the verdicts to a file.
func runSpec(address, file, tls string, names []string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	settings := &config.Config{
		Host: host, Port: number, Path: "/grpc.testing.TestService/EmptyCall", Timeout: 2 * time.Second,
		MaxHeaderLen: 4000, Strict: true, TLS: tls == "true", Insecure: true, Sections: names,
	}
	var verdicts []verdict
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		group.Test(settings)
		verdicts = collect(verdicts, group)
	}
	sort.Slice(verdicts, func(i, j int) bool { return verdicts[i].Name < verdicts[j].Name })
	text, err := json.Marshal(verdicts)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

func collect(verdicts []verdict, group *spec.TestGroup) []verdict {
	for _, tests := range [][]*spec.TestCase{group.Tests, group.StrictTests} {
		for _, test := range tests {
			result := test.Result
			if result == nil {
				continue
			}
			v := verdict{
				Name:        fmt.Sprintf("%s/%d", group.ID(), result.Sequence),
				Description: test.Desc,
				Skipped:     result.Skipped,
			}
			if result.Failed {
				v.Error = result.Error.Error()
			}
			verdicts = append(verdicts, v)
		}
	}
	for _, sub := range group.Groups {
		verdicts = collect(verdicts, sub)
	}
	return verdicts
}

// readDeviations reads lines of a case, "always" or "sometimes", and the reason. Empty lines and lines that begin with #
// are comments.
func readDeviations(path string) (map[string]deviation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	expected := make(map[string]deviation)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.SplitN(line, " ", 3)
		if len(words) < 3 || words[1] != "always" && words[1] != "sometimes" {
			return nil, fmt.Errorf("%s: %q: expected a case, always or sometimes, and a reason", path, line)
		}
		expected[words[0]] = deviation{sometimes: words[1] == "sometimes", reason: strings.TrimSpace(words[2])}
	}
	return expected, lines.Err()
}
