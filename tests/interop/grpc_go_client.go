// google.golang.org/grpc against the toy service. Arguments: port, directory with ca.crt, alice.crt
// and alice.key, cases: gRPC's interoperability cases, or full_speed=N for N chunks of 64 KiB
// (calls, small_messages and mistaken_uploads likewise); or job_output=HEX alone, against penstockd
// (grpc_go_job_output.go). Exit status 0: all held.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/ioutil"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/golang/protobuf/proto"
	"github.com/golang/protobuf/ptypes/wrappers"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	special = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
	chunk   = 65536
	// The case that a penstock server is needed for.
	jobOutput = "job_output="
)

// Of a failure that ends the program, with what was expected.
func check(holds bool, format string, values ...interface{}) {
	if !holds {
		panic(fmt.Sprintf(format, values...))
	}
}

func none(err error) {
	check(err == nil, "%v", err)
}

type client struct {
	conn *grpc.ClientConn
}

func (c client) unary(ctx context.Context, method string, in, out proto.Message) error {
	return c.conn.Invoke(ctx, "/toy."+method, in, out)
}

// Both directions are open, whatever kind of call the method is.
func (c client) stream(ctx context.Context, method string) grpc.ClientStream {
	kind := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := c.conn.NewStream(ctx, kind, "/toy.Toy/"+method)
	none(err)
	return stream
}

// A call with one request whose answers are a stream.
func (c client) answers(method string, in proto.Message) grpc.ClientStream {
	stream := c.stream(context.Background(), method)
	none(stream.SendMsg(in))
	none(stream.CloseSend())
	return stream
}

func fails(err error, code codes.Code, text string) {
	found := status.Convert(err)
	check(found.Code() == code, "%v, not %v", err, code)
	check(text == "" || found.Message() == text, "%q, not %q", found.Message(), text)
}

func (c client) emptyUnary() {
	var answer wrappers.BytesValue
	none(c.unary(context.Background(), "Toy/Echo", &wrappers.BytesValue{}, &answer))
	check(len(answer.Value) == 0, "%d bytes", len(answer.Value))
}

func (c client) largeUnary() {
	data := bytes.Repeat([]byte("0123456789abcdef"), 160_000)
	var answer wrappers.BytesValue
	none(c.unary(context.Background(), "Toy/Echo", &wrappers.BytesValue{Value: data}, &answer))
	check(bytes.Equal(answer.Value, data), "%d bytes", len(answer.Value))
}

func (c client) clientStreaming() {
	stream := c.stream(context.Background(), "Total")
	for value := int64(0); value < 500; value++ {
		none(stream.SendMsg(&wrappers.Int64Value{Value: value}))
	}
	none(stream.CloseSend())
	var total wrappers.Int64Value
	none(stream.RecvMsg(&total))
	check(total.Value == 124750, "%d", total.Value)
	check(stream.RecvMsg(&total) == io.EOF, "no end")
}

func (c client) serverStreaming() {
	stream := c.answers("Count", &wrappers.Int64Value{Value: 2000})
	for value := int64(0); value < 2000; value++ {
		var answer wrappers.Int64Value
		none(stream.RecvMsg(&answer))
		check(answer.Value == value, "%d, not %d", answer.Value, value)
	}
	check(stream.RecvMsg(&wrappers.Int64Value{}) == io.EOF, "no end")
}

func (c client) pingPong() {
	stream := c.stream(context.Background(), "Both")
	for value := int64(0); value < 20; value++ {
		none(stream.SendMsg(&wrappers.Int64Value{Value: value}))
		var answer wrappers.Int64Value
		none(stream.RecvMsg(&answer))
		check(answer.Value == value, "%d, not %d", answer.Value, value)
	}
	none(stream.CloseSend())
	check(stream.RecvMsg(&wrappers.Int64Value{}) == io.EOF, "no end")
}

func (c client) cancelAfterBegin() {
	ctx, cancel := context.WithCancel(context.Background())
	stream := c.stream(ctx, "Total")
	cancel()
	fails(stream.RecvMsg(&wrappers.Int64Value{}), codes.Canceled, "")
}

