"""http2."""
