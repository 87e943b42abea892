"""Networks: backbones, heads, weights, and `build`, which puts them together as `[model]` says."""