func (c client) cancelAfterFirstResponse() {
	ctx, cancel := context.WithCancel(context.Background())
	stream := c.stream(ctx, "Both")
	none(stream.SendMsg(&wrappers.Int64Value{Value: 1}))
	var answer wrappers.Int64Value
	none(stream.RecvMsg(&answer))
	check(answer.Value == 1, "%d", answer.Value)
	cancel()
	fails(stream.RecvMsg(&answer), codes.Canceled, "")
}

func (c client) timeoutOnSleepingServer() {
	c.emptyUnary() // connecting is not what takes the time
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	var answer wrappers.StringValue
	err := c.unary(ctx, "Toy/Wait", &wrappers.StringValue{}, &answer)
	fails(err, codes.DeadlineExceeded, "")
}

func (c client) fail(request string) error {
	var answer wrappers.StringValue
	in := &wrappers.StringValue{Value: request}
	return c.unary(context.Background(), "Toy/Fail", in, &answer)
}

func (c client) statusCodeAndMessage() {
	text := "test status message"
	err := c.fail("FAILED_PRECONDITION:" + text)
	fails(err, codes.FailedPrecondition, text)
	details := status.Convert(err).Details()
	check(len(details) == 1, "%d details", len(details))
	info, fits := details[0].(*errdetails.ErrorInfo)
	check(fits && info.Reason == "TOY", "%v", details)
	stream := c.answers("FailLate", &wrappers.StringValue{Value: "UNKNOWN"})
	var answer wrappers.StringValue
	none(stream.RecvMsg(&answer))
	check(answer.Value == "UNKNOWN", "%q", answer.Value)
	fails(stream.RecvMsg(&answer), codes.Unknown, "after a message")
}

func (c client) specialStatusMessage() {
	fails(c.fail("UNKNOWN:"+special), codes.Unknown, special)
}

func (c client) unimplementedMethod() {
	var answer wrappers.StringValue
	err := c.unary(context.Background(), "Toy/Nothing", &wrappers.StringValue{}, &answer)
	fails(err, codes.Unimplemented, "")
}

func (c client) unimplementedService() {
	var answer wrappers.BytesValue
	err := c.unary(context.Background(), "Absent/Echo", &wrappers.BytesValue{}, &answer)
	fails(err, codes.Unimplemented, "")
}

func (c client) customMetadata() {
	ctx := metadata.AppendToOutgoingContext(context.Background(),
		"x-grpc-test-echo-initial", "test_initial_metadata_value",
		"x-grpc-test-echo-trailing-bin", "\xab\xab\xab")
	var answer wrappers.BytesValue
	none(c.unary(ctx, "Toy/Echo", &wrappers.BytesValue{}, &answer))
}

// The library may see by itself that it is too much; a call beside it knows nothing of it.
func (c client) tooMuchMetadata() {
	sibling := c.stream(context.Background(), "Both")
	echo := func(value int64) {
		none(sibling.SendMsg(&wrappers.Int64Value{Value: value}))
		var answer wrappers.Int64Value
		none(sibling.RecvMsg(&answer))
		check(answer.Value == value, "%d, not %d", answer.Value, value)
	}
	echo(1)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "x", strings.Repeat("y", 20_000))
	err := c.unary(ctx, "Toy/Echo", &wrappers.BytesValue{}, &wrappers.BytesValue{})
	code := status.Code(err)
	check(code == codes.ResourceExhausted || code == codes.Internal, "%v", err)
	echo(2)
	none(sibling.CloseSend())
	check(sibling.RecvMsg(&wrappers.Int64Value{}) == io.EOF, "no end")
}

// Messages of three bytes as fast as they go, each in a frame of its own.
func (c client) smallMessages(number int64) {
	stream := c.stream(context.Background(), "Total")
	for count := int64(0); count < number; count++ {
		none(stream.SendMsg(&wrappers.Int64Value{Value: 1}))
	}
	none(stream.CloseSend())
	var total wrappers.Int64Value
	none(stream.RecvMsg(&total))
	check(total.Value == number, "%d", total.Value)
}

