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
	skipped, deviating := 0, 0
	for _, v := range verdicts {
		reason, listed := expected[v.Name]
		delete(expected, v.Name)
		what := "h2spec, " + layer(tls) + ":"
		switch {
		case v.Skipped:
			skipped++
		case v.Error != "" && listed:
			deviating++
			fmt.Printf("known   %s %s (%s): %s\n", what, v.Name, v.Description, reason)
		case v.Error != "":
			s.report(what, v.Name+" ("+v.Description+")", []byte(v.Error), fmt.Errorf("not in %s", deviations))
		case listed:
			s.report(what, v.Name, nil, fmt.Errorf("passes, but %s lists it", deviations))
		default:
			s.passed++
		}
	}
	for name := range expected {
		s.report("h2spec, "+layer(tls)+":", name, nil, fmt.Errorf("%s lists it, but h2spec has no such case", deviations))
	}
	fmt.Printf("h2spec, %s: %d cases, %d skipped, %d known deviations\n", layer(tls), len(verdicts), skipped, deviating)
	return nil
}

// runSpecProcess runs h2spec in a process: it writes to the standard output, and ends the process if it cannot connect.
func (s *suite) runSpecProcess(address string, tls bool) ([]verdict, error) {
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
	output, err := executeWithin(10*time.Minute, self, "h2spec", address, results.Name()+","+strconv.FormatBool(tls))
	if err != nil {
		return nil, fmt.Errorf("h2spec: %w\n%s", err, output)
	}
	var verdicts []verdict
	return verdicts, json.NewDecoder(results).Decode(&verdicts)
}

// runSpec runs every case of h2spec and writes the verdicts to a file.
func runSpec(address, target string) error {
	file, tls, _ := strings.Cut(target, ",")
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
		MaxHeaderLen: 4000, Strict: true, TLS: tls == "true", Insecure: true,
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

// readDeviations reads lines of a case and its reason. Empty lines and lines with # are comments.
func readDeviations(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	expected := make(map[string]string)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, " ")
		if !ok {
			return nil, fmt.Errorf("%s: %q has no reason", path, line)
		}
		expected[name] = strings.TrimSpace(reason)
	}
	return expected, lines.Err()
}
