"""What several tests share: local upstreams, recordings, and the split of bytes."""
