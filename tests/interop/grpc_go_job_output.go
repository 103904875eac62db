// The output of a job of a real penstock server, read by google.golang.org/grpc as fast as it comes.
// Messages are bytes here: what is shown is the transport's, and protoc's plugin for Go is not needed.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
)

const (
	commandService = "/teleport.CommandService/"
	dataField      = 3 // of StreamOutputResponse
	finishedField  = 8
)

// Hands messages through as they are on the wire.
type rawCodec struct{}

func (rawCodec) Marshal(v interface{}) ([]byte, error) { return v.([]byte), nil }

func (rawCodec) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte{}, data...)
	return nil
}

func (rawCodec) Name() string { return "proto" }

// Calls found with each field that has a length; numbers are passed over.
func fields(message []byte, found func(number uint64, value []byte)) {
	varint := func() uint64 {
		value, shift := uint64(0), uint(0)
		for {
			check(len(message) > 0, "a message that is cut")
			last := message[0]
			message = message[1:]
			value |= uint64(last&0x7f) << shift
			shift += 7
			if last < 0x80 {
				return value
			}
		}
	}
	for len(message) > 0 {
		tag := varint()
		switch tag & 7 {
		case 0:
			varint()
		case 1:
			message = message[8:]
		case 2:
			size := varint()
			check(size <= uint64(len(message)), "a message that is cut")
			found(tag>>3, message[:size])
			message = message[size:]
		case 5:
			message = message[4:]
		default:
			check(false, "a field of type %d", tag&7)
		}
	}
}

// Prints how much there was, its SHA-256, and how many messages it came in.
func (c client) jobOutput(request string) {
	in, err := hex.DecodeString(request)
	none(err)
	kind := &grpc.StreamDesc{ServerStreams: true}
	stream, err := c.conn.NewStream(
		context.Background(), kind, commandService+"StreamOutput", grpc.ForceCodec(rawCodec{}))
	none(err)
	none(stream.SendMsg(in))
	none(stream.CloseSend())
	digest, size, messages, finished := sha256.New(), 0, 0, false
	for {
		var message []byte
		err := stream.RecvMsg(&message)
		if err == io.EOF {
			break
		}
		check(err == nil, "after %d bytes: %v", size, err)
		messages++
		fields(message, func(number uint64, value []byte) {
			if number == dataField {
				digest.Write(value)
				size += len(value)
			}
			finished = finished || number == finishedField
		})
	}
	check(finished, "the output has no end")
	fmt.Println(size, strings.ToLower(hex.EncodeToString(digest.Sum(nil))), messages)
}

// The connection has outlived it.
func (c client) serverInfo() {
	var answer []byte
	none(c.conn.Invoke(context.Background(), commandService+"ServerInfo", []byte{}, &answer,
		grpc.ForceCodec(rawCodec{})))
	check(len(answer) > 0, "an empty ServerInfo")
}