// A stream of small messages for a method that takes one: what is under way as it is refused.
func (c client) mistakenUploads(number int64) {
	sibling := c.stream(context.Background(), "Both")
	for count := int64(0); count < number; count++ {
		stream := c.stream(context.Background(), "Echo")
		for stream.SendMsg(&wrappers.BytesValue{Value: []byte("y")}) == nil {
		}
		fails(stream.RecvMsg(&wrappers.BytesValue{}), codes.InvalidArgument, "")
	}
	none(sibling.CloseSend())
	check(sibling.RecvMsg(&wrappers.Int64Value{}) == io.EOF, "no end")
}

// As fast as it goes: meanwhile the library measures the bandwidth with a PING a round trip.
func (c client) fullSpeed(chunks int64) {
	stream := c.answers("Flood", &wrappers.Int64Value{Value: chunks})
	var answer wrappers.BytesValue
	for count := int64(0); count < chunks; count++ {
		err := stream.RecvMsg(&answer)
		check(err == nil, "after %d chunks: %v", count, err)
		check(len(answer.Value) == chunk, "a chunk of %d bytes", len(answer.Value))
	}
	check(stream.RecvMsg(&answer) == io.EOF, "no end")
}

// Small calls as fast as they go, each of which begins and ends a measurement.
func (c client) calls(number int64) {
	const atOnce = 16
	failed := make(chan error, atOnce)
	for worker := int64(0); worker < atOnce; worker++ {
		go func() {
			in := &wrappers.BytesValue{Value: []byte("small")}
			var answer wrappers.BytesValue
			var err error
			for count := int64(0); count < number/atOnce && err == nil; count++ {
				err = c.unary(context.Background(), "Toy/Echo", in, &answer)
			}
			failed <- err
		}()
	}
	for worker := 0; worker < atOnce; worker++ {
		none(<-failed)
	}
}

func (c client) run(name string) {
	cases := map[string]func(){
		"empty_unary":                 c.emptyUnary,
		"large_unary":                 c.largeUnary,
		"client_streaming":            c.clientStreaming,
		"server_streaming":            c.serverStreaming,
		"ping_pong":                   c.pingPong,
		"cancel_after_begin":          c.cancelAfterBegin,
		"cancel_after_first_response": c.cancelAfterFirstResponse,
		"timeout_on_sleeping_server":  c.timeoutOnSleepingServer,
		"status_code_and_message":     c.statusCodeAndMessage,
		"special_status_message":      c.specialStatusMessage,
		"unimplemented_method":        c.unimplementedMethod,
		"unimplemented_service":       c.unimplementedService,
		"custom_metadata":             c.customMetadata,
		"too_much_metadata":           c.tooMuchMetadata,
	}
	measured := map[string]func(int64){
		"full_speed":       c.fullSpeed,
		"calls":            c.calls,
		"small_messages":   c.smallMessages,
		"mistaken_uploads": c.mistakenUploads,
	}
	if strings.HasPrefix(name, jobOutput) {
		c.jobOutput(strings.TrimPrefix(name, jobOutput))
		return
	}
	if parts := strings.SplitN(name, "=", 2); len(parts) == 2 && measured[parts[0]] != nil {
		number, err := strconv.ParseInt(parts[1], 10, 64)
		none(err)
		measured[parts[0]](number)
		return
	}
	run, known := cases[name]
	check(known, "no case %q", name)
	run()
}

func secure(directory string) credentials.TransportCredentials {
	ca, err := ioutil.ReadFile(filepath.Join(directory, "ca.crt"))
	none(err)
	roots := x509.NewCertPool()
	check(roots.AppendCertsFromPEM(ca), "no CA")
	pair, err := tls.LoadX509KeyPair(
		filepath.Join(directory, "alice.crt"), filepath.Join(directory, "alice.key"))
	none(err)
	return credentials.NewTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}})
}

func main() {
	port, directory := os.Args[1], os.Args[2]
	conn, err := grpc.Dial(
		"127.0.0.1:"+port, grpc.WithTransportCredentials(secure(directory)))
	none(err)
	c := client{conn}
	for _, name := range os.Args[3:] {
		c.run(name)
	}
	// The connection has outlived everything.
	if strings.HasPrefix(os.Args[len(os.Args)-1], jobOutput) {
		c.serverInfo()
	} else {
		c.emptyUnary()
	}
	none(conn.Close())
}
