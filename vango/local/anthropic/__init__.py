"""The sandbox in the dialect of Anthropic's Messages API."""
