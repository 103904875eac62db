"""gRPC on Trio over purerpc's stubs and protocol core; knows nothing of jobs (docs/rpc.md)."""
