"""The job library: Trio and the standard library only, no gRPC, TLS or client certificates."""
