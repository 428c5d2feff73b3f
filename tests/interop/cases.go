package main

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// caseNames are the cases that need nothing but calls: no compression, no authentication, no custom metadata.
var caseNames = []string{
	"empty_unary",
	"large_unary",
	"client_streaming",
	"server_streaming",
	"ping_pong",
	"empty_stream",
	"cancel_after_begin",
	"cancel_after_first_response",
	"timeout_on_sleeping_server",
	"status_code_and_message",
	"special_status_message",
	"unimplemented_method",
	"unimplemented_service",
}

// runClient runs one case of grpc-go against a server. A failed case ends the process.
func runClient(name, address, certs string) error {
	transport := insecure.NewCredentials()
	if certs != "-" {
		config, err := clientTLS(certs)
		if err != nil {
			return err
		}
		transport = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	client := testgrpc.NewTestServiceClient(conn)
	switch name {
	case "empty_unary":
		interop.DoEmptyUnaryCall(ctx, client)
	case "large_unary":
		interop.DoLargeUnaryCall(ctx, client)
	case "client_streaming":
		interop.DoClientStreaming(ctx, client)
	case "server_streaming":
		interop.DoServerStreaming(ctx, client)
	case "ping_pong":
		interop.DoPingPong(ctx, client)
	case "empty_stream":
		interop.DoEmptyStream(ctx, client)
	case "cancel_after_begin":
		interop.DoCancelAfterBegin(ctx, client)
	case "cancel_after_first_response":
		interop.DoCancelAfterFirstResponse(ctx, client)
	case "timeout_on_sleeping_server":
		interop.DoTimeoutOnSleepingServer(ctx, client)
	case "status_code_and_message":
		interop.DoStatusCodeAndMessage(ctx, client)
	case "special_status_message":
		interop.DoSpecialStatusMessage(ctx, client)
	case "unimplemented_method":
		interop.DoUnimplementedMethod(ctx, conn)
	case "unimplemented_service":
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
	default:
		return fmt.Errorf("unknown case %q", name)
	}
	return nil
}

// startGoServer starts grpc-go's server of the cases.
func startGoServer(certs string) (address string, stop func(), err error) {
	var options []grpc.ServerOption
	if certs != "-" {
		config, err := serverTLS(certs)
		if err != nil {
			return "", nil, err
		}
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := grpc.NewServer(options...)
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	go server.Serve(listener)
	return listener.Addr().String(), server.Stop, nil
}
